"""SQLite in targets without a client for it: read by a helper container, which sees their volumes and cannot write."""

import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.e2e.test_failing_twins import INCOMPLETE, failed
from tests.e2e.test_strategies import artifact
from tests.kit import stage
from tests.kit.stage import WORK, App, Json, Sidecar, docker, eventually, execute, image, within

pytestmark = pytest.mark.e2e

Allowed = tuple[Sidecar, App]
SHOP = "/data/own/shop.db"
LABELS = {"strategy": "sqlite", "retention.keep-last": "50"}


@pytest.fixture(scope="module")
def running(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar that may create containers, in a project of its own."""
    folder = tmp_path_factory.mktemp("helper")
    settings = {"schema": 1, "policy": {"create-containers": True}, "defaults": {"schedule": "none", "retries": 0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"sidecar-helper-{secrets.token_hex(3)}", folder, token) as (running, _):
        yield running


@pytest.fixture
def allowed(running: Sidecar) -> Iterator[Allowed]:
    """That sidecar and an app, for one test."""
    with App(running.project) as app:
        yield running, app
    running.forgets(app.started)


def helpers(sidecar: Sidecar) -> list[str]:
    """Those of this sidecar's project alone, since others are tested beside it."""
    owner = within(sidecar.container, f"cat {WORK}/identity")
    mine = ("--filter", "label=backup-sidecar.helper", "--filter", f"label=backup-sidecar.owner={owner}")
    return docker("ps", "--all", "--quiet", "--no-trunc", *mine).split()


# Each sale is two rows in one transaction; the folder is closed to everybody but the app's own user. A connection that
# is kept leaves everything in its write-ahead log.
WRITER = """
import os, sqlite3, sys, time
os.makedirs("/data/own", exist_ok=True); os.chmod("/data/own", 0o700); os.chown("/data/own", 1000, 1000)
os.setgroups([]); os.setgid(1000); os.setuid(1000); os.umask(0o077)
def connect(): return sqlite3.connect("/data/own/shop.db", isolation_level=None, timeout=60)
shop = connect()
shop.execute(f"PRAGMA journal_mode = {sys.argv[1]}")
shop.execute("PRAGMA wal_autocheckpoint = 0")
for table in ("sold", "paid"): shop.execute(f"CREATE TABLE IF NOT EXISTS {table} (n INTEGER PRIMARY KEY, what)")
shop.execute("CREATE TABLE IF NOT EXISTS bulk AS "
    "WITH n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) SELECT x, hex(randomblob(100)) AS y FROM n")
while True:
    shop.execute("BEGIN")
    for table in ("sold", "paid"): shop.execute(f"INSERT INTO {table} (what) VALUES (?)", ["x" * 400])
    shop.execute("COMMIT")
    if sys.argv[2] == "again": shop.close()
    time.sleep(0.002)
    if sys.argv[2] == "again": shop = connect()
"""


def sold(content: bytes, folder: Path) -> int:
    """How much the copy of a shop has sold; fails where it is no state that the shop was ever in."""
    (path := folder / f"{secrets.token_hex(4)}.db").write_bytes(content)
    with closing(sqlite3.connect(path)) as copy:
        numbers = [copy.execute(f"SELECT count(*), max(n) FROM {table}").fetchone() for table in ("sold", "paid")]
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("SELECT count(*) FROM bulk").fetchone() == (20000,)
    assert numbers[0] == numbers[1]
    assert numbers[0][0] == numbers[0][1]
    return int(numbers[0][0])


def shop(app: App, service: str, labels: dict[str, str], *how: str) -> str:
    container = app.start(service, labels, "--volume", "/data", of="PYTHON", command=("python3", "-c", WRITER, *how))
    eventually(lambda: execute("docker", "exec", container, "test", "-e", SHOP).returncode == 0, what="the shop")
    return container


def counted(container: str) -> int:
    program = f"import sqlite3; print(sqlite3.connect('{SHOP}').execute('SELECT count(*) FROM sold').fetchone()[0])"
    return int(docker("exec", "--user", "1000", container, "python3", "-c", program))


@pytest.mark.parametrize(
    "how",
    [
        ("wal", "kept"),
        pytest.param(("wal", "again"), marks=pytest.mark.slow),
        pytest.param(("delete", "kept"), marks=pytest.mark.slow),
        pytest.param(("delete", "again"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_a_shop_that_goes_on_selling_is_copied_as_it_was_at_one_moment(
    how: tuple[str, str], allowed: Allowed, tmp_path: Path
) -> None:
    sidecar, app = allowed
    container = shop(app, "shop", {"enable": "true", **LABELS}, *how)
    eventually(lambda: counted(container) > 20)
    sidecar.wait("shop")
    before = counted(container)

    report = sidecar.backup("shop")

    after = counted(container)
    folder = sidecar.fetch(report, tmp_path)
    (facts,) = report["artifacts"]
    content = execute("zstd", "-dc", folder / facts["name"]).stdout
    assert before <= sold(content, tmp_path) <= after
    assert report["proof"] == "full"
    assert report["warnings"] == []
    assert facts["counts"]["bulk"] == 20000
    assert set(facts["approximate"]) == {"sold", "paid"}
    assert helpers(sidecar) == []
    assert sidecar.target("shop")["plan"]["helper"] is True

    # By hand, as the manifest says, into a volume that is empty but for a log of what was there.
    docker("pause", container)
    within_volumes(container, f"rm {SHOP}; echo stale >{SHOP}-wal")
    docker("unpause", container)
    line = artifact(folder, facts["name"])["restore"].replace(" busybox ", f" {image('BUSYBOX')} ")
    done = execute("sh", "-c", line, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert eventually(lambda: counted(container)) >= before


def within_volumes(container: str, script: str) -> None:
    docker("run", "--rm", "--volumes-from", container, image("BUSYBOX"), "sh", "-c", script)


@pytest.mark.slow
def test_a_target_without_even_a_shell_is_read_whoever_writes(allowed: Allowed, tmp_path: Path) -> None:
    sidecar, app = allowed
    writer = shop(app, "writer", {}, "wal", "kept")
    app.target("bare", LABELS, "--volumes-from", writer, "--mount", "type=tmpfs,target=/scratch", of="DISTROLESS")

    report = sidecar.backup("bare")

    (facts,) = report["artifacts"]
    assert facts["subject"] == SHOP
    explained = sidecar.cli("explain", sidecar.key("bare"), "--verbose").stdout
    assert "(sqlite, by a helper container): python\n" in explained
    assert f"python -m strategies.sqlite_reader copy {SHOP}\n" in explained
    assert sold(execute("zstd", "-dc", sidecar.fetch(report, tmp_path) / facts["name"]).stdout, tmp_path) > 0
    done = sidecar.cli("restore", sidecar.key("bare"))
    assert done.returncode == 1
    assert "--to-file" in done.stderr


@pytest.mark.parametrize("options", [(), ("--mount", f"type=bind,source=/etc/hostname,target={SHOP}")])
def test_a_database_that_a_helper_does_not_see_whole_is_told_beforehand(
    options: tuple[str, ...], allowed: Allowed
) -> None:
    sidecar, app = allowed
    app.target("unseen", {"sqlite.paths": SHOP, **LABELS}, *options, of="DEBIAN")

    (problem,) = sidecar.wait("unseen", "problem")["problems"]

    assert problem["code"] == "not-mounted"
    assert SHOP in problem["message"]
    assert helpers(sidecar) == []


def test_without_the_operators_leave_the_missing_client_is_told_with_every_way_out(sidecar: Sidecar, app: App) -> None:
    app.target("clientless", LABELS, "--volume", "/data", of="DEBIAN")

    (problem,) = sidecar.wait("clientless", "problem")["problems"]

    assert problem["code"] == "no-client"
    assert "policy.create-containers: true" in problem["hint"]
    assert "commands.backup" in problem["hint"]
    assert helpers(sidecar) == []


OWNER = f"""
import os, sqlite3, time
os.makedirs("/data/own", exist_ok=True)
c = sqlite3.connect("{SHOP}", isolation_level=None)
c.execute("CREATE TABLE IF NOT EXISTS item (x)")
while not os.path.exists("/tmp/lock"): time.sleep(0.05)
c.execute("BEGIN EXCLUSIVE")
open("/tmp/locked", "w")
time.sleep(10000)
"""


@pytest.fixture
def locked(allowed: Allowed) -> str:
    """A target whose database somebody keeps for himself, so that a run waits for it for a while."""
    sidecar, app = allowed
    container = app.target("locked", LABELS, "--volume", "/data", of="PYTHON", command=("python3", "-c", OWNER))
    sidecar.wait("locked")
    within(container, "touch /tmp/lock; while [ ! -e /tmp/locked ]; do sleep 0.1; done")
    return container


@INCOMPLETE
@pytest.mark.slow
def test_a_locked_database_fails_the_run_and_no_helper_is_left(locked: str, allowed: Allowed) -> None:
    sidecar, _ = allowed
    failure = failed(sidecar, "locked", sidecar.run("locked"), "command-failed")
    assert f"{SHOP}: database is locked" in failure["message"]
    assert helpers(sidecar) == []


@pytest.mark.slow
def test_a_helper_can_write_nothing_and_goes_away_after_the_sidecar_was_killed(locked: str, allowed: Allowed) -> None:
    sidecar, _ = allowed
    eventually(lambda: helpers(sidecar) == [])
    run = sidecar.start("locked")
    (helper,) = eventually(lambda: helpers(sidecar), what="a helper")
    eventually(lambda: state(helper)["Running"])

    found: Json = json.loads(docker("inspect", helper))[0]
    written = execute("docker", "exec", helper, "touch", "/data/own/x")
    docker("kill", "--signal", "KILL", sidecar.container)
    left = helpers_of(found)
    docker("start", sidecar.container)

    assert b"Read-only file system" in written.stderr
    assert list(found["NetworkSettings"]["Networks"]) == ["none"]
    assert left == [helper]
    eventually(lambda: helpers_of(found) == [], seconds=60, what="the helper is gone")
    sidecar.is_back()
    assert sidecar.report(run)["state"] == "interrupted"
    assert "removed the helper container of a run that died" in sidecar.log()
    assert within(locked, "ls /data/own") == "shop.db"


def state(container: str) -> Json:
    found: Json = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return found


def helpers_of(found: Json) -> list[str]:
    """Whether it is still there; the sidecar itself may be dead."""
    label = f"label=backup-sidecar.owner={found['Config']['Labels']['backup-sidecar.owner']}"
    return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()
