"""Nothing is left out in silence: what the last good run had and this one lacks, and what was whole of a failed run."""

import pytest

from tests.e2e.test_failing_twins import failed
from tests.kit.stage import App, Json, Sidecar, docker, eventually, execute, within

pytestmark = pytest.mark.e2e

FILL = "for name in a b c; do sqlite3 /data/$name.db 'CREATE TABLE t (x); CREATE TABLE u (x)'; done"
LOCK = "{ echo 'BEGIN EXCLUSIVE;'; echo '.system touch /tmp/locked'; sleep infinity; } | sqlite3 /data/b.db"

TEAR = "head -c 4096 /dev/urandom | dd of=/data/b.db bs=4096 seek=1 conv=notrunc; touch /tmp/locked"


def missing(sidecar: Sidecar, service: str, before: Json) -> list[str]:
    """What the next run is said to lack, which is no good run then."""
    report = sidecar.backup(service)
    assert sidecar.target(service)["last_good"]["id"] == before["id"]
    end = f", which run {before['id']} has"
    assert all(why.startswith("missing: ") and why.endswith(end) for why in report["suspicious"]), report["suspicious"]
    assert sidecar.cli("accept", report["id"]).returncode == 0
    return [why.removeprefix("missing: ").removesuffix(end) for why in report["suspicious"]]


def test_databases_and_tables_of_sqlite_that_are_gone_are_missed(sidecar: Sidecar, app: App) -> None:
    container = app.target("gone", {"strategy": "sqlite"}, "--volume", "/data", of="SQLITE")
    within(container, FILL)
    whole = sidecar.backup("gone")
    drop = "sqlite3 /data/a.db 'DROP TABLE t; DROP TABLE u'; sqlite3 /data/c.db 'DROP TABLE u'"
    within(container, f"rm /data/b.db; {drop}")

    lacking = missing(sidecar, "gone", whole)

    emptied = [f"{table} in data%2Fa.db.sqlite.zst" for table in ("t", "u")]
    assert sorted(lacking) == ["/data/b.db", *emptied, "u in data%2Fc.db.sqlite.zst"]
    assert sidecar.backup("gone")["suspicious"] == []


def test_a_path_that_is_mounted_no_more_is_missed(sidecar: Sidecar, app: App) -> None:
    first = app.target("mounts", {"strategy": "filesystem"}, "--volume", "/data", "--volume", "/srv")
    within(first, "echo 1 >/data/one; echo 2 >/srv/two")
    whole = sidecar.backup("mounts")
    docker("rm", "--force", "--volumes", first)
    sidecar.forgets([first])
    within(app.target("mounts", {"strategy": "filesystem"}, "--volume", "/data"), "echo 1 >/data/one")
    sidecar.wait("mounts")

    assert missing(sidecar, "mounts", whole) == ["/srv"]


def test_a_database_of_redis_that_is_empty_is_missed(sidecar: Sidecar, app: App) -> None:
    command = ("redis-server", "--save", "", "--repl-diskless-sync-delay", "0")
    container = app.target("keys", {"strategy": "redis"}, of="REDIS", command=command)
    eventually(lambda: "PONG" in within(container, "redis-cli PING || true"), what="Redis answers")
    within(container, "redis-cli SET a 1; redis-cli -n 3 SET b 1; echo port 26379 >/etc/redis/sentinel.conf")
    whole = sidecar.backup("keys")
    within(container, "redis-cli -n 3 FLUSHDB")

    assert missing(sidecar, "keys", whole) == ["keys in db3 in dump.rdb.zst"]


@pytest.mark.parametrize(
    ("service", "harm", "told"),
    [("torn", TEAR, "malformed"), pytest.param("locked", LOCK, "database is locked", marks=pytest.mark.slow)],
)
def test_one_database_of_several_fails_the_run_which_says_what_was_whole(
    service: str, harm: str, told: str, sidecar: Sidecar, app: App
) -> None:
    container = app.target(service, {"strategy": "sqlite", "retries": "0"}, "--volume", "/data", of="SQLITE")
    within(container, FILL)
    docker("exec", "--detach", container, "sh", "-c", harm)
    eventually(lambda: execute("docker", "exec", container, "test", "-e", "/tmp/locked").returncode == 0)

    failure = failed(sidecar, service, sidecar.run(service), "command-failed")

    assert "/data/b.db: " in failure["message"]
    assert told in failure["message"]
    assert "; whole were: /data/a.db, /data/c.db" in failure["message"]


def test_a_log_that_a_read_only_mount_cannot_make_fails_by_its_path(sidecar: Sidecar, app: App) -> None:
    writer = app.start("writer", {}, "--volume", "/data", of="SQLITE")
    within(writer, "sqlite3 /data/wal.db 'PRAGMA journal_mode = wal; CREATE TABLE t (x)'")
    within(writer, "sqlite3 /data/a.db 'CREATE TABLE t (x)'")
    volume = docker("inspect", "--format", "{{(index .Mounts 0).Name}}", writer)
    labels = {"strategy": "sqlite", "retries": "0"}
    app.target("reader", labels, "--read-only", "--volume", f"{volume}:/data:ro", of="SQLITE")

    failure = failed(sidecar, "reader", sidecar.run("reader"), "command-failed")

    assert "/data/wal.db: " in failure["message"]
    assert "mount it without :ro" in failure["message"]
    assert "; whole were: /data/a.db" in failure["message"]
