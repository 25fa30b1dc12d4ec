"""What was destroyed comes back by one command, compared with what was counted; what is wrong is refused by name."""

import hashlib
import io
import json
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_strategies import (
    ODD,
    Listing,
    by_busybox,
    by_the_engine,
    exact,
    listed,
    psql,
    query,
    seen_in_mariadb,
    seen_in_postgres,
    tree,
)
from tests.kit.few import few
from tests.kit.stage import SLEEP, STORE, App, Sidecar, docker, eventually, execute, image, within

pytestmark = pytest.mark.e2e

Json = dict[str, Any]
COMPOSE = Path(__file__).with_name("compose")
PASSWORD = "the same one"
KEPT = {"retention.keep-last": "50"}
"""Else a later run of the same day takes the place of the one that is restored."""
FILES = {"strategy": "filesystem", **KEPT}


def restore(sidecar: Sidecar, service: str, *options: str) -> Json:
    """By the command line, as a person would; the report, however it ended."""
    done = sidecar.cli("restore", sidecar.key(service), "--json", *options)
    assert done.stdout.startswith("{"), done.stderr
    report: Json = json.loads(done.stdout)
    assert done.returncode == (0 if report["state"] == "succeeded" else 1), report
    return report


def succeeded(sidecar: Sidecar, service: str, *options: str) -> Json:
    report = restore(sidecar, service, *options)
    assert report["state"] == "succeeded", report["failure"]
    return report


def refused(sidecar: Sidecar, service: str, *options: str) -> str:
    """What is said of a restore that is not even begun."""
    done = sidecar.cli("restore", sidecar.key(service), "--json", *options)
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def failed(sidecar: Sidecar, service: str, code: str, *options: str) -> Json:
    report = restore(sidecar, service, *options)
    failure = report["failure"] or {}
    assert (report["state"], failure.get("code")) == ("failed", code), failure
    return report


class Stored:
    """A run in the store, for planting what an attacker or a bug would."""

    def __init__(self, sidecar: Sidecar, report: Json) -> None:
        self.sidecar = sidecar
        self.folder = "/".join([STORE, report["target"]["project"], report["target"]["service"], report["id"]])
        sidecar.unmark(self.folder)

    def shell(self, script: str, content: bytes = b"") -> str:
        return docker("exec", "--interactive", self.sidecar.container, "sh", "-c", script, input=content)

    def manifest(self) -> Json:
        found: Json = json.loads(self.shell(f"cat {self.folder}/manifest.json"))
        return found

    def replace(self, name: str, plain: bytes) -> None:
        """Another artifact, and the manifest changed so that every digest fits."""
        manifest = self.manifest()
        digest = hashlib.sha256(plain).hexdigest()
        self.shell(f"cat >{self.folder}/{shlex.quote(name)}", plain)
        facts = {"sha256": digest, "plain_sha256": digest, "size": len(plain), "plain_size": len(plain)}
        for artifact in manifest["artifacts"]:
            if artifact["name"] == name:
                artifact.update(facts, compression="none")
        self.shell(f"cat >{self.folder}/manifest.json", json.dumps(manifest).encode())

    def without(self, *names: str) -> None:
        """A manifest that does not know these artifacts."""
        manifest = self.manifest()
        manifest["artifacts"] = [one for one in manifest["artifacts"] if one["name"] not in names]
        self.shell(f"cat >{self.folder}/manifest.json", json.dumps(manifest).encode())


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "as_carried"),
    [
        pytest.param("DEBIAN", exact, id="GNU tar", marks=pytest.mark.slow),
        pytest.param("BUSYBOX", by_busybox, id="BusyBox tar"),
        pytest.param("DISTROLESS", by_the_engine, id="neither shell nor tar", marks=pytest.mark.slow),
    ],
)
def test_a_destroyed_file_tree_comes_back_in_place_and_into_a_folder(
    kind: str, as_carried: Callable[[Listing], Listing], sidecar: Sidecar, app: App
) -> None:
    name = f"{sidecar.project}-back"
    app.target("back", FILES, "--volume", "/data", of=kind, name=name)
    tree("make", name, "/data")
    before = as_carried(listed(name))
    run = sidecar.backup("back")
    docker("rm", "--force", "--volumes", name)
    app.target("back", FILES, "--volume", "/data", "--volume", "/spare", of=kind, name=name)
    sidecar.wait("back")

    # The image brings files of its own into a new volume.
    replacing = ("--in-place", "--replace") if kind == "DISTROLESS" else ()
    if replacing:
        assert "without sh and tar in the container nothing can be removed" in refused(sidecar, "back", "--mirror")
    in_place = succeeded(sidecar, "back", "--run", run["id"], *replacing)
    assert as_carried(listed(name)) == before
    if kind == "DISTROLESS":
        report = failed(sidecar, "back", "unsafe-artifact", "--run", run["id"], "--into", "/spare/link")
        assert "link-up" in report["failure"]["message"]
        docker("run", "--rm", "--volumes-from", name, image("BUSYBOX"), "rm", "/data/link-up")
        before, run = as_carried(listed(name)), sidecar.backup("back")
    beside = succeeded(sidecar, "back", "--run", run["id"], "--into", "/spare/again")

    assert as_carried(listed(name, "/spare/again/data")) == before
    assert beside["compared"] >= 6
    assert bool(in_place["compared"]) == bool(in_place["safety"] == "")
    assert not in_place["beside"]
    assert beside["bytes"] == beside["total"] > 0


def test_options_for_tar_in_the_targets_environment_change_neither_backup_nor_restore(
    sidecar: Sidecar, app: App
) -> None:
    options = "--exclude=*.conf --no-same-owner --touch"
    container = app.target("told", FILES, "--volume", "/data", "--env", f"TAR_OPTIONS={options}", of="DEBIAN")
    within(container, "echo x >/data/app.conf; chown 1234:1234 /data/app.conf; touch -d @1 /data/app.conf")
    sidecar.backup("told")
    within(container, "rm /data/app.conf")

    succeeded(sidecar, "told", "--in-place", "--replace")

    assert within(container, "stat -c '%u %g %Y' /data/app.conf") == "1234 1234 1"


@pytest.fixture
def files(sidecar: Sidecar, app: App) -> tuple[str, Stored]:
    """A container with two files, and its run."""
    container = app.target("files", FILES, "--volume", "/data", of="DEBIAN")
    within(container, "echo one >/data/one; seq 100000 >/data/many")
    return container, Stored(sidecar, sidecar.backup("files"))


@pytest.mark.slow
def test_files_come_beside_what_is_there_and_the_last_line_says_how_to_have_them_in_place(
    sidecar: Sidecar, files: tuple[str, Stored]
) -> None:
    container, _ = files
    within(container, "echo other >/data/one")

    done = sidecar.cli("restore", sidecar.key("files"))

    assert done.returncode == 0, done.stderr
    (run,) = sidecar.http.get("/v1/runs", params={"target": sidecar.key("files")}).json()["runs"]
    assert within(container, f"cat /restore-{run['id']}/data/one /data/one") == "one\nother"
    last = " ".join(done.stdout.splitlines()[-3:])
    command = f"restore {sidecar.key('files')} --run {run['id']} --in-place --replace"
    assert command in " ".join(last.split())
    assert "--mirror" in last
    assert "already: /restore-" in refused(sidecar, "files")
    assert succeeded(sidecar, "files", "--in-place", "--replace", "--run", run["id"])["beside"] is False
    assert within(container, "cat /data/one") == "one"


def test_files_in_place_need_leave_to_replace_and_are_backed_up_first(
    sidecar: Sidecar, files: tuple[str, Stored]
) -> None:
    container, _ = files
    run = sidecar.http.get("/v1/runs", params={"target": sidecar.key("files")}).json()["runs"][0]["id"]
    within(container, "echo changed >/data/one; echo new >/data/new")

    assert "/data/new" in refused(sidecar, "files", "--in-place")
    assert within(container, "cat /data/one") == "changed"
    report = succeeded(sidecar, "files", "--in-place", "--replace", "--run", run)

    assert within(container, "cat /data/one /data/new; ls -A /data") == "one\nnew\nmany\nnew\none"
    assert report["compared"] == 6
    safe = sidecar.report(report["safety"])
    assert (safe["state"], safe["trigger"]) == ("succeeded", "restore")
    again = succeeded(sidecar, "files", "--run", report["safety"], "--into", "/before")
    assert within(container, "cat /before/data/one") == "changed"
    assert again["compared"] == 6


@pytest.mark.slow
def test_mirrored_there_is_exactly_what_was_in_the_run_but_for_what_is_excluded(sidecar: Sidecar, app: App) -> None:
    labels = FILES | {"filesystem.exclude": "cache,/data/*.log"}
    container = app.target("mirrored", labels, "--volume", "/data", of="DEBIAN")
    within(container, "mkdir -p /data/a; echo one >/data/a/one")
    run = sidecar.backup("mirrored")["id"]
    within(container, "cd /data; mkdir b; echo x | tee a/new b/cache b/other x.log >a/one")

    plan = sidecar.cli("restore", sidecar.key("mirrored"), "--dry-run", "--run", run, "--mirror").stdout
    assert "replaced, or removed where the run does not have it: /data/a, /data/b, /data/x.log" in plan
    report = succeeded(sidecar, "mirrored", "--run", run, "--mirror")

    assert within(container, "cd /data; find . | sort; cat a/one") == ".\n./a\n./a/one\n./b\n./b/cache\n./x.log\none"
    succeeded(sidecar, "mirrored", "--run", report["safety"], "--mirror")
    assert within(container, "cd /data; cat a/one a/new b/other") == "x\nx\nx"


def test_the_night_after_a_restore_is_not_compared_with_what_was_wrong(sidecar: Sidecar, app: App) -> None:
    container = app.target("spam", FILES, "--volume", "/data", of="DEBIAN")
    within(container, "echo one >/data/one")
    run = sidecar.backup("spam")["id"]
    within(container, "head -c 1000000 /dev/urandom >/data/flood")

    report = succeeded(sidecar, "spam", "--run", run, "--mirror")

    assert sidecar.report(report["safety"])["size"] > 1_000_000
    assert within(container, "ls /data") == "one"
    assert sidecar.backup("spam")["suspicious"] == []


DAMAGES = {
    "one flipped byte": "printf X | dd of={} bs=1 seek=100 conv=notrunc",
    "cut at half": "truncate -s $(($(stat -c %s {}) / 2)) {}",
}


@pytest.mark.parametrize("damage", few(DAMAGES, "cut at half"))
def test_a_damaged_artifact_is_refused_before_a_byte_is_applied(
    damage: str, sidecar: Sidecar, files: tuple[str, Stored]
) -> None:
    container, stored = files
    stored.shell(DAMAGES[damage].format(*[f"{stored.folder}/files.tar.zst"] * 2))

    report = failed(sidecar, "files", "damaged", "--into", "/never")

    assert "files.tar.zst" in report["failure"]["message"]
    assert within(container, "ls -d /never || true") == ""
    assert (report["bytes"], report["undone"]) == (0, True)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


EVIL = {
    "leads out of the folder": [member("./data/../../etc/cron.d/x")],
    "is an absolute path": [member("/etc/cron.d/x")],
    "is a device": [member("./data/disk", tarfile.BLKTYPE)],
    "leads through a symbolic link": [member("./data/way", tarfile.SYMTYPE, "/etc"), member("./data/way/cron.d/x")],
    "'../../etc/passwd' leads out": [member("./data/link", tarfile.LNKTYPE, "../../etc/passwd")],
}


@pytest.mark.parametrize("said", few(EVIL, "leads through a symbolic link"))
def test_an_archive_that_reaches_beyond_its_folder_is_refused(
    said: str, sidecar: Sidecar, files: tuple[str, Stored]
) -> None:
    container, stored = files
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for one in [member("./data/innocent"), *EVIL[said]]:
            tar.addfile(one)
    stored.replace("files.tar.zst", file.getvalue())

    report = failed(sidecar, "files", "unsafe-artifact", "--into", "/never")

    assert said in report["failure"]["message"]
    assert within(container, "ls -d /never /etc/cron.d/x 2>/dev/null || true") == ""


def test_files_that_the_dump_lacks_are_named_and_the_new_folder_goes_again(
    sidecar: Sidecar, files: tuple[str, Stored]
) -> None:
    container, stored = files
    plain = execute("docker", "exec", container, "tar", "-c", "--exclude=many", "-C", "/", "./data").stdout
    stored.replace("files.tar.zst", plain)

    report = failed(sidecar, "files", "counts-differ", "--into", "/never")

    assert "files: 1, 2 were counted" in report["failure"]["message"]
    assert report["undone"]
    assert within(container, "ls -d /never || true") == ""


def test_a_dry_run_says_what_matters_with_verbose_every_argv_and_does_nothing(
    sidecar: Sidecar, files: tuple[str, Stored]
) -> None:
    container, _ = files
    brief = sidecar.cli("restore", sidecar.key("files"), "--dry-run", "--in-place").stdout
    assert len(brief.splitlines()) <= 10
    assert re.search(r"made \d+ (s|min) ago in \S+debian\S* by backup-sidecar ", brief)
    assert "files: 2 in the run, 2 there now\nin the way: /data/" in brief
    assert "no drill was passed yet" in brief
    assert "clients: who has a file open keeps the old one" in brief
    assert "--directory" not in brief
    done = sidecar.cli("restore", sidecar.key("files"), "--dry-run", "--verbose")
    assert done.returncode == 0
    assert "--directory=/restore-" in done.stdout
    assert "undo: rm -rf /restore-" in done.stdout
    assert within(container, "ls -d /restore-* || true") == ""


def test_plain_dumps_are_written_whole_and_nothing_is_overwritten(sidecar: Sidecar, files: tuple[str, Stored]) -> None:
    container, stored = files
    command = ("restore", sidecar.key("files"), "--to-file", "/tmp/by-hand", "--json")
    told = json.loads(sidecar.cli(*command).stdout)
    within(container, "mkdir /by-hand")
    plain = execute("docker", "exec", sidecar.container, "cat", f"{told['folder']}/files.tar").stdout
    docker("exec", "--interactive", container, "tar", "-x", "-C", "/by-hand", input=plain)
    assert within(container, "cat /by-hand/data/one") == "one"
    assert told["how"] == [f"cat files.tar | {stored.manifest()['artifacts'][0]['restore'].partition(' | ')[2]}"]

    assert "already there" in sidecar.cli(*command).stderr
    stored.shell(DAMAGES["one flipped byte"].format(f"{stored.folder}/files.tar.zst"))
    assert "sha256" in sidecar.cli(*command[:-2], "/tmp/other").stderr
    assert stored.shell("ls -A /tmp/other") == ""


def test_a_restore_goes_only_into_containers_in_scope(
    sidecar: Sidecar, app: App, files: tuple[str, Stored], tmp_path: Path
) -> None:
    beside = app.start("beside", {}, of="DEBIAN")
    outside = docker("run", "--detach", "--rm", "--network", "none", "backup-sidecar-local/busybox:1.37", *SLEEP)
    app.started.append(outside)

    report = succeeded(sidecar, "files", "--to", beside, "--into", "/srv/copy")

    assert report["container"] == beside
    assert within(beside, "cat /srv/copy/data/one") == "one"
    for number, place in enumerate(("beside", sidecar.key("files"))):
        succeeded(sidecar, "files", "--to", place, "--into", f"/srv/{number}")
    assert within(beside, "ls /srv") == "0\ncopy"
    assert "not in scope" in refused(sidecar, "files", "--to", outside[:12])
    assert "not in scope" in refused(sidecar, "files", "--to", sidecar.container)
    assert "no service and no container 'nobody'" in refused(sidecar, "files", "--to", "nobody")


@pytest.mark.slow
def test_the_run_is_the_newest_good_one_that_began_by_then(sidecar: Sidecar, files: tuple[str, Stored]) -> None:
    first = sidecar.http.get("/v1/runs", params={"target": sidecar.key("files")}).json()["runs"][0]
    second = sidecar.backup("files")

    assert succeeded(sidecar, "files", "--at", first["started"], "--into", "/first")["run"] == first["id"]
    assert succeeded(sidecar, "files", "--into", "/newest")["run"] == second["id"]
    assert "no good run that began by" in refused(sidecar, "files", "--at", "2020-01-01T00:00Z")


# --- databases ------------------------------------------------------------------------------------------------------


def postgres(app: App, *options: str, initially: bool = False) -> str:
    """A server of the service `pg`, ready; filled by the script of the shared one, or empty."""
    script = ("--volume", f"{COMPOSE / 'postgres.sh'}:/docker-entrypoint-initdb.d/x.sh:ro") if initially else ()
    container = app.target(
        *(
            "pg",
            {"strategy": "postgres", **KEPT},
            "--tmpfs",
            "/var/lib/postgresql/data",
            "--env",
            "POSTGRES_USER=keeper",
        ),
        *("--env", "POSTGRES_DB=bank", "--env", f"POSTGRES_PASSWORD={PASSWORD}", *script, *options),
        of="POSTGRES",
        command=("postgres", "-c", "fsync=off"),
    )
    ready = ("docker", "exec", container, "pg_isready", "--host=127.0.0.1")
    eventually(lambda: execute(*ready).returncode == 0, seconds=60, what="PostgreSQL is ready")
    return container


def databases(container: str) -> str:
    return psql(container, "template1", "select string_agg(datname, ',' order by datname) from pg_database", PASSWORD)


@pytest.mark.slow
def test_a_destroyed_postgres_comes_back_and_every_twin_is_caught(sidecar: Sidecar, app: App) -> None:
    first = postgres(app, initially=True)
    before = seen_in_postgres(first, PASSWORD)
    run = sidecar.backup("pg")
    counts = {one["name"]: one["counts"] for one in run["artifacts"]}
    assert counts["bank.pgdump.zst"]["rows of public.account"] == 8000
    assert counts["globals.sql.zst"]["role auditor"] == 1
    odd = next(name for name in counts if name.startswith("odd"))
    skipping = ("pg_dump", "-Ukeeper", "-Fc", "-Z0", '--exclude-table="Table with space"')
    quoted = ODD.replace("\\", "\\\\")
    partly = execute("docker", "exec", "--env", f"PGPASSWORD={PASSWORD}", first, *skipping, f"dbname='{quoted}'")
    docker("rm", "--force", "--volumes", first)
    sidecar.forgets([first])
    fresh = postgres(app)
    sidecar.wait("pg")

    report = succeeded(sidecar, "pg")

    assert seen_in_postgres(fresh, PASSWORD) == before
    assert report["compared"] == sum(map(len, counts.values()))
    assert report["safety"] == ""
    there = databases(fresh)
    assert there == f"bank,{ODD},postgres,template0,template1"

    # A destination that is not empty.
    psql(fresh, "bank", "delete from account where id > 10; create table later (x int)", PASSWORD)
    changed = seen_in_postgres(fresh, PASSWORD)
    assert "public.later" in refused(sidecar, "pg")
    assert seen_in_postgres(fresh, PASSWORD) == changed

    # A dump that misses a table, in the store with every digest right.
    stored = Stored(sidecar, run)
    kept = ((f"{stored.folder}/manifest.json", "/tmp/manifest"), (f"{stored.folder}/{odd}", "/tmp/odd"))
    for place, copy in kept:
        stored.shell(f"cat {shlex.quote(place)} >{copy}")
    stored.replace(odd, partly.stdout)
    missing = failed(sidecar, "pg", "counts-differ", "--replace", "--run", run["id"])
    assert f'{odd}: rows of public."Table with space": none, 100 were counted' in missing["failure"]["message"]
    assert missing["safety"]
    assert seen_in_postgres(fresh, PASSWORD) == changed
    assert databases(fresh) == there
    accepted = succeeded(sidecar, "pg", "--replace", "--accept-differences", "--run", run["id"])
    assert any(f'accepted: {odd}: rows of public."Table with space": none' in line for line in accepted["warnings"])
    succeeded(sidecar, "pg", "--replace", "--run", accepted["safety"])
    assert seen_in_postgres(fresh, PASSWORD) == changed

    # An SQL error in the middle: the owner of what is restored is nobody here.
    for place, copy in kept:
        stored.shell(f"cat {copy} >{shlex.quote(place)}")
    psql(fresh, "bank", "drop owned by auditor; drop role auditor", PASSWORD)
    stored.without("globals.sql.zst")
    broken = failed(sidecar, "pg", "command-failed", "--replace", "--run", run["id"])
    assert 'role "auditor" does not exist' in broken["failure"]["message"]
    assert broken["undone"]
    assert databases(fresh) == there
    assert psql(fresh, "bank", "select count(*) from account", PASSWORD) == "10"

    # What was there before it was replaced comes back, too.
    back = succeeded(sidecar, "pg", "--replace", "--run", missing["safety"])
    assert seen_in_postgres(fresh, PASSWORD) == changed
    assert databases(fresh) == there
    assert sidecar.report(back["safety"])["state"] == "succeeded"


def server(app: App, *options: str, initially: bool = False) -> str:
    """A server of the service `maria`, ready; filled by the script of the shared one, or empty."""
    script = ("--volume", f"{COMPOSE / 'mariadb.sql'}:/docker-entrypoint-initdb.d/x.sql:ro") if initially else ()
    container = app.target(
        *("maria", {"strategy": "mariadb", **KEPT}, "--tmpfs", "/var/lib/mysql", "--env", "MARIADB_DATABASE=shop"),
        *("--env", f"MARIADB_ROOT_PASSWORD={PASSWORD}", *script, *options),
        of="MARIADB",
        command=("mariadbd",),
    )
    ready = ("docker", "exec", "--env", f"MYSQL_PWD={PASSWORD}", container, "mariadb-admin", "--host=127.0.0.1", "ping")
    eventually(lambda: execute(*ready).returncode == 0, seconds=60, what="MariaDB is ready")
    return container


USERS = """CREATE USER `app``'x`@`%` IDENTIFIED BY 'an app''s own'; GRANT SELECT, INSERT ON shop.* TO `app``'x`@`%`;
CREATE ROLE keepers; GRANT DELETE ON shop.item TO keepers; GRANT keepers TO `app``'x`@`%`"""


@pytest.mark.slow
def test_a_destroyed_mariadb_comes_back_with_users_and_grants_and_every_twin_is_caught(
    sidecar: Sidecar, app: App
) -> None:
    first = server(app, initially=True)
    query(first, USERS, PASSWORD)
    before = seen_in_mariadb(first, PASSWORD)
    grants = query(
        first, "SHOW GRANTS FOR `app``'x`@`%`; SHOW CREATE USER `app``'x`@`%`; SHOW GRANTS FOR keepers", PASSWORD
    )
    run = sidecar.backup("maria")
    assert run["warnings"] == []
    counts = {one["name"]: one["counts"] for one in run["artifacts"]}
    assert counts["shop.sql.zst"]["rows of item"] == 4001
    assert counts["users.grants.zst"]["user app`'x@%"] == 1
    skipping = ("mariadb-dump", "--routines", "--hex-blob", "--ignore-table=shop.audit", "--databases", "shop")
    partly = execute("docker", "exec", "--env", f"MYSQL_PWD={PASSWORD}", first, *skipping).stdout
    docker("rm", "--force", "--volumes", first)
    sidecar.forgets([first])
    fresh = server(app)
    sidecar.wait("maria")

    report = succeeded(sidecar, "maria")

    assert seen_in_mariadb(fresh, PASSWORD) == before
    again = query(
        fresh, "SHOW GRANTS FOR `app``'x`@`%`; SHOW CREATE USER `app``'x`@`%`; SHOW GRANTS FOR keepers", PASSWORD
    )
    assert again == grants
    assert report["compared"] == sum(map(len, counts.values()))

    # A destination that is not empty.
    query(fresh, "DELETE FROM shop.item WHERE id > 10; CREATE TABLE shop.later (x INT)", PASSWORD)
    changed = seen_in_mariadb(fresh, PASSWORD)
    assert "later" in refused(sidecar, "maria")
    assert seen_in_mariadb(fresh, PASSWORD) == changed
    replaced = succeeded(sidecar, "maria", "--replace", "--run", run["id"])
    assert seen_in_mariadb(fresh, PASSWORD) == before
    assert query(fresh, "SHOW TABLES IN shop LIKE 'later'", PASSWORD) == ""
    succeeded(sidecar, "maria", "--replace", "--run", replaced["safety"])
    assert seen_in_mariadb(fresh, PASSWORD) == changed

    # An SQL error in the middle, and a dump that misses a table, into a server that is empty again.
    stored = Stored(sidecar, run)
    plain = execute("docker", "exec", sidecar.container, "cat", f"{stored.folder}/shop.sql.zst").stdout
    whole = execute("zstd", "-dc", input=plain).stdout
    query(fresh, "DROP DATABASE shop; DROP DATABASE `odd name``1`", PASSWORD)
    stored.replace("shop.sql.zst", whole.replace(b"INSERT INTO `item`", b"INSERT INTO `itme`", 1))
    broken = failed(sidecar, "maria", "command-failed", "--run", run["id"])
    assert "itme" in broken["failure"]["message"]
    assert query(fresh, "SHOW DATABASES LIKE 'shop'", PASSWORD) == ""
    stored.replace("shop.sql.zst", partly)
    missing = failed(sidecar, "maria", "counts-differ", "--run", run["id"])
    assert "shop.sql.zst: rows of audit: none, 3 were counted" in missing["failure"]["message"]
    assert query(fresh, "SHOW DATABASES LIKE 'shop'", PASSWORD) == ""


# --- commands, the lock, the end --------------------------------------------------------------------------------------


def test_a_command_of_ones_own_takes_its_backup_back(sidecar: Sidecar, app: App) -> None:
    labels = {"commands.backup": "cat /tmp/data", "commands.restore": 'cat >"/tmp/$NAME"', "env.NAME": "back again"}
    container = app.target("taker", labels)
    within(container, "seq 100000 >/tmp/data")
    sidecar.backup("taker")

    report = succeeded(sidecar, "taker")

    assert within(container, "cmp /tmp/data '/tmp/back again' && echo same") == "same"
    assert [warning.partition(":")[0] for warning in report["warnings"]] == ["unseen", "not-compared"]
    assert report["safety"] == ""

    within(container, "echo of now >/tmp/data")
    replaced = succeeded(sidecar, "taker", "--replace")
    assert not any(warning.startswith("unseen") for warning in replaced["warnings"])
    succeeded(sidecar, "taker", "--replace", "--without-safety-backup", "--run", replaced["safety"])
    assert within(container, "cat '/tmp/back again'") == "of now"


def test_a_command_without_its_way_back_says_how_to_go_by_hand(sidecar: Sidecar, app: App) -> None:
    app.target("giver", {"commands.backup": "echo data"})
    sidecar.backup("giver")
    assert "commands.restore" in refused(sidecar, "giver")


def test_no_run_reads_a_target_while_it_is_restored_and_a_cancelled_restore_is_undone(
    sidecar: Sidecar, app: App
) -> None:
    labels = {"commands.backup": "seq 10", "commands.restore": "cat >/tmp/x; echo $$ >/tmp/pid; exec sleep 300"}
    container = app.target("slow", labels)
    sidecar.backup("slow")
    started = sidecar.admin.post(f"/v1/targets/{sidecar.key('slow')}/restore")
    assert started.status_code == 202, started.text
    place = started.headers["Location"]
    eventually(lambda: execute("docker", "exec", container, "test", "-s", "/tmp/pid").returncode == 0)

    other = sidecar.http.post(f"/v1/targets/{sidecar.key('slow')}/runs")
    assert (other.status_code, other.json()["type"]) == (409, "restore-in-progress")
    twice = sidecar.admin.post(f"/v1/targets/{sidecar.key('slow')}/restore")
    assert (twice.status_code, twice.json()["type"]) == (409, "restore-in-progress")

    sidecar.admin.post(f"{place}/cancel")
    report = eventually(lambda: (found := sidecar.http.get(place).json())["finished"] and found)
    assert report["state"] == "cancelled"
    assert execute("docker", "exec", container, "sh", "-c", "kill -0 $(cat /tmp/pid)").returncode == 1
    assert sidecar.run("slow")["state"] == "succeeded"
    assert sidecar.admin.post(f"{place}/cancel").status_code == 409
