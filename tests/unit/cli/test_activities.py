"""Commands about what is under way, against a real server: followed, cancelled, listed."""

import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.cli import main
from controller.core.key import Key
from controller.core.run import SAFETY, Report, new_run_id
from controller.storage import marks
from tests.kit.world import POSTGRES, TOKEN, World, serving
from tests.unit.api.test_restore_api import UNDER_WAY

DB = Key(project="shop", service="db")
Cli = Callable[..., tuple[int, str]]
"""Runs the program; gives its exit code, and what it printed."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, services={"db": POSTGRES, "web": POSTGRES})


@pytest.fixture
def cli(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    monkeypatch.setenv("SIDECAR_PATHS_WORKDIR", str(world.folder))
    monkeypatch.setenv("SIDECAR_CONFIG", str(world.folder / "nowhere"))

    def told(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["backup-sidecar", *arguments])
        capsys.readouterr()
        code = main()
        return code, "".join(capsys.readouterr())

    with serving(world):
        yield told


@pytest.fixture
def run(world: World, cli: Cli) -> Report:
    """A run in the store; what comes after it waits for `go`."""
    done = world.start(DB, "api").future.result(10)
    world.go.clear()
    return done


def test_a_suspicious_run_has_an_exit_code_of_its_own(world: World, cli: Cli) -> None:
    world.suspicious = ("shrunk: by much",)

    code, printed = cli("run", "shop/db")

    assert code == 3
    assert "suspicious: shrunk: by much" in printed
    world.suspicious = ()
    assert cli("run", "shop/db")[0] == 0


def test_plain_files_are_those_of_the_last_good_run_and_younger_ones_are_named(
    world: World, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.content = {"shop.pgdump": b"rows"}
    run = world.start(DB, "api").future.result(10)
    monkeypatch.setenv("SIDECAR_CONFIG", str(world.folder / "config"))
    monkeypatch.setenv("BACKUP_API_TOKEN", TOKEN)
    monkeypatch.setenv("SIDECAR_PATHS_ARTIFACTS", str(world.store.root))
    safety = world.jobs.start(DB, SAFETY).future.result(10)
    marks.keep(world.store, safety)
    world.suspicious = ("shrunk: by much",)
    odd = world.start(DB, "api").future.result(10)

    def restored() -> tuple[str, str]:
        code, printed = cli("restore", "shop/db", "--to-file", str(tmp_path / "plain"))
        assert code == 0, printed
        (folder,) = (tmp_path / "plain").iterdir()
        shutil.rmtree(folder)
        return folder.name, printed

    first, printed = restored()
    assert first == run.id
    assert f"run {odd.id} is younger and suspicious" in printed
    assert safety.id not in printed, "nobody expects a safety backup there"
    marks.write(world.store, DB, odd.id, "accepted", accepted=True)
    accepted, printed = restored()
    assert accepted == odd.id
    assert "younger" not in printed
    ahead = of_the_future(world)
    accepted, printed = restored()
    assert accepted == odd.id
    assert f"run {ahead} is younger and of the future" in printed


def of_the_future(world: World) -> str:
    """A run that was made while the clock was a day ahead; gives its id."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    report = Report(id=new_run_id(tomorrow), target=DB, state="succeeded", trigger="api", created=tomorrow)
    with world.store.draft(DB, report.id) as draft:
        for name, data in world.content.items():
            with draft.open(name) as file:
                file.write(data)
        draft.publish(world.manifest(report).model_copy(update={"started": tomorrow, "suspicious": ()}))
    return report.id


@pytest.mark.parametrize("command", ["run", "drill"])
def test_ctrl_c_cancels_what_a_command_waits_for(
    command: str, world: World, cli: Cli, run: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    queue: Any = world.jobs if command == "run" else world.drills
    report = queue.report

    def interrupting(name: str) -> Any:
        """Ctrl-C, once the command asks how far it is."""
        if not names:
            names.append(name)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return report(name)

    monkeypatch.setattr(queue, "report", interrupting)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli(command, "shop/db")[0] == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended(world, names[0]) == "cancelled"


def test_cancel_takes_the_id_of_a_run_and_of_a_drill(world: World, cli: Cli, run: Report) -> None:
    for activity in (world.drills.start(DB, "api"), world.start(DB, "api")):
        code, printed = cli("cancel", activity.id)
        assert (code, printed.split()) == (0, ["shop/db", activity.id, "cancelled"])
        assert ended(world, activity.id) == "cancelled"


def test_what_has_ended_or_nobody_knows_is_not_cancelled(world: World, cli: Cli, run: Report) -> None:
    world.catalog.put(UNDER_WAY.model_copy(update={"state": "succeeded"}))
    for name, words in ((run.id, "has ended: succeeded"), (UNDER_WAY.id, "Restore"), ("no such id", "no run, restore")):
        code, printed = cli("cancel", name)
        assert code == 1
        assert words in printed


def test_runs_drills_and_restores_are_listed_alike(world: World, cli: Cli, run: Report) -> None:
    drill = world.drills.start(DB, "api")
    world.catalog.put(UNDER_WAY)

    for command, name in (("runs", run.id), ("drills", drill.id), ("restores", UNDER_WAY.id)):
        assert [row["id"] for row in json.loads(cli(command, "--json")[1])] == [name]
        assert name in cli(command, "shop/db")[1]
        assert name not in cli(command, "shop/web")[1]
    assert "backup-sidecar targets" in cli("drills", "nonsense")[1]


def test_lists_that_are_longer_than_a_page_are_whole(
    world: World, cli: Cli, run: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.cli.activities.MOST_ON_A_PAGE", 2)
    world.go.set()
    runs = [run.id, *(world.start(DB, "api").future.result(10).id for _ in range(4))]
    assert [row["run"] for row in json.loads(cli("artifacts", "--json")[1])] == runs[::-1]
    assert len(json.loads(cli("runs", "--limit", "3", "--json")[1])) == 3


def ended(world: World, name: str) -> str:
    """The final state of a run or drill."""
    if activity := world.jobs.job(name) or world.drills.active(name):
        activity.future.result(10)
    known = {one.id: one.state for page in (world.catalog.runs(), world.drills.page()) for one in page}
    return known[name]
