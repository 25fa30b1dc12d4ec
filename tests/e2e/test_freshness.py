"""Am I safe? As a user asks it: status with each verdict, rot in the real store, a run that looks wrong."""

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import stage
from tests.kit.stage import App, Sidecar, docker, eventually, said, within

pytestmark = pytest.mark.e2e

CONFIG = """\
schema: 1
defaults: {schedule: none, compression: none}
verify: {every: 1s}
"""


@pytest.fixture(scope="module")
def place(sidecar_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    """A sidecar of its own, which reads again whatever it has not read for a second."""
    folder, token = tmp_path_factory.mktemp("fresh"), secrets.token_hex(16)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"sidecar-fresh-{secrets.token_hex(3)}", folder, token) as running:
        yield running


@pytest.fixture
def fresh(place: tuple[Sidecar, App]) -> Sidecar:
    return place[0]


@pytest.fixture
def app(place: tuple[Sidecar, App]) -> Iterator[App]:
    """What one test starts; what it promised is let go with it."""
    running, shared = place
    with App(shared.project, shared.network) as joined:
        yield joined
    running.forgets(joined.started)


def verdicts(sidecar: Sidecar) -> dict[str, str]:
    """State by service, as `status` tells it."""
    rows = sidecar.cli("status").stdout.splitlines()
    return {row.split()[0].partition("/")[2]: row.split()[1] for row in rows if "/" in row.split()[0]}


@pytest.mark.slow
def test_status_tells_each_verdict_and_exits_0_or_3(fresh: Sidecar, app: App) -> None:
    assert fresh.cli("status").returncode == 3
    app.target("young", {"commands.backup": "echo data", "expect.max-age": "1h"})
    fresh.backup("young")

    safe = fresh.cli("status")

    assert safe.returncode == 0, safe.stdout
    assert safe.stdout.splitlines()[-1] == "safe: every target is fresh (1)"
    assert fresh.http.get("/freshz", headers={"Authorization": ""}).status_code == 200

    app.target("old", {"commands.backup": "echo data", "expect.max-age": "2s"})
    app.target("free", {"commands.backup": "echo data", "schedule": "none"})
    app.target("empty", {"commands.backup": "echo data", "schedule": "@yearly"})
    fresh.backup("old")
    fresh.backup("free")
    fresh.wait("empty")
    wanted = {"young": "fresh", "old": "stale", "free": "unpromised", "empty": "never"}
    eventually(lambda: verdicts(fresh) == wanted, what="each verdict is told")

    unsafe = fresh.cli("status")

    assert unsafe.returncode == 3
    assert unsafe.stdout.splitlines()[-1] == "not safe: 1 stale, 1 never, 1 fresh, 1 unpromised"
    answer = fresh.http.get("/freshz", headers={"Authorization": ""})
    assert (answer.status_code, "young" in answer.text) == (503, False)
    assert f'backup_target_fresh{{target="{fresh.key("old")}"}} 0.0' in fresh.http.get("/metrics").text
    assert fresh.http.get("/healthz").is_success


def test_status_takes_one_line_a_target_at_80_columns(fresh: Sidecar, app: App) -> None:
    app.target("small", {"commands.backup": "echo data", "schedule": "0 3 * * *", "timezone": "Europe/Madrid"})
    fresh.backup("small")

    terminal = ("docker", "exec", "--tty", "--env", "COLUMNS=80", fresh.container, "backup-sidecar", "status")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said(*terminal).stdout)

    (line,) = [line for line in plain.splitlines() if line.startswith(fresh.key("small"))]
    assert len(line) <= 80
    assert re.fullmatch(rf"{fresh.key('small')} +fresh +\d+ s ago +(tonight|tomorrow) 03:00( .*)?", line)
    exact = fresh.target("small")["next_due"]
    assert exact in fresh.cli("status", "--utc").stdout


@pytest.mark.slow
def test_an_orchestrator_that_never_comes_does_not_keep_targets_from_being_backed_up(
    sidecar_image: str, tmp_path: Path
) -> None:
    folder, token = tmp_path / "config", secrets.token_hex(16)
    folder.mkdir()  # By its mode the sidecar, which is not root, can read it.
    orchestrator = "{url: 'http://nobody:5550', key: {secret: ORCHESTRATOR_KEY}, patience: 6s}"
    (folder / "config.yaml").write_text(f"orchestrator: {orchestrator}\n")
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\nORCHESTRATOR_KEY={token}\n")
    with stage.sidecar(f"alone-{secrets.token_hex(3)}", folder, token, schedule=None) as (running, app), app:
        app.target("db", {"commands.backup": "echo data"})
        running.wait("db")
        absent = "`orchestrator.patience: 8d`"
        told = eventually(lambda: red(running, absent), what="it is missed")
        assert "has begun no run" in told
        assert running.target("db")["next_due"]

        run = running.start("db")
        eventually(lambda: not red(running, absent), what="it has come")
        assert running.ended(run)["state"] == "succeeded"
        assert eventually(lambda: red(running, absent), what="it is missed again")
        eventually(lambda: "orchestrator-absent" in running.log(), what="the log has it")


def red(sidecar: Sidecar, text: str) -> str:
    """The reason of the verdict that holds a text; empty without one."""
    reasons = sidecar.http.get("/v1/status").json()["reasons"]
    return next((reason["message"] for reason in reasons if text in reason["hint"]), "")


def test_a_container_that_opts_in_and_is_not_on_the_network_is_told_everywhere_with_its_remedy(
    fresh: Sidecar, app: App
) -> None:

    def told() -> str:
        return fresh.cli("status").stdout

    hosted, shared = App(app.project, "host"), App(app.project, "bridge")
    with hosted, shared:
        remedies = {
            hosted.target("hosted", {"commands.backup": "echo data"}): "`network_mode` of its service (host) by",
            shared.target("lonely", {"commands.backup": "echo data"}): "add the line `networks: [",
        }
        for container, remedy in remedies.items():
            line = f"container {container}: opts in, but is on no network called app_internal"
            eventually(lambda line=line: line in told(), what=f"{container} is told")
            assert remedy in told()
        status, targets, check = (fresh.cli(command) for command in ("status", "targets", "check"))
        for done in (targets, check):
            assert all(container in done.stderr and remedy in done.stderr for container, remedy in remedies.items())
        assert (status.returncode, targets.returncode, check.returncode) == (3, 3, 3)
        assert fresh.http.get("/freshz").status_code == 503
        assert 'backup_target_problem{code="not-on-network",target=""} 1.0' in fresh.http.get("/metrics").text
        assert all(container in fresh.log() for container in remedies)
    eventually(lambda: "opts in, but" not in told(), what="they are gone")
    assert fresh.cli("check").returncode == 0


def test_a_last_run_that_failed_is_red_until_one_is_good_and_so_is_a_target_with_a_problem(
    fresh: Sidecar, app: App
) -> None:
    container = app.target("shaky", {"commands.backup": "cat /tmp/data", "expect.max-age": "1h", "retries": "0"})
    within(container, "echo data >/tmp/data")
    fresh.backup("shaky")
    assert verdicts(fresh)["shaky"] == "fresh"

    within(container, "rm /tmp/data")
    bad = fresh.run("shaky")
    red = fresh.cli("status")
    assert (red.returncode, verdicts(fresh)["shaky"]) == (3, "failed")
    assert f"the last run of {fresh.key('shaky')}, {bad['id']}, failed: command-failed" in red.stdout

    within(container, "echo data >/tmp/data")
    fresh.backup("shaky")
    assert verdicts(fresh)["shaky"] == "fresh"

    app.target("shapeless", {"strategy": "postgres", "schedule": "none"})
    fresh.wait("shapeless", "problem")
    assert [fresh.cli(command).returncode for command in ("status", "targets", "check")] == [3, 3, 3]
    assert "no-client" in fresh.cli("check").stderr
    assert "no-client" in fresh.cli("targets").stderr
    alone = checked_alone(app)
    assert alone.returncode == 3
    assert "no-client" in alone.stderr


def checked_alone(app: App) -> subprocess.CompletedProcess[str]:
    """`check` in a container of the project in which nobody serves."""
    place = ("--label", f"{stage.PROJECT}={app.project}", "--label", f"{stage.LABEL}={app.project}")
    socket = (
        "--volume",
        "/var/run/docker.sock:/var/run/docker.sock",
        "--env",
        f"BACKUP_API_TOKEN={secrets.token_hex(16)}",
    )
    command = ("--network", app.network, "--tmpfs", "/etc/sidecar", stage.SIDECAR_IMAGE, "check")
    return said("docker", "run", "--rm", *place, *socket, *command)


@pytest.mark.slow
def test_the_scrub_finds_a_flipped_byte_and_the_run_is_healed_when_the_bytes_are_back(fresh: Sidecar, app: App) -> None:
    labels = {"commands.backup": "echo data", "commands.restore": "cat >/tmp/back", "expect.max-age": "1h"}
    container = app.target("rotten", labels)
    report = fresh.backup("rotten")
    artifact = next(path for path in fresh.stored("rotten") if path.endswith(report["artifacts"][0]["name"]))

    within(fresh.container, f"cp {artifact} /tmp/copy; printf D | dd of={artifact} bs=1 conv=notrunc")

    damaged = eventually(lambda: fresh.report(report["id"])["damaged"], seconds=90, what="the scrub has found it")
    assert report["artifacts"][0]["sha256"] in damaged
    answer = fresh.http.get(f"/v1/runs/{report['id']}/artifacts")
    assert (answer.status_code, answer.json()["type"]) == (500, "damaged")
    export = fresh.http.get(f"/v1/exports/{report['id']}/artifacts")
    assert (export.status_code, export.json()["type"]) == (500, "damaged")
    restore = fresh.cli("restore", fresh.key("rotten"), "--run", report["id"])
    assert restore.returncode == 1
    assert "damaged" in restore.stdout + restore.stderr
    assert within(container, "ls /tmp") == ""
    assert "no good run" in fresh.cli("restore", fresh.key("rotten")).stderr
    told = fresh.cli("status")
    assert told.returncode == 3
    assert f"run {report['id']} of {fresh.key('rotten')} is damaged" in told.stdout
    assert verdicts(fresh)["rotten"] == "never"
    assert re.search(r"sealed +damaged *$", fresh.cli("runs", fresh.key("rotten")).stdout, re.MULTILINE)
    assert fresh.cli("verify", f"{fresh.key('rotten')}x").returncode == 1
    assert "is damaged" in fresh.log()

    within(fresh.container, f"cat /tmp/copy > {artifact}")
    healed = fresh.cli("verify", fresh.key("rotten"))

    assert healed.returncode == 0, healed.stdout
    assert "every byte is what was written" in healed.stdout
    assert verdicts(fresh)["rotten"] == "fresh"
    assert fresh.http.get(f"/v1/runs/{report['id']}/artifacts").content == b"data\n"


def test_a_run_that_shrank_pushes_no_good_one_out_until_it_is_accepted(fresh: Sidecar, app: App) -> None:
    container = app.target("rows", {"commands.backup": "cat /tmp/rows", "expect.max-age": "1h"})
    within(container, "head -c 100000 /dev/zero >/tmp/rows")
    whole = fresh.backup("rows")
    within(container, "head -c 1000 /dev/zero >/tmp/rows")

    odd = fresh.backup("rows")

    assert odd["suspicious"][0].startswith("shrunk:")
    assert fresh.target("rows")["last_good"]["id"] == whole["id"]
    assert "suspicious" in fresh.log()
    assert re.search(r"sealed +suspicious *$", fresh.cli("runs", fresh.key("rows")).stdout, re.MULTILINE)
    manifest = next(path for path in fresh.stored("rows") if odd["id"] in path and path.endswith("manifest.json"))
    assert json.loads(within(fresh.container, f"cat {manifest}"))["suspicious"] == odd["suspicious"]

    told = fresh.cli("run", fresh.key("rows"))
    assert told.returncode == 3
    assert f"suspicious: {odd['suspicious'][0]}" in told.stderr
    assert "backup-sidecar accept" in told.stderr

    assert fresh.cli("accept", odd["id"]).returncode == 0

    assert fresh.target("rows")["last_good"]["id"] == odd["id"]
    assert not fresh.backup("rows")["suspicious"]
    assert fresh.cli("accept", whole["id"]).returncode == 1


def test_an_emptied_table_is_suspicious_though_the_dump_is_as_large_unless_it_is_ignored(
    fresh: Sidecar, app: App
) -> None:
    labels = {"strategy": "postgres", "expect.ignore": "sessions, queue_*", "expect.max-age": "1h"}
    storage = ("--tmpfs", "/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=x")
    container = app.target("ledger", labels, *storage, of="POSTGRES", command=("postgres", "-c", "fsync=off"))

    def sql(*commands: str) -> bool:
        flags = [f"--command={command}" for command in commands]
        return said("docker", "exec", container, "psql", "-hlocalhost", "-Upostgres", *flags).returncode == 0

    filling = "insert into filling select string_agg(md5(random()::text), '') from generate_series(1, 100000)"
    tables = [
        f"create table {name} as select * from generate_series(1, {rows})"
        for name, rows in (("orders", 1000), ("users", 1000), ("sessions", 5000), ("queue_mail", 500))
    ]
    eventually(
        lambda: sql("create table filling (text text)", filling, *tables), seconds=60, what="the database is filled"
    )
    fresh.backup("ledger")
    assert sql("truncate sessions", "truncate queue_mail")
    whole = fresh.backup("ledger")
    assert (whole["suspicious"], whole["warnings"]) == ([], [])
    assert sql("truncate orders")

    odd = fresh.backup("ledger")

    assert odd["bytes"] > 0.99 * whole["bytes"]
    lost = f"emptied: rows of public.orders in postgres.pgdump: 0 of 1000 since run {whole['id']}"
    assert odd["suspicious"] == [lost]
    assert fresh.target("ledger")["last_good"]["id"] == whole["id"]
    assert lost in fresh.cli("runs", fresh.key("ledger")).stdout + fresh.log()
    plan = fresh.cli("restore", fresh.key("ledger"), "--dry-run")
    assert plan.stdout.startswith(whole["id"])
    assert f"passed-over: run {odd['id']} is younger and suspicious" in plan.stdout

    assert fresh.cli("accept", odd["id"]).returncode == 0

    assert not fresh.backup("ledger")["suspicious"]


def test_a_service_that_has_stopped_is_forgotten_and_is_a_target_again_when_it_runs(fresh: Sidecar, app: App) -> None:
    container = app.target("left", {"commands.backup": "echo data", "expect.max-age": "1h"})
    run = fresh.backup("left")
    key = fresh.key("left")
    there = fresh.cli("forget", key)
    assert there.returncode == 1
    assert "backup.enable=false" in there.stderr
    docker("stop", "--time", "0", container)
    fresh.wait("left", "absent")

    shown = fresh.cli("forget", key, "--dry-run")

    assert f"{key}  would be forgotten" in shown.stdout
    assert "left" in verdicts(fresh)
    done = fresh.cli("forget", key)
    assert (done.returncode, "1 run" in done.stdout) == (0, True)
    assert "left" not in verdicts(fresh)
    assert "left" not in fresh.states()
    assert run["id"] in fresh.cli("artifacts").stdout

    docker("start", container)

    fresh.wait("left")
    assert verdicts(fresh)["left"] == "fresh"
