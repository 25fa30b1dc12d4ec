"""An orchestrator that never comes does not keep backups from being made; one that comes says again when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.app import checks
from controller.core.events import RunBegan
from controller.core.key import Key
from controller.core.run import Report
from controller.upkeep.attendance import FILE, Attendance
from tests.kit.world import POSTGRES, World

KEY = Key(project="shop", service="db")
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OWN = POSTGRES | {"backup.schedule": "0 3 * * *"}


class Watched(World):
    """A world with an orchestrator, at the test's own clock."""

    now = START

    def __init__(self, folder: Path, patience: str = "26h", **services: dict[str, str]) -> None:
        self.url = "http://orchestrator:5550"
        super().__init__(folder, config=self.words(patience), services=services or {"db": POSTGRES})
        self.restart()

    def words(self, patience: str) -> str:
        return f"orchestrator: {{url: '{self.url}', key: {{secret: ORCHESTRATOR_KEY}}, patience: {patience}}}"

    def clock(self) -> datetime:
        return self.now

    def restart(self) -> None:
        self.attendance = Attendance(
            lambda: self.loaded.settings.orchestrator, self.catalog, self.workdir, clock=self.clock
        )

    def after(self, hours: float) -> "Watched":
        self.now += hours * HOUR
        self.attendance.look()
        return self

    def began(self, trigger: str, *, hears: bool = True) -> None:
        run = f"{self.now:%Y%m%dT%H%M%SZ}-0a1b2c3d"
        report = Report(id=run, target=KEY, state="running", trigger=trigger, created=self.now)
        self.catalog.put(report)
        if hears:
            self.attendance.run_began(RunBegan(report))

    @property
    def due(self) -> datetime | None:
        return self.scheduler.next_due(self.targets()[0])

    @property
    def codes(self) -> list[str]:
        return [problem.code for problem in checks.problems(self)]


def test_one_that_never_comes_leaves_the_nightly_default_and_a_red_verdict(tmp_path: Path, logged: list[str]) -> None:
    world = Watched(tmp_path).after(26)
    assert (world.due, world.attendance.promise) == (None, 36 * HOUR)
    assert "orchestrator-absent" not in world.codes

    world.after(0.1)

    assert world.due is not None
    assert world.due.hour < 5
    assert world.attendance.promise is None
    (problem,) = (one for one in checks.problems(world) if one.code == "orchestrator-absent")
    assert problem.severity == "error"
    assert "orchestrator.patience: 8d" in problem.hint
    assert "once a night" in problem.message
    world.after(1)
    assert [line.split()[0] for line in logged] == ["ERROR"]


@pytest.mark.parametrize(("trigger", "comes"), [("export", True), ("api", True), ("cli", False), ("schedule", False)])
def test_what_it_begins_counts_and_what_others_begin_does_not(
    trigger: str, *, comes: bool, tmp_path: Path, logged: list[str]
) -> None:
    world = Watched(tmp_path).after(30)
    world.began(trigger)
    world.after(1)
    assert world.attendance.is_awaited is comes
    assert ("orchestrator-absent" not in world.codes) is comes
    assert [line.split()[0] for line in logged] == ["ERROR", *["INFO"] * comes]


def test_a_restart_gives_it_no_new_time_and_takes_none_away(tmp_path: Path) -> None:
    world = Watched(tmp_path).after(20)
    world.restart()
    assert not world.after(7).attendance.is_awaited

    world.began("export", hears=False)
    world.after(25).restart()
    assert world.attendance.is_awaited
    world.after(2).restart()
    assert not world.attendance.is_awaited


def test_one_that_comes_weekly_is_waited_for_and_promises_a_week(tmp_path: Path) -> None:
    world = Watched(tmp_path, "8d").after(7 * 24)
    assert (world.due, world.attendance.promise) == (None, timedelta(days=8))


def test_another_orchestrator_has_a_time_of_its_own(tmp_path: Path) -> None:
    world = Watched(tmp_path).after(30)
    world.url = "http://other:5550"
    world.configure(world.words("26h"))
    world.restart()
    assert world.attendance.is_awaited


def test_targets_with_a_schedule_of_their_own_need_no_orchestrator(tmp_path: Path) -> None:
    world = Watched(tmp_path, db=OWN).after(100)
    assert "orchestrator-absent" not in world.codes


def test_without_an_orchestrator_nobody_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert not world.attendance.is_awaited
    assert world.attendance.promise is None
    assert not (world.workdir / FILE).exists()


def test_a_clock_that_was_ahead_and_went_back_does_not_hide_that_nobody_comes(tmp_path: Path) -> None:
    world = Watched(tmp_path).after(1000)
    world.began("export")
    world.after(1).now = START + HOUR
    world.restart()
    assert not world.after(30).attendance.is_awaited


@pytest.mark.parametrize("broken", ["", "[]", '{"url": 7}'])
def test_a_fact_that_cannot_be_read_begins_anew(broken: str, tmp_path: Path) -> None:
    world = Watched(tmp_path).after(30)
    (world.workdir / FILE).write_text(broken)
    world.restart()
    assert world.attendance.is_awaited
