"""A sidecar takes up the volume of release 0.1.0, which was killed in the middle of everything, and goes on."""

import fcntl
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.kit import stage
from tests.kit.stage import LABEL, App, Json, Sidecar, docker, eventually, execute, image, within
from tests.kit.upgrade import PROJECT, TOLD, VOLUME, is_within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NETWORK = f"{PROJECT}_app_internal"
SETTINGS = {
    "schema": 1,
    "policy": {"create-containers": True, "min-interval": "1m"},
    "drills": {"memory": "512MiB", "timeout": "3m"},
    "defaults": {"schedule": "none", "retention": {"keep-last": 100}},
    "verify": {"budget": "0B"},
}
DATABASES, PAGES, OWN = "20261128T192610Z-7c264428", "20261128T192658Z-e08b73eb", "20261128T192700Z-a7c21750"
"""The oldest runs; the first two were being restored when it was killed."""
CUT = {"db": "20261128T192935Z-67ddca5c", "pages": "20261128T192948Z-042e816f"}
"""Those restores, by service."""
SLOW, DRILL = "20261128T192956Z-63e57e08", "20261128T192957Z-6fa81d95"
"""A run that left its command behind, and a drill that left its container."""
SQL = "psql -q -v ON_ERROR_STOP=1 -U keeper -At"
ASIDE = f'"before-{DATABASES}-0"'
LEFT = (
    ("shop", "create table later as select 1 as x"),
    ("postgres", "create table mine as select 7 as x"),
    ("template1", "alter database postgres allow_connections false"),
    ("template1", f"alter database postgres rename to {ASIDE}"),
    ("template1", "create database postgres"),
)
"""What the killed restore had done to the databases: `postgres` is half restored, and the one before set aside."""


@dataclass(frozen=True)
class Stand:
    sidecar: Sidecar
    containers: dict[str, str]
    """Names by service."""

    def told(self, path: str) -> Json:
        found: Json = self.sidecar.http.get(path).raise_for_status().json()
        return found

    def restored(self, service: str, run: str, *options: str) -> Json:
        """A restore by command that succeeded."""
        done = self.sidecar.cli("restore", self.sidecar.key(service), "--run", run, "--json", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        report: Json = json.loads(done.stdout)
        return report

    def shell(self, service: str, script: str) -> str:
        return within(self.containers[service], script)

    def sql(self, database: str, query: str) -> str:
        return self.shell("db", f"{SQL} {database} -c '{query}'")


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A sidecar on a copy of the volume; of the targets maria, cache, notes and Odd.Name are gone."""
    assert sidecar_image
    folder = tmp_path_factory.mktemp("upgrade")
    config = folder / "config"
    config.mkdir()
    (config / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    (config / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    labels = {"com.docker.compose.network": "app_internal", stage.PROJECT: PROJECT, LABEL: PROJECT}
    with alone():
        docker("network", "create", *(f"--label={name}={value}" for name, value in labels.items()), NETWORK)
        containers = started(App(PROJECT, NETWORK))
        mounted = ("--volume", f"{filled(folder / 'volume', containers)}:/var/lib/sidecar")
        with stage.sidecar(PROJECT, config, token, *mounted, network=NETWORK) as (sidecar, _):
            yield Stand(sidecar, containers)


@contextmanager
def alone() -> Iterator[None]:
    """Nobody else on this machine uses the project, whose name the volume tells."""
    with (Path(tempfile.gettempdir()) / f"{PROJECT}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stage.clear(PROJECT)
        try:
            yield
        finally:
            stage.clear(PROJECT)


def started(app: App) -> dict[str, str]:
    """Start the app, and bring it into the state in which it was left; gives the containers' names by service."""
    account = ("--env=POSTGRES_USER=keeper", "--env=POSTGRES_DB=shop", "--env=POSTGRES_PASSWORD=another")
    files = {"strategy": "filesystem", "filesystem.paths": "/srv/pages"}
    identity = (VOLUME / "work" / "identity").read_text().strip()
    drill = (f"--label=backup-sidecar.drill={DRILL}", f"--label=backup-sidecar.owner={identity}")
    server = ("postgres", "-c", "fsync=off")
    containers = {
        "db": app.target("db", {"strategy": "postgres"}, *account, of="POSTGRES", command=server),
        "pages": app.target("pages", files, of="DEBIAN"),
        "held": app.target("held", {**files, "quiesce": "pause"}),
        "own": app.target("own", {"commands.backup": "cat /tmp/data", "commands.restore": "cat >/tmp/data"}),
        "slow": app.target("slow", {"commands.backup": "echo quick"}),
        "beat": app.target("beat", {"commands.backup": "date", "schedule": "* * * * *", "timezone": "Europe/Madrid"}),
        "drill": app.start("drill", {}, *drill),
    }
    within(containers["own"], "echo new >/tmp/data")
    within(
        containers["pages"], f"mkdir -p /srv/pages /restore-{PAGES}/srv; echo new | tee /srv/pages/word /srv/pages/x"
    )
    docker("exec", "--detach", "--env", f"BACKUP_RUN={SLOW}", containers["slow"], "sleep", "600")
    within(containers["held"], "mkdir -p /srv/pages")
    docker("pause", containers["held"])
    ready = ("docker", "exec", containers["db"], "pg_isready", "--host=127.0.0.1")
    eventually(lambda: execute(*ready).returncode == 0, seconds=60, what="PostgreSQL is ready")
    for database, statement in LEFT:
        within(containers["db"], f"{SQL} {database} -c '{statement}'")
    return containers


def filled(folder: Path, containers: dict[str, str]) -> str:
    """A volume as it was left, five minutes ago; the containers that it names have other ids here. Gives its name."""
    shutil.copytree(VOLUME, folder)
    (held,) = (folder / "work" / "quiesced").iterdir()
    owed = {service: folder / "work" / "restores" / "owed" / f"{restore}.json" for service, restore in CUT.items()}
    for service, fact in {"held": held, **owed}.items():
        container = docker("inspect", "--format", "{{.Id}}", containers[service])
        fact.write_text(json.dumps(json.loads(fact.read_text()) | {"container": container}))
        if fact == held:
            held.rename(held.with_name(f"{container}.json"))
    schedule = folder / "work" / "schedule.json"
    decided = f"{datetime.now(UTC) - timedelta(minutes=5):%Y-%m-%dT%H:%M:%S.000Z}"
    schedule.write_text(re.sub(r'(?<="decided": ")[^"]+', decided, schedule.read_text()))
    volume = docker("volume", "create", "--label", f"{LABEL}={PROJECT}", f"{PROJECT}-volume")
    label = ("--label", f"{LABEL}={PROJECT}")
    filler = docker("create", *label, "--volume", f"{volume}:/var/lib/sidecar", image("BUSYBOX"))
    for part in ("artifacts", "work"):
        docker("cp", "-q", folder / part, f"{filler}:/var/lib/sidecar")
    docker("rm", filler)
    return volume


def test_every_run_restore_and_drill_is_told_as_before_and_what_was_cut_is_interrupted(stand: Stand) -> None:
    runs = {run["id"]: run for run in stand.told("/v1/runs?limit=500")["runs"]}
    restores = {restore["id"]: restore for restore in stand.told("/v1/restores")["restores"]}
    drills = {told["id"]: stand.told(f"/v1/drills/{told['id']}") for told in TOLD["drills"]}

    for told, now in (
        *((told, runs[told["id"]]) for told in TOLD["runs"]),
        *((told, restores[told["id"]]) for told in TOLD["restores"]),
        *((told, drills[told["id"]]) for told in TOLD["drills"]),
    ):
        if told["finished"]:
            assert is_within(told, now)
        else:
            assert (now["state"], now["failure"]["code"]) == ("interrupted", "interrupted")


def test_whatever_was_left_is_undone_ended_and_let_go(stand: Stand) -> None:
    stand.sidecar.wait("db", seconds=60)
    eventually(lambda: stand.told(f"/v1/restores/{CUT['pages']}")["undone"], seconds=60, what="the folder is undone")
    eventually(lambda: stand.told(f"/v1/restores/{CUT['db']}")["warnings"], seconds=60, what="the database is undone")

    assert stand.told(f"/v1/restores/{CUT['db']}")["warnings"] == ["not-undone: what globals.sql has done stays"]
    names = "select string_agg(datname, $$ $$ order by datname) from pg_database"
    assert stand.sql("template1", names) == "postgres shop template0 template1"
    assert stand.sql("postgres", "select x from mine") == "7"
    assert stand.shell("pages", "ls -d /restore-* || true") == ""
    held = docker("inspect", "--format", "{{.State.Status}}", stand.containers["held"])
    assert held == "running"
    slow = stand.containers["slow"]
    eventually(lambda: "sleep 600" not in docker("top", slow), what="the command of the cut run is ended")
    drill = ("docker", "inspect", stand.containers["drill"])
    eventually(lambda: execute(*drill).returncode == 1, what="the drill's container is removed")
    facts = "cd /var/lib/sidecar/work; find restores/owed quiesced -type f; find ../artifacts -name '*.partial'"
    assert within(stand.sidecar.container, facts) == ""


def test_every_artifact_is_whole_but_the_damaged_one(stand: Stand) -> None:
    stored = [run for run in TOLD["runs"] if run["state"] == "succeeded" and not run["pruned"]]
    for run in stored:
        found = stand.sidecar.http.post(f"/v1/runs/{run['id']}/verify").json()
        assert bool(found["damaged"]) == bool(run["damaged"])


def test_what_was_promised_for_targets_that_are_gone_is_remembered(stand: Stand) -> None:
    promised = {target["key"] for target in stand.told("/v1/status")["targets"]}
    assert {f"{PROJECT}/{name}" for name in ("maria", "cache", "notes", "Odd.Name/first-one")} <= promised


def test_the_schedule_goes_on_from_where_it_was(stand: Stand) -> None:
    before = {run["id"] for run in TOLD["runs"]}

    def since() -> list[str]:
        runs = stand.told(f"/v1/runs?target={PROJECT}/beat")["runs"]
        return [run["state"] for run in runs if run["id"] not in before]

    eventually(lambda: since().count("missed") >= 4 and "succeeded" in since(), what="told as missed, and caught up")


def test_runs_go_on_and_an_old_one_is_drilled_and_restored(stand: Stand) -> None:
    for service in ("db", "pages", "own", "held", "slow"):
        stand.sidecar.backup(service)

    drill = json.loads(stand.sidecar.cli("drill", f"{PROJECT}/db", "--run", DATABASES, "--json").stdout)
    assert (drill["state"], drill["failure"]) == ("passed", None)
    databases = stand.restored("db", DATABASES, "--replace")
    pages = stand.restored("pages", PAGES, "--in-place", "--replace")
    stand.restored("own", OWN)

    assert databases["compared"] > 0
    assert stand.sql("shop", "select to_regclass($$later$$), count(*), sum(price) from item") == "|40|1025.00"
    assert stand.sql("shop", "select name from dear order by name limit 1") == "Ñandú 33"
    assert stand.sql("shop", 'select count(*), sum(amount) from "Order of items"') == "25|325"
    assert stand.sql("postgres", "select to_regclass($$mine$$)") == ""
    assert stand.shell("pages", "cd /srv/pages; cat word; tail -n 1 link; stat -c %a:%u:%g a/numbers") == (
        "old\n2000\n644:1234:4321"
    )
    assert stand.shell("own", "tail -n 1 /tmp/data") == "3000"
    for report in (databases, pages):
        assert stand.sidecar.report(report["safety"])["state"] == "succeeded"
