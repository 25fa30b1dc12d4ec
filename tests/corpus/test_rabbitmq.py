"""RabbitMQ: every kind of definition; what its own lists tell of it has to be the same."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.ways import WAYS, Corpus, backed_up, into_newer, rows_in
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Sidecar, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROWS = rows_in("rabbitmq.sh")
NEWER = ("default_types", "queue_kinds")
"""Rows that the server of Debian 12 does not know."""
# What was noted lies among the definitions, too. Versions write tags, and the usual type of a queue, in several ways.
TOOLS = r"""
ctl() { LC_ALL=C.UTF-8 rabbitmqctl -q "$@" </dev/null; }
import() { cat >/tmp/made && ctl import_definitions /tmp/made --format json && rm /tmp/made; }
digest() {
    case $1 in
        vhosts) ctl list_vhosts name description tags | tr -d '[]'; ctl list_vhost_limits -p shop ;;
        default_types) ctl list_vhosts name default_queue_type ;;
        users) ctl list_users; ctl list_user_limits --user bob; ctl authenticate_user bob 'se"cret' ;;
        permissions) ctl list_permissions; ctl list_topic_permissions ;;
        queues) ctl list_queues name durable auto_delete arguments | sed 's/,*{"x-queue-type","classic"}//' ;;
        exchanges) ctl list_exchanges name type durable auto_delete internal arguments ;;
        bindings) ctl list_bindings source_name destination_name destination_kind routing_key arguments ;;
        policies) ctl list_policies; ctl list_operator_policies ;;
        queue_kinds) ctl list_policies -p kinds ;;
        parameters)
            ctl list_parameters | grep -v '^operator_policy'
            ctl list_global_parameters | grep -v '^noted\|^internal\|^cluster_tags' ;;
    esac 2>&1 | sort | sha256sum | cut -c 1-64
}
"""


def corpus(names: Iterable[str]) -> Corpus:
    """Of these rows."""
    fill, noted = "".join(ROWS[name] for name in names), " ".join(names)
    return Corpus(
        "rabbit",
        "RABBITMQ",
        {"strategy": "rabbitmq"},
        fill=f"set -e\n{TOOLS}{fill}",
        note=f"""{TOOLS}{{ printf '{{"global_parameters": ['
for row in {noted}; do printf '{{"name": "noted_%s", "value": "%s"}},' $row "$(digest $row)"; done
echo '{{"name": "noted", "value": 1}}]}}'; }} | import""",
        differing=f"""{TOOLS}noted=$(ctl list_global_parameters)
for row in {noted}; do
    echo "$noted" | grep "^noted_$row[^a-z]" | grep -q "$(digest $row)" || echo $row
done""",
        destroy=f"""{TOOLS}
ctl delete_vhost shop; ctl delete_user bob; ctl set_permissions -p / dave x x x; ctl delete_queue quorum
ctl eval '[rabbit_exchange:delete(rabbit_misc:r(<<"/">>, exchange, N), false, <<"x">>) || N <- [<<"t">>, <<"h">>]].'
ctl clear_policy ttl; ctl clear_policy -p kinds ttl; ctl delete_vhost typed; ctl clear_global_parameter mine""",
        write=f"{TOOLS}n=0; while n=$((n + 1)); do ctl set_global_parameter noted_busy_$n 1; sleep 1; done",
        command=("rabbitmq-server",),
        ready="rabbitmqctl -q await_startup --timeout 60",
    )


@pytest.mark.slow
def test_every_row_comes_back_by_each_way(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    make_images("rabbitmq:4")
    there = backed_up(corpus(ROWS), *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == {name: [] for name in WAYS}


MIRRORS = """
ctl add_vhost mirrored; ctl set_policy -p mirrored all '.*' '{"ha-mode": "all", "ha-sync-mode": "automatic"}'
ctl set_policy -p mirrored both '^b' '{"ha-mode": "exactly", "ha-params": 2, "max-length": 7}'
ctl set_policy -p mirrored 'no "ñ"' '^n' '{"max-length": 8}'
"""
NOT_MIRRORED = "not-mirrored: the policy {} of mirrored, without {}, since this broker mirrors no queues"


@pytest.mark.slow
def test_every_row_of_an_older_broker_comes_back_in_a_newer_one_but_for_mirrors_which_are_told(
    stand: tuple[Sidecar, App],
) -> None:
    """Debian 12 has RabbitMQ 3.10, Debian 13 has 4.0, which refuses policies of mirrored queues."""
    make_images("rabbitmq3:1", "rabbitmq:4")
    rows = corpus([name for name in ROWS if name not in NEWER])
    old = replace(rows, service="rabbit3", of="RABBITMQ3", fill=rows.fill + MIRRORS)

    container, done = into_newer(old, replace(rows, service="rabbit-newer"), *stand)

    told = sorted(line for line in done["warnings"] if line.startswith("not-mirrored"))
    assert told == [
        NOT_MIRRORED.format("all", "ha-mode, ha-sync-mode"),
        NOT_MIRRORED.format("both", "ha-mode, ha-params"),
    ]
    policies = within(container, f"{TOOLS}ctl list_policies -p mirrored --formatter csv")
    assert len(policies.splitlines()) == 3, policies
    assert '{"max-length":7}' in policies.replace('""', '"')
    within(container, f"{TOOLS}ctl delete_queue plain; ctl clear_user_limits bob max-channels")
    assert old.differs(container) == ["users", "queues", "bindings"], "what is another is seen"
