"""Each strategy backs up real data, which plain tools alone bring back into a fresh container, where it is compared."""

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit.stage import STORE, App, Sidecar, docker, eventually, execute, image, restored, within

pytestmark = pytest.mark.e2e

TREE = Path(__file__).with_name("tree.py")
Manifest = dict[str, Any]
Listing = dict[str, dict[str, Any]]


def tree(action: str, container: str, folder: str) -> str:
    """Make or list a tree in the volumes of a container, from a container beside it that has Python."""
    beside = ("run", "--rm", "--interactive", "--volumes-from", container, image("PYTHON"))
    return docker(*beside, "python3", "-", action, folder, input=TREE.read_bytes())


def listed(container: str, folder: str = "/data") -> Listing:
    found: Listing = json.loads(tree("list", container, folder))
    assert len(found) > 30
    return found


def exact(listing: Listing) -> Listing:
    return listing


def by_the_engine(listing: Listing) -> Listing:
    """The archive endpoint knows times in seconds; holes come as zeros."""
    return {path: facts | {"time": facts["time"] // 10**9, "sparse": None} for path, facts in listing.items()}


def by_busybox(listing: Listing) -> Listing:
    """BusyBox tar gives folders and symbolic links the time of the restore, and the links to root."""
    found = by_the_engine(listing)
    return {
        path: facts | ({} if facts["sha256"] else {"time": 0}) | ({"owner": None} if facts["link"] else {})
        for path, facts in found.items()
    }


def manifest(folder: Path) -> Manifest:
    found: Manifest = json.loads((folder / "manifest.json").read_text())
    return found


def artifact(folder: Path, name: str) -> dict[str, Any]:
    """One artifact of a manifest, whose digests hold for the stored bytes and for what plain tools make of them."""
    facts = next(facts for facts in manifest(folder)["artifacts"] if facts["name"] == name)
    stored = (folder / name).read_bytes()
    plain = execute("sh", "-c", facts["restore"].partition(" | ")[0], cwd=folder).stdout
    assert (facts["size"], facts["sha256"]) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert (facts["plain_size"], facts["plain_sha256"]) == (len(plain), hashlib.sha256(plain).hexdigest())
    return dict(facts)


def members(folder: Path) -> set[str]:
    """Names in the only artifact, a tar."""
    execute("zstd", "-d", "files.tar.zst", cwd=folder)
    with tarfile.open(folder / "files.tar") as tar:
        return set(tar.getnames())


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "as_carried", "proof"),
    [("DEBIAN", exact, "full"), ("BUSYBOX", by_busybox, "full"), ("DISTROLESS", by_the_engine, "framed")],
    ids=["GNU tar", "BusyBox tar", "neither shell nor tar"],
)
def test_an_awkward_file_tree_comes_back_as_it_was(
    kind: str, as_carried: Callable[[Listing], Listing], proof: str, sidecar: Sidecar, app: App, tmp_path: Path
) -> None:
    name = f"{sidecar.project}-tree"
    app.target("tree", {"strategy": "filesystem"}, "--volume", "/data", of=kind, name=name)
    tree("make", name, "/data")
    before = listed(name)

    report = sidecar.backup("tree")
    folder = sidecar.fetch(report, tmp_path)
    docker("rm", "--force", "--volumes", name)
    fresh = app.start("fresh", {}, "--volume", "/data", of=kind, name=name)
    restored(folder, artifact(folder, "data.tar.zst" if kind == "DISTROLESS" else "files.tar.zst"), fresh)

    assert as_carried(listed(fresh)) == as_carried(before)
    assert report["proof"] == manifest(folder)["proof"] == proof
    assert report["warnings"] == []


def test_only_the_named_paths_are_stored_and_nothing_that_is_excluded(
    sidecar: Sidecar, app: App, tmp_path: Path
) -> None:
    paths = {"strategy": "filesystem", "filesystem.paths": "/srv/a,/srv/b", "filesystem.exclude": "*.tmp,/srv/a/cache"}
    container = app.start("paths", {"enable": "true", **paths}, of="DEBIAN")
    within(
        container, "mkdir -p /srv/a/cache /srv/b /srv/c; touch /srv/a/x /srv/a/x.tmp /srv/a/cache/y /srv/b/z /srv/c/w"
    )

    folder = sidecar.fetch(sidecar.backup("paths"), tmp_path)

    assert members(folder) == {"./srv/a", "./srv/a/x", "./srv/b", "./srv/b/z"}


GROWING = "while :; do echo more; done >>/data/growing"
VANISHING = """mkdir /data/gone; cd /data/gone; perl -e 'for ($n = 1;; $n++) { open F, ">$n"; unlink $n - 20000 }'"""


@pytest.mark.parametrize(
    ("loop", "said"),
    [(GROWING, "/data/growing: file changed as we read it"), (VANISHING, ": File removed before we read it")],
    ids=["changes", "vanishes"],
)
def test_a_file_that_changes_or_vanishes_meanwhile_is_a_warning_that_names_it(
    loop: str, said: str, sidecar: Sidecar, app: App
) -> None:
    container = app.target("busy", {"strategy": "filesystem"}, "--volume", "/data", of="DEBIAN")
    within(container, "head -c 50000000 /dev/urandom >/data/growing")
    docker("exec", "--detach", container, "bash", "-c", loop)
    if loop == VANISHING:
        eventually(lambda: execute("docker", "exec", container, "test", "-e", "/data/gone/20000").returncode == 0)

    report = sidecar.backup("busy")

    assert any(said in warning and "changed or vanished" in warning for warning in report["warnings"]), report
    assert report["proof"] == "full"


@pytest.mark.parametrize("kind", ["DEBIAN", "BUSYBOX"])
def test_a_file_that_cannot_be_read_fails_the_run_and_is_named(kind: str, sidecar: Sidecar, app: App) -> None:
    container = app.target("closed", {"strategy": "filesystem", "user": "65534"}, "--volume", "/data", of=kind)
    within(container, "echo open >/data/open; echo secret >/data/closed; chmod 600 /data/closed")

    report = sidecar.run("closed")

    assert (report["state"], report["failure"]["code"]) == ("failed", "command-failed")
    assert "data/closed" in report["failure"]["message"]
    assert sidecar.stored("closed") == []


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def psql(container: str, database: str, sql: str, password: str) -> str:
    flags = ("--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--username=keeper")
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    client = ("exec", "--env", f"PGPASSWORD={password}", container, "psql")
    return docker(*client, *flags, f"--dbname=dbname='{quoted}'", f"--command={sql}")


ODD = 'odd "name" = {1} \\ ñ'
POSTGRES_TABLES = """select string_agg(format('%s %s', c.relname, (xpath('/row/d/text()', query_to_xml(
    format('select count(*) || md5(string_agg(t::text, chr(10) order by t::text)) as d from %I t', c.relname),
    false, true, '')))[1]), chr(10) order by c.relname)
    from pg_class c where relkind in ('r', 'v') and relnamespace = 'public'::regnamespace"""
POSTGRES_REST = {
    "bank": "select doubled(21), convert_from(lo_get(4711), 'UTF8'), (select last_value from account_id_seq), "
    "has_table_privilege('auditor', 'account', 'select'), (select max(tags->'of') from tagged), "
    "(select extversion from pg_extension where extname = 'hstore')",
    "postgres": "select string_agg(rolname || rolpassword, ',') from pg_authid where rolname = 'auditor'",
}


def seen_in_postgres(container: str, password: str) -> dict[str, str]:
    tables = {name: psql(container, name, POSTGRES_TABLES, password) for name in ("bank", ODD)}
    rest = {f"{name}, rest": psql(container, name, sql, password) for name, sql in POSTGRES_REST.items()}
    return tables | rest


@pytest.mark.slow
def test_postgres_comes_back_with_every_database_role_row_and_right(
    sidecar: Sidecar, app: App, postgres: str, password: str, tmp_path: Path
) -> None:
    before = seen_in_postgres(postgres, password)
    report = sidecar.backup("postgres")
    folder = sidecar.fetch(report, tmp_path)
    names = [facts["name"] for facts in report["artifacts"]]
    assert report["proof"] == "full"
    assert {facts["format"] for facts in report["artifacts"]} == {"pg_custom", "pg_globals"}
    assert len(names) == 4, "globals, bank, the odd one, postgres"
    store = f"{STORE}/{sidecar.key('postgres')}/{report['id']}"
    assert within(sidecar.container, f"find {store} -name globals.sql.zst -newer {store}/bank.pgdump.zst"), "read last"

    fresh = app.start(
        *("fresh", {}, "--tmpfs", "/var/lib/postgresql/data", "--env", "POSTGRES_USER=keeper"),
        *("--env", "POSTGRES_PASSWORD=another one"),
        of="POSTGRES",
        command=("postgres", "-c", "fsync=off"),
    )
    eventually(lambda: execute("docker", "exec", fresh, "pg_isready", "--host=127.0.0.1").returncode == 0, seconds=60)
    for name in names:
        restored(folder, artifact(folder, name), fresh)

    after = seen_in_postgres(fresh, "another one")
    assert "account 8000" in after["bank"]
    assert "Table with space 100" in after[ODD]
    assert after == before


# --- MariaDB --------------------------------------------------------------------------------------------------------


def query(container: str, sql: str, password: str) -> str:
    client = ("exec", "--env", f"MYSQL_PWD={password}", container, "mariadb", "--default-character-set=utf8mb4")
    return docker(*client, "--batch", "--skip-column-names", f"--execute={sql}")


SEEN_IN_MARIADB = {
    "items": "SELECT COUNT(*), MD5(GROUP_CONCAT(CONCAT_WS('|', id, HEX(name), price, MD5(picture)) ORDER BY id)) "
    "FROM shop.item",
    "every byte": "SELECT HEX(picture) FROM shop.item WHERE name = 'every byte'",
    "audit": "SELECT item, what, at FROM shop.audit ORDER BY item",
    "view": "SELECT COUNT(*), SUM(id) FROM shop.cheap",
    "odd": "SELECT * FROM `odd name``1`.`select` ORDER BY id",
    "function": "SELECT shop.with_tax(100)",
    **{
        kind: f"SHOW CREATE {kind} shop.{name}"
        for kind, name in {
            "PROCEDURE": "reprice",
            "FUNCTION": "with_tax",
            "EVENT": "tidy",
            "VIEW": "cheap",
            "TABLE": "item",
        }.items()
    },
    "trigger": "SELECT action_statement FROM information_schema.triggers WHERE trigger_name = 'item_changed'",
}


def seen_in_mariadb(container: str, password: str) -> dict[str, str]:
    groups = "SET SESSION group_concat_max_len = 1 << 24; "
    return {what: query(container, groups + sql, password) for what, sql in SEEN_IN_MARIADB.items()}


@pytest.mark.slow
def test_mariadb_comes_back_with_rows_blobs_routines_events_triggers_views_and_users(
    sidecar: Sidecar, app: App, mariadb: str, password: str, tmp_path: Path
) -> None:
    query(mariadb, "CREATE OR REPLACE USER cashier IDENTIFIED BY 'one'", password)
    before = seen_in_mariadb(mariadb, password)
    report = sidecar.backup("mariadb")
    folder = sidecar.fetch(report, tmp_path)
    assert report["proof"] == "full"
    assert len(report["artifacts"]) == 4, "accounts, shop, the odd one, users"

    fresh = app.start(
        *("fresh", {}, "--tmpfs", "/var/lib/mysql", "--env", "MARIADB_ROOT_PASSWORD=another one"),
        of="MARIADB",
        command=("mariadbd",),
    )
    ready = ("docker", "exec", "--env", "MYSQL_PWD=another one", fresh, "mariadb-admin", "--host=127.0.0.1", "ping")
    eventually(lambda: execute(*ready).returncode == 0, seconds=60)
    for facts in report["artifacts"]:
        restored(folder, artifact(folder, facts["name"]), fresh)

    after = seen_in_mariadb(fresh, "another one")
    assert query(fresh, "SELECT user FROM mysql.user WHERE user = 'cashier'", "another one") == "cashier"
    assert after["items"].startswith("4001\t")
    assert after["every byte"] == "000A0D1A225C27FF00"
    assert after == before
    query(fresh, "CALL shop.reprice(1.5)", "another one")
    assert "changed; by a trigger" in query(fresh, "SELECT what FROM shop.audit WHERE item = 3", "another one")


# --- commands -------------------------------------------------------------------------------------------------------


def test_a_command_of_ones_own_runs_between_pre_and_post_and_its_bytes_are_stored(
    sidecar: Sidecar, app: App, tmp_path: Path
) -> None:
    commands = {
        "commands.pre.1": "head -c 3000000 /dev/urandom >/tmp/data",
        "commands.pre.2": '["cp","/tmp/data","/tmp/copy with space"]',
        "commands.backup": '["cat","/tmp/copy with space"]',
        "commands.post": 'printf "%s %s" "$BACKUP_OUTCOME" "$WHO" >/tmp/outcome; rm "/tmp/copy with space"',
        "env.WHO": "a label's $WHO",
    }
    container = app.target("own", commands)

    report = sidecar.backup("own")
    folder = sidecar.fetch(report, tmp_path)

    facts = artifact(folder, report["artifacts"][0]["name"])
    assert facts["plain_sha256"] == within(container, "sha256sum /tmp/data").split()[0]
    assert (report["proof"], facts["format"]) == ("sealed", "raw")
    assert within(container, "cat /tmp/outcome") == "succeeded a label's $WHO"
    assert within(container, "ls /tmp").split() == ["data", "outcome"]


def test_several_backup_commands_are_one_stream(sidecar: Sidecar, app: App, tmp_path: Path) -> None:
    app.target("joined", {"commands.backup": '[["printf","one "],["printf","two "],["printf","three"]]'})

    folder = sidecar.fetch(sidecar.backup("joined"), tmp_path)

    assert execute("zstd", "-dc", "backup.zst", cwd=folder).stdout == b"one two three"


def test_one_container_may_carry_several_targets(sidecar: Sidecar, app: App, tmp_path: Path) -> None:
    labels = {
        "timeout": "40s",
        "targets.files.strategy": "filesystem",
        "targets.files.filesystem.paths": "/etc",
        "targets.notes.commands.backup": "echo notes",
        "targets.off.enable": "false",
        "targets.off.strategy": "filesystem",
    }
    app.target("several", labels)

    files, notes = sidecar.backup("several/files"), sidecar.backup("several/notes")

    assert sidecar.states()["several/off"] == "disabled"
    assert "several" not in sidecar.states()
    assert "./etc/passwd" in members(sidecar.fetch(files, tmp_path))
    assert execute("zstd", "-dc", "backup.zst", cwd=sidecar.fetch(notes, tmp_path)).stdout == b"notes\n"
    assert sidecar.target("several/notes")["settings"]["timeout"] in ("PT40S", "40s")
