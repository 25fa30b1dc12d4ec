"""Which run is rehearsed by itself, and when."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.core.drill import Drill
from controller.core.events import RunBegan
from controller.core.key import Key
from controller.upkeep.rehearsals import AGAIN, LARGEST_BYTES, PAUSE, ROOM, Rehearsals
from tests.kit.stage import eventually
from tests.kit.world import POSTGRES, World

KEY = Key(project="shop", service="db")


class Night:
    """A world with a good run, in the night after it; `now` moves as the test wants."""

    def __init__(self, world: World) -> None:
        self.world, self.busy, self.free, self.wanted = world, False, 1 << 40, True
        self.back_up()
        self.now = world.clock().replace(hour=3)

    def back_up(self) -> None:
        self.run = self.world.jobs.start(KEY, "cli").future.result(10)

    @property
    def rehearsals(self) -> Rehearsals:
        seen = SimpleNamespace(busy=lambda: self.busy, free=lambda: self.free, clock=lambda: self.now)
        parts = (self.world.drills, self.world.catalog, self.world.store, self.world.targets)
        return Rehearsals(*parts, wanted=self.wanted, **vars(seen))

    def drilled(self) -> list[Drill]:
        """What a look starts, once it has ended."""
        before = {drill.id for drill in self.drills()}
        self.rehearsals.look()
        eventually(lambda: not self.world.drills.busy)
        return [drill for drill in self.drills() if drill.id not in before]

    def drills(self) -> list[Drill]:
        return self.world.catalog.page(Drill, KEY)

    def says(self, drill: Drill, **changes: object) -> None:
        self.world.catalog.put(drill.model_copy(update=changes))


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    world = World(tmp_path)
    yield Night(world)
    world.close()


def test_the_first_good_run_is_rehearsed_once(night: Night) -> None:
    (drill,) = night.drilled()
    assert (drill.trigger, drill.run, drill.state) == ("auto", night.run.id, "passed")
    night.back_up()
    night.now += PAUSE
    night.says(drill, created=night.now - PAUSE - AGAIN)
    assert night.drilled() == []


@pytest.mark.parametrize("state", ["failed", "unsupported", "passed"])
@pytest.mark.parametrize("trigger", ["cli", "schedule"])
def test_what_somebody_else_has_rehearsed_is_known(night: Night, state: str, trigger: str) -> None:
    (drill,) = night.drilled()
    night.says(drill, trigger=trigger, state=state)
    assert night.drilled() == []


@pytest.mark.parametrize("change", ["structure", "image_id", "sidecar"])
def test_after_a_change_the_next_run_is_rehearsed_a_week_later_at_the_earliest(night: Night, change: str) -> None:
    (drill,) = night.drilled()
    world: Any = night.world
    world.manifest = lambda report, make=world.manifest: make(report).model_copy(update={change: "another one"})
    night.back_up()
    night.says(drill, created=night.now - PAUSE + timedelta(minutes=1))
    assert night.drilled() == []
    night.says(drill, created=night.now - PAUSE)
    assert [one.run for one in night.drilled()] == [night.run.id]


@pytest.mark.parametrize("state", ["cancelled", "interrupted"])
def test_one_that_was_cut_is_tried_again_an_hour_later(night: Night, state: str) -> None:
    (drill,) = night.drilled()
    night.says(drill, state=state, created=night.now - timedelta(minutes=59))
    assert night.drilled() == []
    night.says(drill, state=state, created=night.now - AGAIN)
    assert len(night.drilled()) == 1


@pytest.mark.parametrize(
    ("hour", "zone", "due"),
    [(0, "UTC", True), (5, "UTC", True), (6, "UTC", False), (23, "UTC", False), (16, "Asia/Tokyo", True)],
)
def test_it_is_night_where_the_target_is(night: Night, hour: int, zone: str, due: bool) -> None:
    night.world.services = {"db": POSTGRES | {"backup.timezone": zone}}
    night.now = datetime.now(UTC).replace(hour=hour)
    night.world.catalog.put(night.run.model_copy(update={"created": night.now - timedelta(hours=1)}))
    assert bool(night.drilled()) is due


def test_a_run_of_yesterday_is_not_rehearsed_any_more(night: Night) -> None:
    night.world.catalog.put(night.run.model_copy(update={"created": night.now - timedelta(days=1, minutes=1)}))
    assert night.drilled() == []


def test_no_room_no_leave_or_something_under_way_and_there_is_none(night: Night) -> None:
    size = sum(artifact.plain_size for artifact in night.run.artifacts)
    for change in ({"free": ROOM * size - 1}, {"busy": True}, {"wanted": False}):
        before = {name: getattr(night, name) for name in change}
        vars(night).update(change)
        assert night.drilled() == []
        vars(night).update(before)
    night.world.services = {"db": POSTGRES | {"backup.drill.auto": "false"}}
    assert night.drilled() == []
    night.world.services = {"db": POSTGRES}
    night.free = ROOM * size
    assert len(night.drilled()) == 1


def test_a_large_run_is_not_rehearsed_by_itself(night: Night) -> None:
    (artifact,) = night.run.artifacts
    for size, due in ((LARGEST_BYTES + 1, False), (LARGEST_BYTES, True)):
        large = artifact.model_copy(update={"plain_size": size})
        report = night.run.model_copy(update={"artifacts": (large,)})
        assert night.rehearsals._is_small(report) is due


def test_who_asks_for_the_same_meanwhile_gets_that_one(night: Night) -> None:
    night.world.go.clear()
    night.rehearsals.look()
    assert night.world.drills.start(KEY, "cli").id == night.drills()[0].id
    night.world.go.set()
    eventually(lambda: not night.world.drills.busy)
    assert len(night.drills()) == 1


def test_a_run_that_begins_ends_it_and_no_drill_that_somebody_wants(night: Night) -> None:
    night.world.go.clear()
    night.rehearsals.look()
    night.rehearsals.run_began(RunBegan(night.run))
    eventually(lambda: not night.world.drills.busy)
    (drill,) = night.drills()
    assert drill.state == "cancelled"
    wanted = night.world.drills.start(KEY, "cli")
    night.rehearsals.run_began(RunBegan(night.run))
    night.world.go.set()
    eventually(lambda: not night.world.drills.busy)
    assert night.world.drills.report(wanted.id).state == "passed"
