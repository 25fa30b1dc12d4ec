"""RabbitMQ: every kind of definition; what its own lists tell of it has to be the same."""

from pathlib import Path

import pytest

from tests.corpus.ways import WAYS, Corpus, backed_up, rows_in
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Sidecar

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROWS = rows_in("rabbitmq.sh")
NAMES = " ".join(ROWS)
# What was noted lies among the definitions, too.
TOOLS = r"""
ctl() { LC_ALL=C.UTF-8 rabbitmqctl -q "$@"; }
import() { cat >/tmp/made && ctl import_definitions /tmp/made --format json && rm /tmp/made; }
digest() {
    case $1 in
        vhosts) ctl list_vhosts name description tags default_queue_type; ctl list_vhost_limits ;;
        users) ctl list_users; ctl list_user_limits --user bob; ctl authenticate_user bob 'se"cret' ;;
        permissions) ctl list_permissions; ctl list_topic_permissions ;;
        queues) ctl list_queues name durable auto_delete arguments type ;;
        exchanges) ctl list_exchanges name type durable auto_delete internal arguments ;;
        bindings) ctl list_bindings source_name destination_name destination_kind routing_key arguments ;;
        policies) ctl list_policies; ctl list_operator_policies ;;
        parameters)
            ctl list_parameters | grep -v '^operator_policy'
            ctl list_global_parameters | grep -v '^noted\|^internal' ;;
    esac 2>&1 | sort | sha256sum | cut -c 1-64
}
"""
CORPUS = Corpus(
    "rabbit",
    "RABBITMQ",
    {"strategy": "rabbitmq"},
    fill=f"set -e\n{TOOLS}" + "".join(ROWS.values()),
    note=f"""{TOOLS}for row in {NAMES}; do ctl set_global_parameter noted_$row "\\"$(digest $row)\\""; done""",
    differing=f"""{TOOLS}noted=$(ctl list_global_parameters)
for row in {NAMES}; do
    echo "$noted" | grep "^noted_$row[^a-z]" | grep -q "$(digest $row)" || echo $row
done""",
    destroy=f"""{TOOLS}
ctl delete_vhost shop; ctl delete_user bob; ctl set_permissions -p / dave x x x; ctl delete_queue quorum
ctl eval '[rabbit_exchange:delete(rabbit_misc:r(<<"/">>, exchange, N), false, <<"x">>) || N <- [<<"t">>, <<"h">>]].'
ctl clear_policy ttl; ctl clear_global_parameter mine""",
    write=f"{TOOLS}n=0; while n=$((n + 1)); do ctl set_global_parameter noted_busy_$n 1; done",
    command=("rabbitmq-server",),
    ready="rabbitmqctl -q await_startup --timeout 1",
)


@pytest.mark.slow
def test_every_row_comes_back_by_each_way(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    make_images("rabbitmq:4")
    there = backed_up(CORPUS, *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == {name: [] for name in WAYS}
