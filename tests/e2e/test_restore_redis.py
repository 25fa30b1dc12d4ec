"""Redis is restored whole or not at all: whatever fails, each `DUMP` is what it was, and the server its own master.

The restore is carried out by the sidecar's own parts on the real engine, so that a failure can be planted anywhere.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from controller.core.errors import SidecarError
from controller.core.manifest import Artifact
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.restore.apply import Applying
from controller.restore.room import look
from controller.storage.source import Source
from controller.targets.session import Session
from strategies.base import Answer, Container, Facts
from strategies.plan import Exec, Restore, RestoreRequest
from strategies.redis import Redis, RedisOptions
from strategies.redis_swap import PORT, SERVERS
from tests.e2e.engine_fixtures import container
from tests.e2e.planting import cut_anywhere, cut_off, planted, undo
from tests.kit.stage import docker, eventually, execute, image, said, within

pytestmark = pytest.mark.e2e

RUN = "20260301T030000Z-1a2b3c4d"
CONTAINER = Container("1f", "cache", "redis:8")
PASSWORD = 'secret "pw" \\x'
FACTS = Facts(
    "sh",
    {name: Answer(0, f"/usr/bin/redis-{name}") for name in ("client", "checker", "program")}
    | {"server": Answer(0, "redis_version:8.0.2\r\nrole:master\r\n")},
)

FILL = """
for n in $(seq 3000); do echo "HSET user:$n name n$n bio $n-$n-$n"; done | redis-cli --pipe
redis-cli SET greeting 'hello "world"'; redis-cli SET stays x EX 100000; redis-cli -n 20 SET other yes
redis-cli RPUSH list a b c; redis-cli SADD set 1 2 x; redis-cli ZADD ranks 1 a 2 b; redis-cli XADD log 1-1 what happened
redis-cli FUNCTION LOAD "#!lua name=shop
redis.register_function('twice', function(keys, args) return 2 * args[1] end)"
"""
CHANGE = """
redis-cli DEL greeting list; redis-cli -n 20 FLUSHDB; redis-cli -n 7 SET mine 1; redis-cli HSET user:1 name changed
redis-cli FUNCTION DELETE shop; redis-cli FUNCTION LOAD "#!lua name=own
redis.register_function('own', function() return 1 end)"
"""
SEEN = """
for database in $(redis-cli INFO keyspace | sed -n 's/^db\\([0-9]*\\):.*/\\1/p'); do
    redis-cli -n $database EVAL "
        local found = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
            found[#found + 1] = key .. redis.sha1hex(redis.call('DUMP', key)) .. redis.call('EXPIRETIME', key)
        end
        table.sort(found)
        return '$database ' .. #found .. ' ' .. redis.sha1hex(table.concat(found, ' '))" 0
done
redis-cli FUNCTION DUMP | sha256sum
redis-cli INFO replication | grep ^role
for name in 'repl-diskless*' replica-read-only master; do redis-cli CONFIG GET "$name*"; done | paste - - | sort
ls /tmp
"""


def seen(server: str) -> str:
    """Everything in the server, its role and settings, and what lies about."""
    return within(server, SEEN)


@contextmanager
def started(*settings: str, options: tuple[str, ...] = (), port: int = 6379) -> Iterator[str]:
    """A server with a password, in which a client finds it by itself."""
    words = ("redis-server", "--requirepass", PASSWORD, "--databases", "32", *settings)
    known = ("--env", f"REDIS_PASSWORD={PASSWORD}", "--env", f"REDISCLI_AUTH={PASSWORD}", *options)
    with container(image("REDIS"), *words, options=("--init", *known)) as made:
        ready(made, port)
        yield made


def ready(server: str, port: int = 6379) -> None:
    eventually(lambda: "PONG" in within(server, f"redis-cli -p {port} PING || true"), what="Redis answers")


class Stored:
    """A run, and where it can be restored to."""

    def __init__(self, path: Path, server: str, options: RedisOptions) -> None:
        (dump,) = Redis().plan(CONTAINER, FACTS, options).dumps
        assert isinstance(dump.source, Exec)
        assert dump.count
        assert isinstance(dump.count.source, Exec)
        path.write_bytes(execute("docker", "exec", server, *dump.source.argv).stdout)
        counted = said("docker", "exec", server, *dump.count.source.argv).stdout
        counts = {what: int(number) for number, what in (line.split("\t") for line in counted.splitlines())}
        digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
        facts: dict[str, Any] = {"sha256": digest, "plain_sha256": digest, "size": size, "plain_size": size}
        about: dict[str, Any] = {"name": dump.name, "format": "rdb", "compression": "none", "proof": "full"}
        self.source, self.options = Source(Artifact(counts=counts, **facts, **about), path), options

    def plan(self) -> Restore:
        return Redis().restore(
            CONTAINER, FACTS, self.options, RestoreRequest(RUN, (self.source.stored,), replace=True, restore="r1")
        )

    def applying(self, engine: Engine, server: str, restore: Restore | None = None) -> Applying:
        context = ExecContext(server, "sh", run=RUN, deadline=time.monotonic() + 120)
        return Applying(Session(engine, context, str), restore or self.plan(), {"dump.rdb": self.source})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with started("--masterauth", PASSWORD, "--save", "") as made:
        yield made


@pytest.fixture(scope="module")
def run(server: str, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A run of a rich server, which is changed then."""
    within(server, FILL)
    stored = Stored(tmp_path_factory.mktemp("run") / "dump.rdb", server, RedisOptions())
    within(server, CHANGE)
    return stored


@pytest.mark.parametrize(
    ("place", "after"),
    [(0, True), (1, True), *(pytest.param(n, False, marks=pytest.mark.slow) for n in (0, 1))],
)
def test_a_step_that_fails_leaves_every_key_as_it_was(
    engine: Engine, server: str, run: Stored, place: int, after: bool
) -> None:
    before = seen(server)
    applying = run.applying(engine, server, planted(run.plan(), place, after=after))
    with pytest.raises(SidecarError, match="exit code 3"):
        applying.run()
    assert seen(server) == before
    assert (applying.undone, applying.warnings) == (True, [])


EVERY_LINE = pytest.param("", marks=[pytest.mark.slow, pytest.mark.timeout(900)], id="every line")


@pytest.mark.parametrize("sample", [pytest.param("there=$(counted", id="before it is its own master"), EVERY_LINE])
def test_a_restore_that_ends_at_a_line_leaves_every_key_as_it_was(
    engine: Engine, server: str, run: Stored, sample: str
) -> None:
    before, failed = seen(server), list[str]()
    for line, plan in cut_anywhere(run.plan(), SERVERS):
        if not line.startswith(sample):
            continue
        applying = run.applying(engine, server, plan)
        try:
            applying.run()
        except SidecarError:
            assert seen(server) == before, line
            assert (applying.undone, applying.warnings) == (True, []), line
            assert within(server, f"redis-cli -p {PORT} PING 2>&1 || :").startswith("Could not connect"), line
            failed.append(line)
        else:  # It does not come to this line, or not for its answer alone.
            within(server, CHANGE)
            before = seen(server)
    assert len(failed) == 1 if sample else len(failed) > 30, failed


def test_a_connection_that_is_cut_leaves_every_key_as_it_was(
    engine: Engine, server: str, run: Stored, tmp_path: Path
) -> None:
    before = seen(server)
    with cut_off(run.applying, server, run.plan(), 1, tmp_path) as applying:
        assert seen(server) == before
        assert applying.undone


def suppressed(restore: Callable[[], None]) -> None:
    with suppress(SidecarError):
        restore()


def fails(engine: Engine, server: str, run: Stored, meanwhile: str = "") -> str:
    """Why a restore fails while its first server waits for what never comes, and a shell does something."""
    before, failures = seen(server), list[SidecarError]()
    applying = run.applying(engine, server)

    def restore() -> None:
        try:
            applying.run()
        except SidecarError as error:
            failures.append(error)

    thread = threading.Thread(target=restore)
    thread.start()
    if meanwhile:
        joined = ("docker", "exec", server, "sh", "-c", "redis-cli INFO replication | grep -q ^role:slave")
        eventually(lambda: execute(*joined).returncode == 0, what="the first server follows the second one")
        within(server, meanwhile)
    thread.join(90)
    assert not thread.is_alive()
    assert seen(server) == before
    assert (applying.undone, applying.warnings) == (True, [])
    return failures[0].message


NEVER = """
mv /usr/bin/redis-server /usr/bin/real
printf '#!/bin/sh\\nexec real "$@" --repl-diskless-sync-delay 3600\\n' >/usr/bin/redis-server
chmod +x /usr/bin/redis-server
"""


@pytest.fixture
def stuck(server: str) -> Iterator[str]:
    """Its replicas wait for ever."""
    within(server, NEVER)
    yield server
    within(server, "mv /usr/bin/real /usr/bin/redis-server")


def test_a_second_server_that_is_killed_leaves_every_key_as_it_was(engine: Engine, stuck: str, run: Stored) -> None:
    assert "the second server has ended" in fails(engine, stuck, run, "kill -9 $(cat /tmp/restore-r1/pid)")


@pytest.mark.slow
def test_a_server_that_takes_nothing_is_its_own_master_within_a_minute(engine: Engine, stuck: str, run: Stored) -> None:
    began = time.monotonic()
    assert "the server did not take the data: nothing moved" in fails(engine, stuck, run)
    assert time.monotonic() - began < 60


LARGE = """
{ head -c 300000000 /dev/zero; sleep 100; } | tail >/dev/null & echo $! >/tmp/pid
cd /tmp; until [ "$(awk '/^VmRSS/ {print $2}' /proc/$(cat pid)/status)" -gt 290000 ]; do sleep 0.1; done
"""


def test_the_second_server_is_gone_when_it_is_ended_however_long_it_takes_to_die(server: str) -> None:
    """A process that dies gives back its memory first, and its port then."""
    ended = "was=$(cat pid); end; grep ^State: /proc/$was/status 2>/dev/null || echo gone"
    assert re.fullmatch(r"gone|State:\t[ZX].*", within(server, SERVERS.replace("shift\n", "", 1) + LARGE + ended))


def test_writes_wait_while_what_is_there_is_set_aside_and_none_is_lost(engine: Engine, stuck: str, run: Stored) -> None:
    write = "(redis-cli SET waits 1; redis-cli DEL waits) >/written 2>&1 &"
    fails(engine, stuck, run, f"{write} sleep 1; test ! -s /written; kill -9 $(cat /tmp/restore-r1/pid)")
    eventually(lambda: within(stuck, "cat /written") == "OK\n1", what="the write was done and undone")


def test_a_full_disk_leaves_every_key_as_it_was(engine: Engine, run: Stored) -> None:
    with started(options=("--tmpfs", "/small:size=16k", "--env", "TMPDIR=/small")) as full:
        within(full, FILL)
        assert re.match("redis failed with exit code [0-9]+: .*No space left", fails(engine, full, run))
        assert within(full, "ls /small") == ""


KINDS = {
    "a user and AOF": (
        ("--masterauth", "x y", "--masteruser", "keeper", "--appendonly", "yes", "--replica-read-only", "no"),
        RedisOptions(),
    ),
    "another port": (("--masterauth", PASSWORD, "--port", "6380", "--protected-mode", "yes"), RedisOptions(port=6380)),
}


@pytest.mark.parametrize(("settings", "options"), KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_server_takes_the_run_and_keeps_it_over_its_restart(
    engine: Engine, server: str, run: Stored, settings: tuple[str, ...], options: RedisOptions
) -> None:
    port = options.port or 6379
    with started(*settings, port=port) as other:
        within(other, f"redis-cli -p {port} SET old 1; redis-cli -p {port} -n 31 SET older 1")
        run.options, before = options, run.options
        applying = run.applying(engine, other)
        run.options = before
        applying.run()

        assert applying.warnings == []
        found = f"redis-cli -p {port} DBSIZE; redis-cli -p {port} -n 31 DBSIZE; redis-cli -p {port} FCALL twice 0 21"
        restored = within(other, found)
        assert restored.splitlines() == ["3006", "0", "42"]
        assert within(other, "ls /tmp") == ""
        docker("kill", other)
        docker("start", other)
        ready(other, port)
        eventually(lambda: within(other, found) == restored, what="what was restored is on the disk")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [("--save", ""), ("--appendonly", "yes")], ids=["kept nowhere", "AOF"])
def test_a_server_that_is_killed_meanwhile_gets_back_what_was_set_aside(
    engine: Engine, run: Stored, settings: tuple[str, ...]
) -> None:
    with started(*settings, "--masterauth", PASSWORD) as victim:
        within(victim, f"{FILL}{CHANGE}{NEVER}")
        before = seen(victim)
        applying = run.applying(engine, victim)
        thread = threading.Thread(target=suppressed, args=(applying.run,))
        thread.start()
        aside = ("docker", "exec", victim, "test", "-e", "/tmp/restore-r1/old.rdb")
        eventually(lambda: execute(*aside).returncode == 0, what="what is there is set aside")
        docker("kill", victim)
        thread.join(60)
        assert applying.owed
        docker("start", victim)
        ready(victim)
        within(victim, "mv /usr/bin/real /usr/bin/redis-server")
        undo(applying)
        assert seen(victim) == before


def test_memory_is_looked_at_as_a_disk_is(engine: Engine, server: str, run: Stored) -> None:
    session, plan = run.applying(engine, server).session, run.plan()
    docker("update", "--memory", "64m", "--memory-swap", "64m", server)
    room = look(session, plan, [run.source.artifact])
    docker("update", "--memory", "4g", "--memory-swap", "4g", server)
    wide = look(session, plan, [run.source.artifact])
    assert room
    assert wide
    assert room.free
    assert room.free < 32 << 20
    assert (wide.free or 0) > 64 << 20


def test_the_server_has_the_run_in_the_end(engine: Engine, server: str, run: Stored) -> None:
    applying = run.applying(engine, server)
    applying.run()
    assert applying.warnings == []
    assert within(server, "redis-cli DBSIZE; redis-cli -n 20 GET other; redis-cli FCALL twice 0 21; ls /tmp") == (
        "3006\nyes\n42"
    )
    assert within(server, "redis-cli KEYS '*restore*'") == ""
