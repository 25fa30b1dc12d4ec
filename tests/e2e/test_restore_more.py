"""Redis and SQLite: what was destroyed comes back by one command, and what is wrong with a backup is named."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_restore import DAMAGES, KEPT, PASSWORD, Stored, failed, refused, succeeded
from tests.e2e.test_strategies_more import (
    FILL,
    FILL_SQLITE,
    SEEN,
    SEEN_SQLITE,
    SHOP,
    WRITER,
    cache,
    with_odd_name,
)
from tests.kit.stage import App, Json, Sidecar, docker, eventually, execute, within

pytestmark = pytest.mark.e2e


@contextmanager
def changed(stored: Stored, name: str) -> Iterator[str]:
    """The path of an artifact that may be harmed; artifact and manifest are as before afterwards."""
    folder, saved = stored.folder, "/var/lib/sidecar/tmp/saved"
    stored.shell(f"cp -r {folder} {saved}")
    try:
        yield f"{folder}/{name}"
    finally:
        stored.shell(f"cp -r {saved}/* {folder} && rm -r {saved}")


def counts(report: Json) -> int:
    return sum(len(artifact["counts"]) for artifact in report["artifacts"])


# --- Redis ------------------------------------------------------------------------------------------------------------

REDIS = {"enable": "true", "strategy": "redis", **KEPT}
RDB = "dump.rdb.zst"


@pytest.fixture
def emptied(sidecar: Sidecar, app: App) -> tuple[str, Json, str]:
    """A server that took the place of one that was backed up and destroyed, that backup, and what the old one held."""
    first = cache(app, "emptied", REDIS, PASSWORD)
    within(first, FILL)
    before = within(first, SEEN)
    run = sidecar.backup("emptied")
    docker("rm", "--force", "--volumes", first)
    sidecar.forgets([first])
    fresh = cache(app, "emptied", REDIS, PASSWORD)
    sidecar.wait("emptied")
    return fresh, run, before


def test_a_destroyed_redis_comes_back(sidecar: Sidecar, emptied: tuple[str, Json, str]) -> None:
    fresh, run, before = emptied

    report = succeeded(sidecar, "emptied")

    assert within(fresh, SEEN) == before
    assert report["compared"] == counts(run) == 2
    assert report["bytes"] == report["total"] > 0
    assert report["safety"] == ""
    assert within(fresh, "ls /tmp") == ""
    told = sidecar.cli("proof", sidecar.key("emptied")).stdout
    assert f"restored  succeeded {report['finished']} into the whole server of {fresh}, 2 numbers compared" in told


@pytest.mark.slow
def test_every_twin_of_a_redis_backup_is_caught(sidecar: Sidecar, emptied: tuple[str, Json, str]) -> None:
    fresh, run, before = emptied
    stored = Stored(sidecar, run)

    for damage in DAMAGES.values():
        with changed(stored, RDB) as path:
            stored.shell(damage.format(*[path] * 2))
            report = failed(sidecar, "emptied", "damaged", "--run", run["id"])
        assert RDB in report["failure"]["message"]
        assert report["bytes"] == 0
        assert within(fresh, "redis-cli DBSIZE") == "0"

    # A dump that misses a key, in the store with every digest right.
    succeeded(sidecar, "emptied", "--run", run["id"])
    within(fresh, "redis-cli -n 3 DEL other-database; redis-cli DEL list")
    lacking = execute("docker", "exec", fresh, "redis-cli", "--rdb", "-").stdout
    within(fresh, "redis-cli FLUSHALL; redis-cli FUNCTION FLUSH")
    with changed(stored, RDB):
        stored.replace(RDB, lacking)
        report = failed(sidecar, "emptied", "counts-differ", "--run", run["id"])
    assert f"{RDB}: keys in db3: none, 1 were counted" in report["failure"]["message"]
    assert "keys in db0: 5004, 5005 were counted" in report["failure"]["message"]
    assert report["undone"]
    assert within(fresh, "redis-cli INFO keyspace | grep ^db || true; redis-cli FUNCTION LIST") == ""

    # A destination that is not empty.
    within(
        fresh,
        """redis-cli -n 7 SET other 1; redis-cli FUNCTION LOAD "#!lua name=own
redis.register_function('own', function() return 1 end)" """,
    )
    assert "already: db7 (1 keys), the functions of own." in refused(sidecar, "emptied")
    replaced = succeeded(sidecar, "emptied", "--replace", "--run", run["id"])
    assert within(fresh, SEEN) == before
    assert within(fresh, "redis-cli -n 7 DBSIZE") == "0"
    succeeded(sidecar, "emptied", "--replace", "--run", replaced["safety"])
    assert within(fresh, "redis-cli -n 7 GET other; redis-cli DBSIZE") == "1\n0"


def test_what_a_restore_replaced_is_still_there_after_another_one(sidecar: Sidecar, app: App) -> None:
    server = cache(app, "twice", {"enable": "true", "strategy": "redis"}, PASSWORD)
    within(server, "redis-cli SET work 'of the night'")
    sidecar.backup("twice")
    within(server, "redis-cli SET work 'of today'")
    today = succeeded(sidecar, "twice", "--replace")["safety"]
    succeeded(sidecar, "twice", "--replace")

    key = sidecar.key("twice")
    assert sidecar.cli("prune", key).returncode == 0

    assert re.search(rf"{today} .* stays +safety 7d, keep-within", sidecar.cli("prune", key, "--dry-run").stdout)
    succeeded(sidecar, "twice", "--replace", "--run", today)
    assert within(server, "redis-cli GET work") == "of today"


# A server whose replicas wait for ever.
SLOW = """
mv /usr/bin/redis-server /usr/bin/real
printf '#!/bin/sh\\nexec real "$@" --repl-diskless-sync-delay 3600\\n' >/usr/bin/redis-server
chmod +x /usr/bin/redis-server
"""


@pytest.mark.slow
def test_a_redis_whose_restore_was_cancelled_in_the_middle_is_empty_and_its_own_master(
    sidecar: Sidecar, emptied: tuple[str, Json, str]
) -> None:
    fresh, _, _ = emptied
    within(fresh, SLOW)
    place = sidecar.admin.post(f"/v1/targets/{sidecar.key('emptied')}/restore").headers["Location"]
    eventually(lambda: "role:slave" in within(fresh, "redis-cli INFO replication"), what="the load has begun")

    sidecar.admin.post(f"{place}/cancel")

    report = eventually(lambda: (found := sidecar.http.get(place).json())["finished"] and found)
    assert (report["state"], report["undone"]) == ("cancelled", True), report
    assert "role:master" in within(fresh, "redis-cli INFO replication")
    assert within(fresh, "redis-cli SET works 1; redis-cli DBSIZE; ls /tmp") == "OK\n1"


# --- SQLite -----------------------------------------------------------------------------------------------------------

SQLITE = {"strategy": "sqlite", **KEPT}
ARTIFACT = "data%2Fshop.db.sqlite.zst"


@pytest.fixture
def bare(sidecar: Sidecar, app: App) -> tuple[str, Json, str]:
    """A container without databases, the run of the one before it, and what that held."""
    first = app.target("bare", SQLITE, "--volume", "/data", of="SQLITE")
    with_odd_name(first, FILL_SQLITE)
    writing(first)
    before = with_odd_name(first, SEEN_SQLITE)
    run = sidecar.backup("bare")
    docker("rm", "--force", "--volumes", first)
    sidecar.forgets([first])
    fresh = app.target("bare", SQLITE, "--volume", "/data", of="SQLITE")
    eventually(lambda: sidecar.states().get("bare") == "problem")
    return fresh, run, before


def writing(container: str) -> None:
    """An application that has written, and keeps the database open."""
    docker("exec", "--detach", container, "sh", "-c", WRITER)
    eventually(lambda: execute("docker", "exec", container, "test", "-e", "/tmp/written").returncode == 0)


def test_destroyed_sqlite_databases_come_back(sidecar: Sidecar, bare: tuple[str, Json, str]) -> None:
    fresh, run, before = bare

    report = succeeded(sidecar, "bare")

    assert with_odd_name(fresh, SEEN_SQLITE) == before
    assert report["compared"] == counts(run) == 3
    assert report["bytes"] == report["total"] > 0
    assert within(fresh, "ls /tmp") == ""


@pytest.mark.slow
def test_every_twin_of_a_sqlite_backup_is_caught(sidecar: Sidecar, bare: tuple[str, Json, str], tmp_path: Path) -> None:
    fresh, run, before = bare
    stored = Stored(sidecar, run)

    for damage in DAMAGES.values():
        with changed(stored, ARTIFACT) as path:
            stored.shell(damage.format(*[path] * 2))
            report = failed(sidecar, "bare", "damaged", "--run", run["id"])
        assert ARTIFACT in report["failure"]["message"]
        assert report["bytes"] == 0
        assert within(fresh, "ls /data") == ""

    # A dump that misses a table, in the store with every digest right.
    succeeded(sidecar, "bare", "--run", run["id"])
    within(fresh, f"cp {SHOP} /tmp/lacking.db; sqlite3 /tmp/lacking.db 'DROP TABLE audit'; rm /data/*")
    docker("cp", f"{fresh}:/tmp/lacking.db", tmp_path)
    with changed(stored, ARTIFACT):
        stored.replace(ARTIFACT, (tmp_path / "lacking.db").read_bytes())
        report = failed(sidecar, "bare", "counts-differ", "--run", run["id"])
    assert f"{ARTIFACT}: audit: none, 2000 were counted" in report["failure"]["message"]
    assert report["undone"]
    assert within(fresh, "ls /data") == ""

    # A destination that is not empty, and in use.
    within(fresh, f"sqlite3 {SHOP} 'PRAGMA journal_mode = wal; CREATE TABLE item (id, name, picture)'")
    writing(fresh)
    assert SHOP in refused(sidecar, "bare")
    replaced = succeeded(sidecar, "bare", "--replace", "--run", run["id"])
    assert with_odd_name(fresh, SEEN_SQLITE) == before
    succeeded(sidecar, "bare", "--replace", "--run", replaced["safety"])
    assert (
        within(fresh, f"sqlite3 {SHOP} 'SELECT count(*), count(id) FROM item; PRAGMA integrity_check'") == "2000|0\nok"
    )
