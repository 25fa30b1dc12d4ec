"""Restores that are cut: whatever they had done is undone, at once or as soon as somebody can, and nobody takes what is
half there for whole.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.faults.conftest import config_folder
from tests.kit import stage
from tests.kit.stage import App, Json, Sidecar, docker, eventually, execute, within

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

MEBIBYTE = 1 << 20
SIZE = 512 * MEBIBYTE
FILES = {"strategy": "filesystem", "filesystem.paths": "/data", "compression": "none"}
DIES = (
    "the sidecar dies during a restore",
    "no process is left; undone at the next start, else told with the safety run",
)
Told = Callable[[str, object], None]


@dataclass(frozen=True)
class Stand:
    """A sidecar that may be killed, and its app."""

    sidecar: Sidecar
    app: App

    def dies(self) -> None:
        docker("kill", self.sidecar.container)

    def begin(self) -> None:
        """Start it again; the engine may give it another port."""
        self.sidecar.begin()

    def restore(self, service: str, **query: str) -> str:
        """Begin a restore; gives its id."""
        answer = self.sidecar.admin.post(f"/v1/targets/{self.sidecar.key(service)}/restore", params=query)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def report(self, restore: str) -> Json:
        found: Json = self.sidecar.http.get(f"/v1/restores/{restore}").json()
        return found

    def reaches(self, restore: str, size: int) -> None:
        """Returns in the middle of applying."""
        eventually(lambda: self.report(restore)["bytes"] >= size, seconds=60, what=f"{size} bytes of {restore}")
        assert self.report(restore)["step"].startswith("applying"), self.report(restore)

    def ended(self, restore: str, seconds: float = 30) -> Json:
        eventually(lambda: self.report(restore)["finished"], seconds=seconds, what=f"restore {restore} has ended")
        return self.report(restore)

    def settled(self, restore: str) -> Json:
        """The report, once nothing more is done about it: then its target can be run again."""
        key = self.report(restore)["key"]

        def runs() -> bool:
            return self.sidecar.http.post(f"/v1/targets/{key}/runs").status_code == 202

        eventually(runs, seconds=60, what=f"{key} is free again")
        return self.report(restore)


@pytest.fixture(scope="module")
def both(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("restores")
    folder.chmod(0o755)
    defaults = {"schedule": "none", "timeout": "5m", "retries": 0, "retention": {"keep-last": 50}}
    config = config_folder(folder / "config", token, defaults=defaults)
    with stage.sidecar(f"restores-{secrets.token_hex(3)}", config, token) as (sidecar, app):
        yield Stand(sidecar, app)


@pytest.fixture
def stand(both: Stand) -> Iterator[Stand]:
    with App(both.sidecar.project) as app:
        yield Stand(both.sidecar, app)
        if docker("inspect", "--format", "{{.State.Running}}", both.sidecar.container) == "false":
            both.begin()
    both.sidecar.forgets(app.started)


def processes(container: str, *names: str) -> list[str]:
    """What runs in a container under one of these names."""
    lines = docker("top", container, "-eo", "pid,comm").splitlines()[1:]
    return [line for line in lines if line.split()[1] in names]


def big(stand: Stand, service: str) -> str:
    """A container with much data, that is backed up, on half a core, so that a restore takes some seconds."""
    container = stand.app.target(service, FILES, "--volume", "/data", of="DEBIAN")
    within(container, f"head -c {SIZE} /dev/urandom >/data/random; echo old >/data/word")
    stand.sidecar.backup(service)
    docker("update", "--cpus", "0.5", container)
    return container


@pytest.mark.fault(18, *DIES)
def test_a_folder_that_is_half_there_when_the_sidecar_dies_is_removed_by_the_next_one(
    stand: Stand, record_property: Told
) -> None:
    container = big(stand, "folder")
    restore = stand.restore("folder")
    stand.reaches(restore, 16 * MEBIBYTE)

    stand.dies()
    eventually(lambda: not processes(container, "tar"), what="tar has ended with its input")
    half = int(within(container, "stat -c %s /restore-*/data/random"))
    assert 0 < half < SIZE
    stand.begin()
    assert stand.report(restore)["state"] == "interrupted"
    report = stand.settled(restore)

    assert (report["undone"], report["warnings"], report["failure"]["code"]) == (True, [], "interrupted")
    assert report["failure"]["hint"] == "Restore again."
    assert within(container, "ls -d /restore-* || true") == ""
    record_property("seen", f"a folder with {half // MEBIBYTE} of {SIZE // MEBIBYTE} MiB was removed")


# Everything there is, with what is in it.
TREE = "find /data ! -name random -exec stat -c '%n %F %a %u %g %Y' {} + | sort; cksum /data/*"


@pytest.mark.fault(18, *DIES)
@pytest.mark.parametrize("victim", ["sidecar", "target"])
def test_files_that_were_being_replaced_when_somebody_died_are_as_they_were(
    stand: Stand, victim: str, record_property: Told
) -> None:
    container = big(stand, f"replaced-{victim}")
    service = f"replaced-{victim}"
    (run,) = stand.sidecar.http.get("/v1/runs", params={"target": stand.sidecar.key(service)}).json()["runs"]
    within(container, "echo new >/data/word; touch -d @1000000000 /data/word /data; chown 12:34 /data")
    before = within(container, TREE)
    restore = stand.restore(service, mirror="true", run=run["id"])
    stand.reaches(restore, 16 * MEBIBYTE)
    assert within(container, "find /data -name 'rand*' | wc -l") == "2"

    if victim == "sidecar":
        stand.dies()
        stand.begin()
    else:
        docker("kill", container)
        stand.ended(restore, seconds=15)
        docker("start", container)
        eventually(lambda: stand.sidecar.states()[service] == "ready", seconds=60, what="it is ready again")
    report = stand.settled(restore)

    state = {"sidecar": "interrupted", "target": "failed"}[victim]
    assert (report["state"], report["undone"], report["warnings"][1:]) == (state, True, []), report
    assert within(container, TREE) == before
    assert stand.sidecar.report(report["safety"])["state"] == "succeeded"
    docker("update", "--cpus", "2", container)
    again = ("restore", stand.sidecar.key(service), "--run", run["id"], "--mirror")
    eventually(
        lambda: stand.sidecar.cli(*again).returncode == 0, seconds=60, what="the run is over, and it is restored"
    )
    assert within(container, "cat /data/word; ls -A /data") == "old\nrandom\nword"
    record_property("seen", "the new half tree is gone, the old one was never touched")


SQL = "psql -q -v ON_ERROR_STOP=1 -U keeper"


def bank(stand: Stand, service: str) -> str:
    """A database whose restore takes some seconds; backed up, and then changed."""
    options = ("--tmpfs", "/scratch", "--env", "POSTGRES_USER=keeper", "--env", "POSTGRES_DB=bank")
    container = stand.app.target(
        *(service, {"strategy": "postgres", "postgres.databases": "bank"}, *options, "--env", "POSTGRES_PASSWORD=x"),
        of="POSTGRES",
        command=("postgres", "-c", "fsync=off"),
    )
    ready = ("docker", "exec", container, "pg_isready", "--host=127.0.0.1")
    eventually(lambda: execute(*ready).returncode == 0, seconds=60, what="PostgreSQL is ready")
    rows = "SELECT n, md5(n::text) || md5((n + 1)::text) AS text FROM generate_series(1, 2000000) AS n"
    within(container, f"{SQL} bank -c 'CREATE TABLE account AS {rows}'")
    stand.sidecar.backup(service)
    within(container, f"{SQL} bank -c 'DELETE FROM account WHERE n > 7; CREATE TABLE later (x int)'")
    docker("update", "--cpus", "0.5", container)
    return container


def seen(container: str) -> tuple[str, str]:
    """The databases, and what is in that of the test."""
    names = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database"
    rows = "SELECT count(*), to_regclass('later') FROM account"
    return (within(container, f'{SQL} postgres -At -c "{names}"'), within(container, f'{SQL} bank -At -c "{rows}"'))


BEFORE = ("bank,postgres,template0,template1", "7|later")


@pytest.mark.fault(18, *DIES)
def test_a_database_that_was_being_replaced_when_the_sidecar_died_comes_back_as_it_was(
    stand: Stand, record_property: Told
) -> None:
    container = bank(stand, "bank")
    (run,) = stand.sidecar.http.get("/v1/runs", params={"target": stand.sidecar.key("bank")}).json()["runs"]
    restore = stand.restore("bank", replace="true", run=run["id"])
    stand.reaches(restore, 8 * MEBIBYTE)

    stand.dies()
    eventually(lambda: not processes(container, "pg_restore"), what="pg_restore has ended with its input")
    between = seen(container)[0] if execute("docker", "exec", container, "true").returncode == 0 else ""
    assert "restore-" in between
    stand.begin()
    report = stand.settled(restore)

    assert (report["state"], report["undone"], report["warnings"]) == ("interrupted", True, []), report
    assert seen(container) == BEFORE
    assert stand.sidecar.report(report["safety"])["state"] == "succeeded"
    record_property("seen", "the new half database is gone, the old one was never touched")


@dataclass(frozen=True)
class Swapped:
    """A target in which the client hangs just after it has put what was loaded in the place of what was there."""

    of: str
    client: str
    """The tool that hangs."""
    word: str
    """What is in the arguments or the input of the call that hangs."""
    fill: str
    change: str
    seen: str
    """Lines of shell that fill it, change it, and show everything in it."""
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    ready: str = "true"


MARIADB = "mariadb -uroot -px -N shop"
SQLITE = "sqlite3 /data/shop.db"
SWAPPED = {
    "mariadb": Swapped(
        "MARIADB",
        "mariadb",
        "rename table",
        f"echo 'CREATE TABLE item (id INT PRIMARY KEY); INSERT INTO item VALUES (1), (2)' | {MARIADB}",
        f"echo 'DELETE FROM item; CREATE TABLE later (x INT); CREATE VIEW shown AS SELECT 1' | {MARIADB}",
        f"mariadb-dump -uroot -px --skip-dump-date --routines --databases shop; echo 'SHOW DATABASES' | {MARIADB}",
        options=("--env", "MARIADB_ROOT_PASSWORD=x", "--env", "MARIADB_DATABASE=shop"),
        ready="mariadb-admin --host=127.0.0.1 -uroot -px ping",
    ),
    "redis": Swapped(
        "REDIS",
        "redis-cli",
        "REPLICAOF 127",
        "for n in 1 2 3; do redis-cli SET key:$n $n; done",
        "redis-cli DEL key:1; redis-cli SET own yes; redis-cli SAVE",
        "for key in $(redis-cli KEYS '*' | sort); do echo $key; redis-cli GET $key; done; redis-cli ROLE; ls /tmp",
        command=("redis-server", "--save", ""),
        ready="redis-cli PING | grep PONG",
    ),
    "sqlite": Swapped(
        "SQLITE",
        "sqlite3",
        "BEGIN EXCLUSIVE",
        f"{SQLITE} 'CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1), (2)'",
        f"{SQLITE} 'DELETE FROM item; CREATE TABLE later (x)'",
        "cd /data && sha256sum shop.db && stat -c '%i %h %a %u %Y' shop.db && ls -A",
        labels=(("sqlite.paths", "/data/shop.db"),),
        options=("--volume", "/data"),
        command=("sleep", "infinity"),
    ),
}
HANGS = """\
#!/bin/sh
[ -e /var/hangs ] || exec {client}.real "$@"
said=/var/said.$$
case {client} in mariadb) cat >$said ;; *) echo "$@" >$said ;; esac
{client}.real "$@" <$said
code=$?
if grep -qi '{word}' $said; then rm /var/hangs; : >/var/hung; sleep 100; fi
rm -f $said
exit $code
"""
HANG = """
client=$(command -v {client}) && mv "$client" "$client.real" && cat >"$client" && chmod 755 "$client" && : >/var/hangs
"""


@pytest.mark.fault(18, *DIES)
@pytest.mark.parametrize("kind", SWAPPED)
def test_what_was_put_in_place_when_the_sidecar_died_makes_way_for_what_was_there(
    stand: Stand, record_property: Told, kind: str
) -> None:
    place, service = SWAPPED[kind], f"swap-{kind}"
    labels = {"strategy": kind, **dict(place.labels)}
    container = stand.app.target(service, labels, *place.options, of=place.of, command=place.command)
    ready = ("docker", "exec", container, "sh", "-c", place.ready)
    eventually(lambda: execute(*ready).returncode == 0, seconds=60, what=f"{kind} is ready")
    within(container, place.fill)
    run = stand.sidecar.backup(service)
    within(container, place.change)
    before = within(container, place.seen)
    script = HANGS.format(client=place.client, word=place.word)
    docker("exec", "-i", container, "sh", "-c", HANG.format(client=place.client), input=script.encode())

    restore = stand.restore(service, replace="true", run=run["id"])
    hung = ("docker", "exec", container, "test", "-e", "/var/hung")
    eventually(lambda: execute(*hung).returncode == 0, seconds=60, what="the new data is in place")
    stand.dies()
    stand.begin()
    report = stand.settled(restore)

    assert (report["state"], report["undone"], report["warnings"]) == ("interrupted", True, []), report
    assert within(container, place.seen) == before
    record_property("seen", "what had been swapped is swapped back; the old data is the same")


@pytest.mark.fault(
    1, "target killed during a restore", "fails `target-died`; undone once it runs again; no backup before"
)
def test_a_target_that_is_killed_in_the_middle_is_made_good_once_it_runs_again(
    stand: Stand, record_property: Told
) -> None:
    container = bank(stand, "victim")
    (run,) = stand.sidecar.http.get("/v1/runs", params={"target": stand.sidecar.key("victim")}).json()["runs"]
    restore = stand.restore("victim", replace="true", run=run["id"])
    stand.reaches(restore, 8 * MEBIBYTE)

    docker("kill", container)
    report = stand.ended(restore, seconds=15)

    assert (report["state"], report["failure"]["code"], report["undone"]) == ("failed", "target-died", False), report
    assert "exit code 137" in report["failure"]["message"]
    assert report["failure"]["hint"]
    assert [one for one in report["warnings"] if one.startswith("to-be-undone")]
    docker("start", container)
    eventually(lambda: stand.sidecar.states()["victim"] == "ready", seconds=60, what="it is ready again")
    report = stand.settled(restore)

    assert (report["state"], report["undone"], report["warnings"]) == ("failed", True, []), report
    assert seen(container) == BEFORE
    record_property("seen", "`target-died`; undone by itself after the target's start")


@pytest.mark.fault(20, "the target's disk fills up during a restore", "fails with the tool's words; space given back")
def test_a_full_disk_in_the_target_ends_the_restore_and_the_space_is_given_back(stand: Stand) -> None:
    container = stand.app.target("narrow", FILES, "--volume", "/data", "--tmpfs", "/small:size=16m", of="DEBIAN")
    within(container, f"head -c {32 * MEBIBYTE} /dev/urandom >/data/random")
    stand.sidecar.backup("narrow")
    command = ("restore", stand.sidecar.key("narrow"), "--into", "/small/back")
    refused = stand.sidecar.cli(*command)
    assert "there is no room" in refused.stderr
    assert "291 MiB are needed beside what is there, and 16 MiB are free" in refused.stderr
    assert "--into" in refused.stderr
    within(container, "mv /usr/bin/df /usr/bin/no-df")  # Then nobody knows it before.

    report = stand.ended(stand.restore("narrow", into="/small/back"))

    assert (report["state"], report["failure"]["code"], report["undone"]) == ("failed", "command-failed", True)
    assert re.search("No space left on device|Wrote only [0-9]+ of", report["failure"]["message"]), "GNU tar's words"
    assert "`df -h` in it shows where" in report["failure"]["hint"]
    assert report["warnings"][0].startswith("room-unknown: ")
    within(container, "mv /usr/bin/no-df /usr/bin/df")
    assert within(container, "ls -A /small; df --output=used /small | tail -1").split() == ["0"]


@pytest.mark.fault(16, "target paused in the middle of a restore that is then cancelled", "undone once it runs again")
def test_a_restore_into_a_target_that_was_paused_can_be_cancelled_and_is_undone_later(stand: Stand) -> None:
    container = big(stand, "dozes")
    restore = stand.restore("dozes")
    stand.reaches(restore, 16 * MEBIBYTE)
    docker("pause", container)

    done = stand.sidecar.admin.post(f"/v1/restores/{restore}/cancel", timeout=60)
    report = stand.ended(restore, seconds=60)

    assert done.status_code == 202
    assert (report["state"], report["failure"]["code"], report["undone"]) == ("cancelled", "cancelled", False), report
    assert report["failure"]["hint"]
    docker("unpause", container)
    report = stand.settled(restore)
    assert (report["undone"], report["warnings"]) == (True, []), report
    assert processes(container, "tar") == []
    assert within(container, "ls -d /restore-* || true") == ""


def test_a_restore_that_is_cancelled_in_the_middle_is_undone_at_once(stand: Stand) -> None:
    container = big(stand, "regretted")
    restore = stand.restore("regretted")
    stand.reaches(restore, 16 * MEBIBYTE)

    stand.sidecar.admin.post(f"/v1/restores/{restore}/cancel", timeout=60)
    report = stand.ended(restore)

    assert (report["state"], report["failure"]["code"], report["undone"]) == ("cancelled", "cancelled", True), report
    assert report["warnings"] == []
    assert processes(container, "tar") == []
    assert within(container, "ls -d /restore-* || true") == ""
    assert stand.sidecar.backup("regretted")["state"] == "succeeded"
