"""Whether the clock is believed, what is said of it when it was set, and that a run of the future hides no other."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.app import checks
from controller.core.drill import Drill
from controller.core.errors import UnknownRun
from controller.core.key import Key
from controller.core.run import Report, new_run_id
from controller.restore.plan import RestoreOrder
from controller.upkeep.clock_watch import ClockWatch
from tests.kit.world import World

KEY = Key(project="shop", service="db")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR, DAY, MONTH = timedelta(hours=1), timedelta(days=1), timedelta(days=31)


class Clocked(World):
    """A world with two clocks, both set by the test: one for people, one that nobody can set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now, self.uptime = NOW, 0.0
        self.boot()

    def clock(self) -> datetime:
        return self.now

    def boot(self) -> None:
        self.clock_watch = ClockWatch(self.workdir, self.clock, lambda: self.uptime)

    def passes(self, time: timedelta, *, shown: timedelta | None = None) -> bool:
        """So much time, though the clock may show another; gives whether it is believed."""
        self.now += time if shown is None else shown
        self.uptime += time.total_seconds()
        return self.clock_watch.look()

    def run(self, when: datetime, **more: object) -> Report:
        """A stored run of that time."""
        report = Report(id=new_run_id(when), target=KEY, state="succeeded", trigger="api", created=when, started=when)
        self.catalog.put(report.model_copy(update=more))
        return report

    def told(self) -> list[tuple[str, str]]:
        return [(one.code, one.place) for one in checks.problems(self) if one.code in ("clock-jumped", "future-run")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Clocked]:
    world = Clocked(tmp_path)
    yield world
    world.close()


@pytest.mark.parametrize("shown", [MONTH, -MONTH, timedelta(minutes=-6), HOUR + timedelta(minutes=6)])
def test_a_clock_that_is_set_is_a_problem_until_it_has_gone_on_for_a_day(world: Clocked, shown: timedelta) -> None:
    world.passes(timedelta(0))
    assert world.passes(DAY)
    assert world.told() == []

    assert not world.passes(HOUR, shown=shown)
    assert world.told() == [("clock-jumped", "clock")]
    world.boot()
    assert not world.passes(23 * HOUR)
    assert world.told() == [("clock-jumped", "clock")]
    assert world.passes(HOUR)
    assert world.told() == []


def test_a_clock_that_is_corrected_or_a_host_that_slept_is_no_problem(world: Clocked) -> None:
    world.passes(timedelta(0))
    for shown in (HOUR + timedelta(minutes=4), HOUR - timedelta(minutes=4), HOUR):
        world.passes(HOUR, shown=shown)
    world.passes(3 * DAY)
    assert world.told() == []


def test_over_a_restart_only_the_way_back_is_a_jump(world: Clocked) -> None:
    world.passes(timedelta(0))
    world.boot()
    world.passes(timedelta(0), shown=5 * DAY)
    assert world.told() == []
    world.boot()
    assert not world.passes(timedelta(0), shown=-HOUR)
    assert world.told() == [("clock-jumped", "clock")]


def test_a_restart_between_two_notes_is_no_jump(world: Clocked) -> None:
    world.passes(timedelta(0))
    world.passes(50 * timedelta(minutes=1))
    world.boot()
    for _ in range(3):
        world.passes(timedelta(minutes=1))
    assert world.told() == []


def test_the_newest_good_run_is_the_newest_that_is_not_of_the_future(world: Clocked) -> None:
    older, newest = world.run(NOW - DAY), world.run(NOW)
    ahead = world.run(NOW + MONTH)
    assert world.catalog.last_good(KEY) == newest
    assert world.good(KEY) == [newest, older]
    assert world.catalog.last_begun(KEY) == newest
    assert world.planner._run(RestoreOrder(KEY)) == newest
    assert world.planner._passed_over(RestoreOrder(KEY), newest.id) == (
        f"passed-over: run {ahead.id} is younger and of the future; --run restores it",
    )
    assert list(world.catalog.begun_by(["api"], NOW - MONTH)) == [newest, older]
    assert world.drills._newest(KEY) == newest.id
    assert world.expectations.all()[0].good == newest
    assert world.catalog.future() == [ahead]
    assert world.told() == [("future-run", "target shop/db")]

    world.now = NOW + MONTH
    assert world.catalog.last_good(KEY) == ahead
    assert world.told() == []


def test_where_every_good_run_is_of_the_future_nobody_knows_how_fresh_the_target_is(world: Clocked) -> None:
    runs = [world.run(NOW + days * DAY) for days in (2, 1)]
    freshness = world.expectations.all()[0]
    assert (freshness.state, freshness.good) == ("unknown", None)
    assert "to come" in freshness.reason
    with pytest.raises(UnknownRun, match="2 of the future") as refused:
        world.planner._run(RestoreOrder(KEY))
    assert runs[0].id in refused.value.hint
    assert world.planner._run(RestoreOrder(KEY, run=runs[0].id)) == runs[0]
    assert world.catalog.has_good(KEY)


def test_one_problem_names_the_newest_of_a_target_and_how_many_there_are(world: Clocked) -> None:
    newest, *_ = [world.run(NOW + days * DAY) for days in (3, 2, 1)]
    (problem,) = [one for one in checks.problems(world) if one.code == "future-run"]
    assert newest.id in problem.message
    assert "2 more" in problem.message
    assert f"delete {newest.id}" in problem.hint


def test_a_drill_of_the_future_does_not_keep_the_next_one_from_being_due(world: Clocked) -> None:
    for when in (NOW - DAY, NOW + MONTH):
        world.catalog.put(
            Drill(id=new_run_id(when), target=KEY, run="r", state="passed", trigger="schedule", created=when)
        )
    assert world.catalog.last_drill(KEY).created == NOW - DAY


def test_what_was_read_in_the_future_is_read_again(world: Clocked) -> None:
    run = world.run(NOW - DAY, finished=NOW - DAY, verified=NOW + MONTH)
    assert world.catalog.longest_unproved(NOW - 30 * DAY).id == run.id
