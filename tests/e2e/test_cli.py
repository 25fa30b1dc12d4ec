"""The commands as a person or a script uses them, by `docker exec` in the running sidecar."""

import json
import secrets
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.kit import stage
from tests.kit.stage import LABEL, SIDECAR_IMAGE, STORE, WORK, App, Sidecar, docker, eventually, said

pytestmark = pytest.mark.e2e
RIGHTS = ("--cap-drop=ALL", *(f"--cap-add={right}" for right in ("CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID")))
"""As compose.sidecar.yml has them."""


def parsed(sidecar: Sidecar, *arguments: str, code: int = 0) -> Any:
    """The JSON that a command prints with `--json`, and nothing beside it."""
    done = sidecar.cli(*arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_run_waits_and_prints_one_line_that_a_person_understands(sidecar: Sidecar, app: App) -> None:
    app.target("line", {"commands.backup": "head -c 2000000 /dev/zero"})
    sidecar.wait("line")

    done = sidecar.cli("run", sidecar.key("line"))

    assert done.returncode == 0
    words = done.stdout.split()
    assert words[0] == sidecar.key("line")
    assert "succeeded" in words
    assert words[-2:] == ["proof", "sealed"]
    assert done.stdout.count("\n") == 1


def test_a_good_run_is_found_by_runs_and_artifacts(sidecar: Sidecar, app: App) -> None:
    app.target("found", {"commands.backup": "echo data"})
    sidecar.wait("found")

    report = parsed(sidecar, "run", sidecar.key("found"))
    runs = parsed(sidecar, "runs", sidecar.key("found"))
    artifacts = parsed(sidecar, "artifacts", sidecar.key("found"))
    table = sidecar.cli("runs").stdout

    assert (report["state"], report["trigger"]) == ("succeeded", "cli")
    assert [run["id"] for run in runs] == [report["id"]]
    assert [(one["run"], one["name"], one["proof"]) for one in artifacts] == [(report["id"], "backup.zst", "sealed")]
    assert report["id"] in table
    assert table.splitlines()[0].split()[:3] == ["RUN", "TARGET", "STATE"]


def test_a_failed_run_exits_1_with_its_code_and_the_last_words_of_the_command(sidecar: Sidecar, app: App) -> None:
    app.target("bad", {"commands.backup": "echo because >&2; exit 5"})
    sidecar.wait("bad")

    done = sidecar.cli("run", sidecar.key("bad"))
    shown = sidecar.cli("runs", sidecar.key("bad"))

    assert done.returncode == 1
    assert "command-failed" in done.stdout
    assert "because" in done.stderr
    assert "command-failed" in shown.stdout
    assert parsed(sidecar, "artifacts", sidecar.key("bad")) == []


def test_run_shows_how_far_it_is_and_an_interrupt_cancels_it(sidecar: Sidecar, app: App) -> None:
    app.target("slow", {"commands.backup": "while :; do head -c 1000000 /dev/zero; sleep 0.05; done"})
    sidecar.wait("slow")
    key = sidecar.key("slow")
    # `docker exec` passes on no signals without a terminal, so the shell tells the process id.
    script = f"backup-sidecar run {key} & echo $! >/tmp/run.pid; wait $!"
    command = ["docker", "exec", "--tty", "--env", "TERM=xterm", sidecar.container, "sh", "-mc", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        run = eventually(lambda: under_way(sidecar, key), seconds=60, what="the run has begun")[0]
        sidecar.reaches(run, 2_000_000)
        time.sleep(1)
        docker("exec", sidecar.container, "sh", "-c", f"kill -{signal.SIGINT.value} $(cat /tmp/run.pid)")
        printed = running.communicate(timeout=20)[0]

    report = sidecar.ended(run)
    assert report["state"] == "cancelled"
    assert "MiB/s" in printed


def under_way(sidecar: Sidecar, key: str) -> list[str]:
    found = sidecar.http.get("/v1/runs", params={"target": key}).json()["runs"]
    return [run["id"] for run in found if not run["finished"]]


def test_targets_lists_each_with_its_state_and_names_problems_with_their_remedy(
    sidecar: Sidecar, app: App, postgres: str
) -> None:
    app.target("wrong", {"strategy": "postgers"})
    sidecar.wait("wrong", "problem")

    done = sidecar.cli("targets")
    listed = {target["key"]: target for target in parsed(sidecar, "targets", code=3)}

    assert done.returncode == 3
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["TARGET", "STRATEGY", "STATE", "CONTAINER", "NEXT"]
    assert [sidecar.key("postgres"), "postgres", "ready", postgres] in rows
    assert "postgres" in done.stderr
    assert "unknown-strategy" in done.stderr
    assert listed[sidecar.key("wrong")]["problems"][0]["code"] == "unknown-strategy"


def test_check_is_good_without_problems_and_exits_3_with_one(sidecar: Sidecar, app: App) -> None:
    assert sidecar.cli("check").returncode == 0

    app.target("wrong", {"timeout": "10", "commands.backup": "true"})
    done = sidecar.cli("check")

    assert done.returncode == 3
    assert "backup.timeout" in done.stderr
    found = parsed(sidecar, "check", code=3)
    states = {target["key"]: target["state"] for target in found["targets"]}
    assert states[sidecar.key("wrong")] == "problem"


@pytest.mark.usefixtures("mariadb")
def test_explain_shows_values_their_places_and_what_a_run_would_do(sidecar: Sidecar) -> None:
    done = sidecar.cli("explain", sidecar.key("mariadb"))

    assert done.returncode == 0
    assert "label backup.strategy" in done.stdout
    assert "dump shop.sql (mysql): mariadb-dump" in done.stdout
    assert "MYSQL_PWD" not in done.stdout
    verbose = sidecar.cli("explain", sidecar.key("mariadb"), "--verbose").stdout
    assert verbose.count("export MYSQL_PWD") == 2, "one script for databases, one for users"
    assert "sh -c <script 1> mariadb-dump" in verbose
    plan = parsed(sidecar, "explain", sidecar.key("mariadb"))["plan"]
    assert [dump["name"] for dump in plan["dumps"]] == [
        *("accounts.grants", "odd%20name%601.sql", "shop.sql", "users.grants")
    ]


@pytest.mark.parametrize("command", ["run", "explain"])
def test_an_unknown_key_exits_1_and_suggests_the_nearest(command: str, sidecar: Sidecar) -> None:
    done = sidecar.cli(command, sidecar.key("wbe"))

    assert done.returncode == 1
    assert f"Did you mean {sidecar.key('web')}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("run",), ("run", "no-slash"), ("nonsense",), ("runs", "--limit", "0"), ("targets", "--yaml")]
)
def test_what_cannot_be_understood_exits_2(arguments: tuple[str, ...], sidecar: Sidecar) -> None:
    done = sidecar.cli(*arguments)

    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_that_of_the_package(sidecar: Sidecar) -> None:
    assert sidecar.cli("version").stdout.strip() == parsed(sidecar, "version")["version"] == version("backup-sidecar")


@pytest.mark.usefixtures("sidecar_image")
def test_an_acting_command_without_a_running_serve_says_so(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BACKUP_API_TOKEN=0123456789abcdef0\n")
    options = ("--rm", "--label", f"{LABEL}=cli", "--volume", f"{tmp_path}:/etc/sidecar:ro")

    done = said("docker", "run", *options, SIDECAR_IMAGE, "run", "shop/db")

    assert done.returncode == 1
    assert "no sidecar is serving" in done.stderr
    assert "backup-sidecar serve" in done.stderr


@pytest.mark.usefixtures("sidecar_image")
@pytest.mark.parametrize("wrong", ["log: {level: loud}", "api: {port: -1}"])
def test_check_of_a_broken_configuration_exits_78_and_names_every_error(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"schema: 1\nstrategi: {{}}\n{wrong}\n")
    options = ("--rm", "--label", f"{LABEL}=cli", "--volume", f"{tmp_path}:/etc/sidecar:ro")

    done = said("docker", "run", *options, SIDECAR_IMAGE, "check")

    assert done.returncode == 78
    for piece in ("config.yaml:2", "Did you mean `strategy`", "config.yaml:3"):
        assert piece in done.stderr


@pytest.mark.slow
def test_a_lost_catalog_is_made_anew_while_the_sidecar_is_stopped_of_a_store_that_root_has_copied(
    sidecar_image: str, token: str, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    name, store = f"sidecar-rebuild-{secrets.token_hex(3)}", ("--volume", "/var/lib/sidecar")
    with stage.sidecar(name, config, token, *store) as (own, app):
        app.target("kept", {"commands.backup": "echo kept", "schedule": "none"})
        own.backup("kept")
        before = json.loads(own.cli("runs", "--json").stdout)
        refused = own.cli("catalog", "rebuild")
        assert (refused.returncode, "another sidecar is using the store" in refused.stderr) == (1, True)

        docker("stop", own.container)
        alone = ("run", "--rm", "--volumes-from", own.container)
        copied = f"cd {STORE}; chown -R 0:0 {name} .lock; find {name} | xargs chmod 0600; rm {WORK}/catalog.sqlite"
        docker(*alone, "--entrypoint", "sh", sidecar_image, "-c", copied)
        shut = said("docker", *alone, "--user", "10001:10001", sidecar_image, "catalog", "rebuild")
        told = docker(*alone, *RIGHTS, sidecar_image, "catalog", "rebuild")
        docker("start", own.container)

        assert (shut.returncode, "entered 0 runs" in shut.stdout) == (1, True)
        assert f"may not read 1 of its folders, so their runs are missing: {STORE}/{name}" in shut.stderr

        assert "entered 1 runs from their manifests" in told
        eventually(lambda: own.cli("runs").returncode == 0, seconds=60, what="it serves again")
        assert json.loads(own.cli("runs", "--json").stdout) == before
