"""Targets that move under a run: restarting, re-created by Compose itself, or given up while their dump is checked."""

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from tests.faults.conftest import config_folder
from tests.kit import stage
from tests.kit.stage import LABEL, App, Json, Sidecar, docker, eventually, execute, image, within

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

MEBIBYTE = 1 << 20
ENDLESS = "while :; do head -c 1000000 /dev/zero; sleep 0.05; done"
Stand = tuple[Sidecar, App]
Told = Callable[[str, object], None]


@pytest.fixture(scope="module")
def both(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("targets")
    folder.chmod(0o755)
    config = config_folder(folder / "config", token, defaults={"schedule": "none", "timeout": "2m", "retries": 0})
    with stage.sidecar(f"targets-{secrets.token_hex(3)}", config, token) as (sidecar, app):
        yield sidecar, app


@pytest.fixture
def stand(both: Stand) -> Iterator[Stand]:
    sidecar, _ = both
    with App(sidecar.project) as app:
        yield sidecar, app
    sidecar.forgets(app.started)


def cancelled(sidecar: Sidecar, service: str, run: str) -> None:
    """Cancel a run as a person does, and see that nothing of it is left in the store."""
    done = sidecar.cli("cancel", run)
    assert done.returncode == 0, done.stderr
    report = sidecar.ended(run, seconds=15)
    assert (report["state"], report["failure"]["code"]) == ("cancelled", "cancelled"), report
    assert sidecar.stored(service) == []


def test_a_run_is_cancelled_while_what_it_has_stored_is_read_again(stand: Stand) -> None:
    sidecar, app = stand
    size = 2048 * MEBIBYTE
    app.target("reread", {"commands.backup": f"head -c {size} /dev/zero", "compression": "zstd:1"})
    sidecar.wait("reread")
    run = sidecar.start("reread")
    eventually(lambda: sidecar.report(run)["bytes"] >= size, seconds=100, what="everything has come")
    assert sidecar.report(run)["state"] == "running", "it was checked too fast to be cancelled"

    cancelled(sidecar, "reread", run)


def test_a_run_is_cancelled_while_a_tool_in_the_target_checks_its_dump(stand: Stand) -> None:
    sidecar, app = stand
    options = ("--env", "POSTGRES_PASSWORD=x", "--tmpfs", "/var/lib/postgresql/data")
    container = app.target("checked", {"strategy": "postgres"}, *options, of="POSTGRES", command=("postgres",))
    sidecar.wait("checked", seconds=60)
    slow = "#!/bin/sh\\necho begun >/tmp/check\\nexec sleep 300\\n"
    within(container, f"tool=$(command -v pg_restore) && rm $tool && printf '{slow}' >$tool && chmod +x $tool")
    run = sidecar.start("checked")
    eventually(lambda: execute("docker", "exec", container, "test", "-s", "/tmp/check").returncode == 0, seconds=30)

    cancelled(sidecar, "checked", run)

    assert "sleep 300" not in docker("top", container, "-eo", "pid,args")


def test_a_target_that_restarts_is_waited_for(stand: Stand, tmp_path: Path) -> None:
    sidecar, app = stand
    (flag := tmp_path / "flag").touch()
    options = ("--restart", "always", "--volume", f"{tmp_path}:/flags:ro")
    main = ("sh", "-c", "trap 'exit 1' TERM; while [ -e /flags/flag ]; do sleep 0.2; done; exit 1")
    name = app.target("again", {"commands.backup": "echo data"}, *options, command=main)
    sidecar.backup("again")
    flag.unlink()

    def restarting() -> bool:
        """Between two starts, and for some seconds: the engine waits twice as long each time."""
        state = json.loads(docker("inspect", name))[0]
        return state["RestartCount"] >= 7 and state["State"]["Restarting"]

    eventually(restarting, seconds=60, what="it restarts again and again")
    run = sidecar.start("again")
    eventually(lambda: sidecar.report(run)["reason"] == "restarting", what="the run waits for it")
    assert sidecar.report(run)["state"] == "queued"
    flag.touch()
    report = sidecar.ended(run, seconds=60)

    assert (report["state"], report["attempts"]) == ("succeeded", 1), report


@pytest.mark.fault(
    4, "`docker compose up --force-recreate` during the dump", "`target-replaced`; the new one is a target at once"
)
@pytest.mark.parametrize("retries", [0, 1])
def test_compose_re_creates_the_target_during_the_dump(
    retries: int, stand: Stand, tmp_path: Path, record_property: Told
) -> None:
    sidecar, app = stand
    labels = {
        LABEL: sidecar.project,
        "backup.enable": "true",
        "backup.retries": str(retries),
        "backup.commands.backup": f'[ "$$GENERATION" = 2 ] || {{ {ENDLESS}; }}; echo new',
    }
    service = {"image": image("BUSYBOX"), "command": "sleep infinity", "init": True, "stop_grace_period": "1s"}
    service |= {"labels": labels, "environment": {"GENERATION": "${GENERATION}"}}
    networks = {"default": {"external": True, "name": app.network}}
    name = f"made{retries}"
    (tmp_path / "compose.yml").write_text(yaml.safe_dump({"services": {name: service}, "networks": networks}))

    def compose(generation: int, *command: str) -> None:
        file = ("--file", tmp_path / "compose.yml", "--project-name", sidecar.project)
        done = execute(
            "docker", "compose", *file, *command, env={"GENERATION": str(generation), "PATH": "/usr/bin:/bin"}
        )
        assert done.returncode == 0, done.stderr.decode()

    try:
        compose(1, "up", "--detach")
        old = sidecar.wait(name)["container"]["id"]
        run = sidecar.start(name)
        sidecar.reaches(run, MEBIBYTE)

        compose(2, "up", "--detach", "--force-recreate")
        report = sidecar.ended(run, seconds=30)
        new = sidecar.wait(name)["container"]
        started = json.loads(docker("inspect", new["id"]))[0]["State"]["StartedAt"]

        assert new["id"] != old
        failures = [failure["code"] for failure in (*report["retried"], report["failure"]) if failure]
        assert failures == ["target-replaced"], report
        assert (report["state"], report["attempts"]) == (("succeeded", 2) if retries else ("failed", 1))
        assert [line for line in sidecar.stored(name) if run not in line] == []
        assert bool(sidecar.stored(name)) == bool(retries)
        known = eventually(lambda: known_since(sidecar, name, new["name"]), what="its line in the log")
        late = (known - datetime.fromisoformat(started[:26] + "+00:00")).total_seconds()
        assert late < 15
        if not retries:
            assert sidecar.backup(name)["bytes"] == len("new\n")
        runs: list[Json] = sidecar.http.get("/v1/runs", params={"target": sidecar.key(name)}).json()["runs"]
        assert len(runs) == 2 - retries
        record_property("seen", f"`target-replaced`, listed {max(0.0, late):.1f} s after its start")
    finally:
        compose(2, "down", "--timeout", "1")


def known_since(sidecar: Sidecar, service: str, container: str) -> datetime | None:
    """When the log said last that the target in this container is ready."""
    found = None
    for line in sidecar.log().splitlines():
        told = json.loads(line)
        if (told.get("target"), told.get("container"), told.get("state")) == (sidecar.key(service), container, "ready"):
            found = datetime.fromisoformat(told["time"])
    return found
