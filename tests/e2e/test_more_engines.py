"""OpenLDAP, etcd, InfluxDB and RabbitMQ come back, or keep their old data whatever fails.

The restore is carried out by the sidecar's own parts on the real engine, so that a failure can be planted anywhere.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from controller.core.errors import SidecarError
from controller.core.manifest import Artifact
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.restore.apply import Applying
from controller.storage.source import Source
from controller.targets.session import Session
from strategies.base import Answer, Container, Facts, Strategy
from strategies.etcd import Etcd
from strategies.influxdb import Influxdb
from strategies.openldap import Openldap
from strategies.plan import Exec, Restore, RestoreRequest
from strategies.rabbitmq import Rabbitmq
from tests.e2e.engine_fixtures import container
from tests.e2e.planting import planted
from tests.e2e.test_failing_twins import HALF_WAY, INCOMPLETE, failed
from tests.e2e.test_restore import refused, succeeded
from tests.e2e.test_strategies import artifact
from tests.kit.few import few
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Sidecar, docker, eventually, execute, image, restored, said, within

pytestmark = pytest.mark.e2e

RUN = "20260301T030000Z-1a2b3c4d"
ADMIN = "-x -H ldapi:/// -D cn=admin,dc=example,dc=org -w admin"


@dataclass(frozen=True)
class Kind:
    """A server, and what is in it."""

    strategy: Strategy[Any]
    image: str
    ready: str
    fill: str
    change: str
    seen: str
    """Everything, its files too."""
    counted: dict[str, int]
    """Some of what is counted."""
    steps: tuple[int, ...]
    """Those that fail, of all."""
    restarted: bool = False
    """By hand, it needs a restart."""
    beside: bool = False
    """By hand, it comes beside what is there, so that no second server has to start for it."""


ENTRIES = """for n in $(seq 500); do
    printf 'dn: uid=u%s,dc=example,dc=org\\nobjectClass: account\\nuid: u%s\\n\\n' $n $n
done | ldapadd ADMIN"""
CONFIG = """ldapmodify -Q -Y EXTERNAL -H ldapi:/// <<'END'
dn: cn=config
changetype: modify
replace: olcSizeLimit
olcSizeLimit: LIMIT
END"""
INFLUX = 'ask() { influx -format csv -execute "$1"; }'
# One question each, since each start of the client takes a second.
RABBIT = 'ctl() { LC_ALL=C.UTF-8 rabbitmqctl -q "$@"; }'
DEFINITIONS = json.dumps(
    {
        "vhosts": [{"name": "shop"}],
        "users": [{"name": "bob", "password": "secret", "tags": "monitoring"}],
        "permissions": [{"user": "bob", "vhost": "shop", "configure": ".*", "write": "", "read": ".*"}],
        "policies": [
            {
                "vhost": "shop",
                "name": "ttl",
                "pattern": "^q",
                "apply-to": "queues",
                "definition": {"message-ttl": 60000},
            }
        ],
        "queues": [
            {"vhost": "shop", "name": name, "durable": True, "auto_delete": False, "arguments": arguments}
            for name, arguments in (("one", {}), ("a ñ", {"x-queue-type": "quorum"}))
        ],
        "exchanges": [
            {
                "vhost": "shop",
                "name": "all",
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
        ],
        "bindings": [
            {
                "vhost": "shop",
                "source": "all",
                "destination": "a ñ",
                "destination_type": "queue",
                "routing_key": "x.*",
                "arguments": {},
            }
        ],
    }
)
CHANGE = """
    {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"shop">>, queue, <<"one">>)),
    rabbit_amqqueue:delete(Q, false, false, <<"x">>), rabbit_policy:delete(<<"shop">>, <<"ttl">>, <<"x">>),
    rabbit_auth_backend_internal:set_permissions(<<"bob">>, <<"shop">>, <<>>, <<>>, <<>>, <<"x">>).
"""
SEEN = """
    All = fun(M) -> lists:sort([lists:sort(X) || X <- M]) end, V = <<"shop">>,
    io:format("~0tp~n", [{lists:sort(rabbit_vhost:list_names()), All(rabbit_auth_backend_internal:list_users()),
        All(rabbit_auth_backend_internal:list_vhost_permissions(V)), All(rabbit_policy:list(V)),
        All(rabbit_amqqueue:info_all(V, [name, durable, arguments])),
        All(rabbit_exchange:info_all(V, [name, type, durable])), All(rabbit_binding:info_all(V))}]).
"""
KINDS = {
    "openldap": Kind(
        Openldap(),
        "openldap:2",
        "ldapsearch -x -H ldapi:/// -s base -b ''",
        f"set -e; {ENTRIES}; {CONFIG}".replace("ADMIN", ADMIN).replace("LIMIT", "700"),
        f"ldapdelete {ADMIN} uid=u7,dc=example,dc=org; {CONFIG}".replace("LIMIT", "900"),
        f"ldapsearch {ADMIN} -LLL -E pr=200/noprompt -b dc=example,dc=org '*' '+' | sort | sha256sum;"
        "ldapsearch -Q -Y EXTERNAL -H ldapi:/// -LLL -b cn=config '*' '+' | sort | sha256sum;"
        "ls -A /var/lib/ldap /etc/ldap/slapd.d",
        {"entries of account": 500, "entries of organization": 1},
        (0, 1, 2, 3, 5),
        restarted=True,
    ),
    "etcd": Kind(
        Etcd(),
        "etcd:3",
        "etcdctl endpoint health",
        "set -e; for n in $(seq 100); do etcdctl put key/$n value$n; done; etcdctl user add bob:secret",
        "etcdctl del key/7; etcdctl put other 1",
        "etcdctl get '' --from-key --write-out=fields | grep -v 'RaftTerm\\|ClusterID\\|MemberID';"
        "etcdctl user list; ls -A $ETCD_DATA_DIR",
        {"keys in etcd": 100, "users": 1, "roles": 0},
        (0, 1, 2, 4),
        restarted=True,
    ),
    "influxdb": Kind(
        Influxdb(),
        "influxdb:1",
        "influx -execute 'SHOW DATABASES'",
        f"set -e; {INFLUX}; ask 'CREATE DATABASE shop'; ask 'CREATE DATABASE empty';"
        "ask 'CREATE RETENTION POLICY short ON shop DURATION 52w REPLICATION 1';"
        "ask 'CREATE CONTINUOUS QUERY often ON shop BEGIN SELECT max(v) INTO m FROM cpu GROUP BY time(1h) END';"
        "{ printf '# DML\\n# CONTEXT-DATABASE: shop\\n'; for n in $(seq 500); do echo cpu,host=h$((n % 9)) v=$n $n;"
        " done; } >/tmp/points; influx -import -path /tmp/points",
        f"{INFLUX}; influx -database shop -execute \"DELETE FROM cpu WHERE host = 'h3'\";"
        "ask 'DROP CONTINUOUS QUERY often ON shop'; ask 'ALTER RETENTION POLICY short ON shop DURATION 9w'",
        f"{INFLUX}; ask 'SELECT * FROM shop..cpu' | sort | sha256sum; ask 'SHOW DATABASES' | sort |"
        # The server makes it some seconds after its start.
        " grep -v _internal; ask 'SHOW CONTINUOUS QUERIES' | sort -u;"
        "ask 'SHOW RETENTION POLICIES ON shop'; ls -A /var/lib/influxdb",
        {"series of cpu": 9, "retention policies": 2},
        (0, 1, 2, 3),
    ),
    "rabbitmq": Kind(
        Rabbitmq(),
        "rabbitmq:4",
        "grep -qrs 'Server startup complete' /var/log/rabbitmq",
        f"{RABBIT}; echo '{DEFINITIONS}' >/tmp/made; ctl import_definitions /tmp/made --format json; rm /tmp/made",
        f"{RABBIT}; ctl eval '{CHANGE}'",
        f"{RABBIT}; ctl eval '{SEEN}'; ls -A /tmp",
        {"queues": 2, "vhosts": 2, "users": 2, "bindings": 1, "policies": 1},
        (0,),
        beside=True,
    ),
}


@contextmanager
def started(kind: Kind) -> Iterator[str]:
    make_images(kind.image)
    with container(image(kind.image.partition(":")[0].upper()), options=("--init",)) as made:
        is_ready(made, kind)
        yield made


def is_ready(server: str, kind: Kind) -> None:
    eventually(lambda: execute("docker", "exec", server, "sh", "-c", kind.ready).returncode == 0, seconds=60)


def asked(server: str, argv: tuple[str, ...]) -> Answer:
    done = said("docker", "exec", server, *argv)
    return Answer(done.returncode, done.stdout, done.stderr)


class Stored:
    """A run of a server, and how it is restored."""

    def __init__(self, kind: Kind, server: str, folder: Path) -> None:
        self.kind, self.server = kind, server
        self.about = Container("1f", "box", "box:1")
        self.options = kind.strategy.options()
        self.sources: dict[str, Source] = {}
        for dump in kind.strategy.plan(self.about, self.facts(), self.options).dumps:
            assert isinstance(dump.source, Exec)
            assert dump.count
            assert isinstance(dump.count.source, Exec)
            path = folder / dump.name
            path.write_bytes(execute("docker", "exec", server, *dump.source.argv).stdout)
            counts = dump.count.read(BytesIO(execute("docker", "exec", server, *dump.count.source.argv).stdout))
            digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
            facts: dict[str, Any] = {"sha256": digest, "plain_sha256": digest, "size": size, "plain_size": size}
            about: dict[str, Any] = {"format": dump.format, "subject": dump.subject, "proof": "full"}
            made = Artifact(name=dump.name, compression="none", counts=dict(counts), **facts, **about)
            self.sources[dump.name] = Source(made, path)

    def facts(self) -> Facts:
        probes = self.kind.strategy.probes(self.options)
        return Facts("sh", {name: asked(self.server, argv) for name, argv in probes.items()})

    def plan(self) -> Restore:
        stored = tuple(source.stored for source in self.sources.values())
        request = RestoreRequest(RUN, stored, replace=True, restore="r1")
        return self.kind.strategy.restore(self.about, self.facts(), self.options, request)

    def applying(self, engine: Engine, restore: Restore) -> Applying:
        context = ExecContext(self.server, "sh", run=RUN, deadline=time.monotonic() + 120)
        return Applying(Session(engine, context, str), restore, self.sources)


@pytest.mark.parametrize("name", few(KINDS, "openldap"))
@pytest.mark.parametrize("last_alone", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["started", "each"])
def test_a_step_that_fails_leaves_the_server_with_its_old_data(
    engine: Engine, name: str, last_alone: bool, tmp_path: Path
) -> None:
    kind = KINDS[name]
    with started(kind) as server:
        within(server, kind.fill)
        whole = within(server, kind.seen)
        stored = Stored(kind, server, tmp_path)
        within(server, kind.change)
        before = within(server, kind.seen)
        assert before != whole
        for place in kind.steps[-1:] if last_alone else kind.steps:
            applying = stored.applying(engine, planted(stored.plan(), place, after=True))
            with pytest.raises(SidecarError, match="exit code 3"):
                applying.run()
            is_ready(server, kind)
            assert (applying.undone, applying.warnings) == (True, []), place
            assert within(server, kind.seen) == before, place
        applying = stored.applying(engine, stored.plan())
        applying.run()
        assert applying.warnings == []
        assert within(server, kind.seen) == whole


@pytest.mark.parametrize("name", few(KINDS, "openldap", "influxdb"))
def test_a_server_is_backed_up_replaced_and_brought_back_by_hand(
    name: str, sidecar: Sidecar, app: App, tmp_path: Path
) -> None:
    kind, service = KINDS[name], f"more-{name}"
    make_images(kind.image)
    of, labels = name.upper(), {"strategy": name, "retention.keep-last": "50"}
    server = app.target(service, labels, of=of, command=())
    is_ready(server, kind)
    within(server, kind.fill)
    whole = within(server, kind.seen)

    report = sidecar.backup(service)

    counts = {what: number for stored in report["artifacts"] for what, number in stored["counts"].items()}
    assert (report["proof"], report["warnings"]) == ("full", [])
    assert counts.items() >= kind.counted.items()
    within(server, kind.change)
    assert refused(sidecar, service, "--run", report["id"])
    done = succeeded(sidecar, service, "--replace", "--run", report["id"])
    assert (done["warnings"], done["undone"]) == ([], False)
    assert within(server, kind.seen) == whole
    within(server, kind.change)
    fresh = server if kind.beside else app.start("by-hand", {}, of=of, command=())
    is_ready(fresh, kind)
    folder = sidecar.fetch(report, tmp_path)
    for stored in json.loads((folder / "manifest.json").read_text())["artifacts"]:
        restored(folder, artifact(folder, stored["name"]), fresh)
    if kind.restarted:
        docker("restart", fresh)
        is_ready(fresh, kind)
    assert within(fresh, kind.seen) == whole


@pytest.mark.slow
def test_a_container_that_would_not_come_back_from_a_restart_is_not_restored_into(sidecar: Sidecar, app: App) -> None:
    kind = KINDS["etcd"]
    make_images(kind.image)
    server = app.target("more-passing", {"strategy": "etcd"}, "--rm", of="ETCD", command=())
    is_ready(server, kind)
    within(server, "etcdctl put a 1")
    sidecar.backup("more-passing")

    told = refused(sidecar, "more-passing", "--replace")

    assert "removes itself, with its volumes, once it is stopped" in told
    assert "--to another container" in told
    assert within(server, "etcdctl get a --print-value-only") == "1"


@INCOMPLETE
@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 3])
def test_a_slapcat_that_stops_half_way_fails_the_run(code: int, sidecar: Sidecar, app: App) -> None:
    kind, labels = KINDS["openldap"], {"strategy": "openldap"}
    make_images(kind.image)
    server = app.target("more-twin", labels, of="OPENLDAP", command=())
    is_ready(server, kind)
    within(server, kind.fill)
    sidecar.wait("more-twin")
    twin = f'#!/bin/sh\nREAL=/usr/sbin/slapcat\ncase "$*" in *-wrap*) exec "$REAL" "$@" ;; esac\n{HALF_WAY} {code}\n'
    put = "cat >/usr/local/sbin/slapcat && chmod 755 /usr/local/sbin/slapcat"
    docker("exec", "--user", "0", "--interactive", server, "sh", "-c", put, input=twin.encode())

    failed(sidecar, "more-twin", sidecar.run("more-twin"), "command-failed" if code else "incomplete-dump")
