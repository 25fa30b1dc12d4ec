"""Redis and SQLite: real data, brought back by the manifest's own line into a fresh container, and what must fail."""

from pathlib import Path

import pytest

from tests.e2e.test_failing_twins import HALF_WAY, INCOMPLETE, Kind, failed
from tests.e2e.test_strategies import artifact
from tests.kit.stage import App, Sidecar, docker, eventually, execute, restored, within

pytestmark = pytest.mark.e2e

# --- Redis ----------------------------------------------------------------------------------------------------------

SERVER = ("redis-server", "--save", "", "--repl-diskless-sync-delay", "0")
FILL = """
for n in $(seq 5000); do echo "HSET user:$n name n$n bio $n-$n-$n"; done | redis-cli --pipe
redis-cli SET greeting 'hello "world"'; redis-cli SET gone x PX 1; redis-cli SET stays x EX 100000
redis-cli RPUSH list a b c; redis-cli SADD set 1 2 x; redis-cli ZADD ranks 1 a 2 b; redis-cli XADD log 1-1 what happened
redis-cli -n 3 SET other-database yes
redis-cli FUNCTION LOAD "#!lua name=shop
redis.register_function('twice', function(keys, args) return 2 * args[1] end)"
"""
SEEN = """
for database in 0 3; do
    redis-cli -n $database EVAL "
        local found = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
            found[#found + 1] = key .. redis.sha1hex(redis.call('DUMP', key)) .. redis.call('EXPIRETIME', key)
        end
        table.sort(found)
        return #found .. ' ' .. redis.sha1hex(table.concat(found, ' '))" 0
done
redis-cli FCALL twice 0 21
"""


def cache(app: App, service: str, labels: dict[str, str], password: str) -> str:
    """A server with a password that its environment holds."""
    options = ("--env", f"REDIS_PASSWORD={password}", "--env", f"REDISCLI_AUTH={password}")
    container = app.start(service, labels, *options, of="REDIS", command=(*SERVER, "--requirepass", password))
    eventually(lambda: "PONG" in within(container, "redis-cli PING || true"), what="Redis answers")
    return container


def test_redis_comes_back_with_every_key_database_and_function(
    sidecar: Sidecar, app: App, password: str, tmp_path: Path
) -> None:
    container = cache(app, "cache", {"enable": "true", "strategy": "redis"}, password)
    within(container, FILL)
    before = within(container, SEEN)

    report = sidecar.backup("cache")
    folder = sidecar.fetch(report, tmp_path)
    docker("rm", "--force", "--volumes", container)
    fresh = cache(app, "fresh", {}, "another one")
    within(fresh, "redis-cli SET not-in-the-backup 1")
    restored(folder, artifact(folder, "dump.rdb.zst"), fresh)

    assert report["proof"] == "full"
    assert report["warnings"] == []
    assert before.splitlines()[0].startswith("5006 ")
    assert within(fresh, SEEN) == before
    assert "role:master" in within(fresh, "redis-cli INFO replication")
    assert within(fresh, "ls /tmp") == ""
    assert password not in str(sidecar.target("cache"))


def test_a_wrong_redis_password_is_known_when_the_container_starts(sidecar: Sidecar, app: App) -> None:
    options = ("--env", "REDIS_PASSWORD=wrong and never shown")
    app.target("locked", {"strategy": "redis"}, *options, of="REDIS", command=(*SERVER, "--requirepass", "right"))

    found = sidecar.wait("locked", "problem")

    assert [problem["code"] for problem in found["problems"]] == ["refused"]
    assert "REDIS_PASSWORD" in found["problems"][0]["hint"]
    assert "never shown" not in str(found) + sidecar.log()


@INCOMPLETE
@pytest.mark.parametrize("code", [0, 3])
def test_a_redis_client_that_stops_half_way_fails_the_run(code: int, sidecar: Sidecar, app: App) -> None:
    kind = Kind("redis-cli", "REDIS", {"strategy": "redis"})
    container = app.target("twin", kind.labels, of="REDIS", command=SERVER)
    sidecar.wait("twin", seconds=30)
    within(container, FILL)
    kind.replace_client(container, f'case "$*" in *INFO*) exec "$REAL" "$@";; esac\n{HALF_WAY} {code}')

    failed(sidecar, "twin", sidecar.run("twin"), "command-failed" if code else "incomplete-dump")


def test_without_the_targets_checker_the_checksum_is_computed_here(sidecar: Sidecar, app: App) -> None:
    container = app.target("unchecked", {"strategy": "redis"}, of="REDIS", command=SERVER)
    within(container, "rm /usr/bin/redis-check-rdb")
    eventually(lambda: "PONG" in within(container, "redis-cli PING || true"), what="Redis answers")
    within(container, FILL)

    assert sidecar.backup("unchecked")["proof"] == "full"


# --- SQLite ---------------------------------------------------------------------------------------------------------

SHOP, ODD = "/data/shop.db", '/data/o\'dd "name" %41?.sqlite'
FILL_SQLITE = """
sqlite3 /data/shop.db "PRAGMA journal_mode = wal; CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, picture BLOB);
    CREATE INDEX by_name ON item (name); CREATE TABLE audit (what);
    CREATE TRIGGER told AFTER INSERT ON item BEGIN INSERT INTO audit VALUES (new.name); END;
    CREATE VIEW cheap AS SELECT * FROM item WHERE id < 10"
sqlite3 "$0" "CREATE TABLE \\"a table\\" (x); INSERT INTO \\"a table\\" VALUES (NULL), (1.5), (x'000a0d')"
"""
WRITER = """
{ echo "INSERT INTO item (name, picture) SELECT 'item ' || value, randomblob(100) FROM generate_series(1, 2000);"
  echo ".system touch /tmp/written"; sleep infinity; } | sqlite3 /data/shop.db
"""
SEEN_SQLITE = 'for path in /data/shop.db "$0"; do sqlite3 "$path" .dump | sha256sum; done'


def with_odd_name(container: str, script: str) -> str:
    return docker("exec", container, "sh", "-c", script, ODD)


def test_sqlite_comes_back_with_what_was_only_in_its_write_ahead_log(
    sidecar: Sidecar, app: App, tmp_path: Path
) -> None:
    container = app.target("app", {"strategy": "sqlite"}, "--volume", "/data", of="SQLITE")
    with_odd_name(container, FILL_SQLITE)
    docker("exec", "--detach", container, "sh", "-c", WRITER)
    eventually(lambda: execute("docker", "exec", container, "test", "-e", "/tmp/written").returncode == 0)
    assert int(within(container, "stat -c %s /data/shop.db-wal")) > 100_000
    before = with_odd_name(container, SEEN_SQLITE)

    report = sidecar.backup("app")
    folder = sidecar.fetch(report, tmp_path)
    left = within(container, "ls /tmp")
    docker("rm", "--force", "--volumes", container)
    fresh = app.start("fresh", {}, of="SQLITE")
    for facts in report["artifacts"]:
        restored(folder, artifact(folder, facts["name"]), fresh)

    assert report["proof"] == "full"
    assert left == "written"
    assert len(report["artifacts"]) == 2
    assert with_odd_name(fresh, SEEN_SQLITE) == before
    assert within(fresh, "sqlite3 /data/shop.db 'SELECT count(*) FROM audit'") == "2000"


GROWN = f"sqlite3 {SHOP} 'CREATE TABLE t AS SELECT randomblob(1000000) AS x FROM generate_series(1, 100)'"
HELD = "held=$(head -c 30000000 /dev/zero | tr '\\0' x); touch /ready; sleep infinity"


def test_a_copy_of_sqlite_takes_no_memory_of_the_application(sidecar: Sidecar, app: App) -> None:
    """In a tmpfs it would be the container's own, and the kernel would end the application."""
    command = ("sh", "-c", f"{GROWN}; {HELD}")
    options = ("--volume", "/data", "--tmpfs", "/tmp", "--memory", "128m", "--memory-swap", "128m")
    container = app.target("tight", {"strategy": "sqlite", "retries": "0"}, *options, of="SQLITE", command=command)
    eventually(lambda: execute("docker", "exec", container, "test", "-e", "/ready").returncode == 0)

    assert sidecar.backup("tight")["proof"] == "full"
    state = docker("inspect", "--format", "{{.State.OOMKilled}} {{.State.Running}} {{.RestartCount}}", container)
    assert state.split() == ["false", "true", "0"]
    assert within(container, "ls -A /tmp /var/tmp /data | grep sqlite. || true") == ""


def test_where_all_is_memory_there_is_no_copy_of_sqlite(sidecar: Sidecar, app: App) -> None:
    memory = ("--tmpfs", "/tmp", "--tmpfs", "/var/tmp", "--tmpfs", "/data", "--memory", "224m", "--memory-swap", "224m")
    labels = {"strategy": "sqlite", "retries": "0", "sqlite.paths": SHOP}
    container = app.target("full", labels, *memory, of="SQLITE", command=("sh", "-c", f"{GROWN}; {HELD}"))
    eventually(lambda: execute("docker", "exec", container, "test", "-e", "/ready").returncode == 0)

    failure = failed(sidecar, "full", sidecar.run("full"), "command-failed")

    assert "name another folder by backup.env.TMPDIR" in failure["message"]
    assert docker("inspect", "--format", "{{.State.OOMKilled}} {{.State.Running}}", container).split() == [
        "false",
        "true",
    ]


LOCK = "{ echo 'BEGIN EXCLUSIVE;'; echo '.system touch /tmp/locked'; sleep infinity; } | sqlite3 /data/shop.db"
LARGE = "CREATE TABLE item AS SELECT randomblob(99) FROM generate_series(1, 999)"
CORRUPT = "dd if=/dev/urandom of=/data/shop.db bs=512 seek=9 count=16 conv=notrunc; sync"


@INCOMPLETE
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        pytest.param(LOCK, "database is locked", id="locked", marks=pytest.mark.slow),
        pytest.param(CORRUPT, "", id="corrupt"),
        pytest.param("rm /data/shop.db", "not there", id="missing"),
    ],
)
def test_a_locked_corrupt_or_missing_sqlite_database_fails_the_run(
    harm: str, told: str, sidecar: Sidecar, app: App
) -> None:
    labels = {"strategy": "sqlite", "sqlite.paths": SHOP}
    command = ("sh", "-c", f"mkdir -p /data; sqlite3 {SHOP} '{LARGE}'; sleep infinity")
    container = app.target("broken", labels, of="SQLITE", command=command)
    sidecar.wait("broken")
    docker("exec", "--detach", container, "sh", "-c", f"{harm}; touch /tmp/locked")
    eventually(lambda: execute("docker", "exec", container, "test", "-e", "/tmp/locked").returncode == 0)

    failure = failed(sidecar, "broken", sidecar.run("broken"), "missing-path" if harm[:2] == "rm" else "command-failed")

    assert told in failure["message"]
    assert within(container, "ls /tmp") == "locked"
