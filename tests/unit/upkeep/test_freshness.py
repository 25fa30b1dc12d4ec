"""How old is too old: by a schedule, by an age, by neither; and what is remembered of targets that are gone."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from config.target import TargetSettings
from controller.core.key import Key
from controller.core.run import Report
from controller.upkeep.expectations import Expectations, Written
from controller.upkeep.freshness import FreshnessState, Promise, ago, judge
from controller.upkeep.schedule import Rule
from tests.kit.world import POSTGRES, World

KEY = Key(project="shop", service="db")
NIGHTLY = Promise(Rule("0 3 * * *", "UTC"))
TODAY = datetime(2026, 3, 10, 3, tzinfo=UTC)
"""When it was due last."""
HOUR = timedelta(hours=1)


def good(when: datetime, **more: object) -> Report:
    run = f"{when:%Y%m%dT%H%M%SZ}-0a1b2c3d"
    found = Report(id=run, target=KEY, state="succeeded", trigger="schedule", created=when, finished=when, size=5)
    return found.model_copy(update=more)


@pytest.mark.parametrize(
    ("last", "now", "state"),
    [
        (TODAY, TODAY + HOUR, "fresh"),
        (TODAY - 24 * HOUR, TODAY - HOUR, "fresh"),
        (TODAY - 24 * HOUR, TODAY + timedelta(seconds=59), "fresh"),
        (TODAY - 24 * HOUR, TODAY + timedelta(seconds=61), "late"),
        (TODAY - 5 * HOUR, TODAY + HOUR, "late"),
        (TODAY - 24 * HOUR, TODAY + 23 * HOUR, "late"),
        (TODAY - 24 * HOUR, TODAY + 25 * HOUR, "stale"),
        (TODAY + 3 * HOUR, TODAY + HOUR, "unknown"),
    ],
)
def test_a_schedule_is_kept_until_a_due_time_has_passed(last: datetime, now: datetime, state: FreshnessState) -> None:
    assert judge(NIGHTLY, good(last), now, under_way=False)[0] == state


def test_a_run_under_way_is_no_delay_until_its_time_is_over() -> None:
    last = good(TODAY - 24 * HOUR)

    assert judge(NIGHTLY, last, TODAY + HOUR / 2, under_way=True)[0] == "fresh"
    assert judge(NIGHTLY, last, TODAY + 2 * HOUR, under_way=True)[0] == "late"


@pytest.mark.parametrize(
    ("promise", "hours", "state"),
    [
        (Promise(max_age=6 * HOUR), 5, "fresh"),
        (Promise(max_age=6 * HOUR), 7, "stale"),
        (Promise(NIGHTLY.rule, max_age=6 * HOUR), 7, "stale"),
        (Promise(), 100_000, "unpromised"),
        (None, 1, "unknown"),
    ],
)
def test_without_a_schedule_the_age_decides_and_without_both_nothing_is_promised(
    promise: Promise | None, hours: int, state: FreshnessState
) -> None:
    assert judge(promise, good(TODAY), TODAY + hours * HOUR, under_way=False)[0] == state


@pytest.mark.parametrize("promise", [NIGHTLY, Promise(max_age=HOUR), None])
def test_without_a_good_run_it_is_never(promise: Promise | None) -> None:
    assert judge(promise, None, TODAY, under_way=True) == ("never", "there is no good run")


def test_what_promises_nothing_is_named_also_without_a_good_run() -> None:
    state, reason = judge(Promise(), None, TODAY, under_way=False)
    assert state == "unpromised"
    assert "there is no good run" in reason


@pytest.mark.parametrize(
    ("settings", "orchestrated", "promised"),
    [
        ({}, timedelta(hours=36), (None, timedelta(hours=36))),
        ({"expect": {"max-age": "5h"}}, timedelta(hours=36), (None, timedelta(hours=5))),
        ({"schedule": "none"}, timedelta(hours=36), (None, None)),
        ({"schedule": "0 3 * * *"}, timedelta(hours=36), ("0 3 * * *", None)),
        ({"schedule": "none"}, None, (None, None)),
    ],
)
def test_where_an_orchestrator_says_when_an_age_is_promised_and_an_explicit_none_promises_nothing(
    settings: dict[str, object], orchestrated: timedelta | None, promised: tuple[str | None, timedelta | None]
) -> None:
    promise = Promise.of(KEY, TargetSettings.model_validate(settings), orchestrated=orchestrated)
    assert (promise.rule and promise.rule.cron, promise.max_age) == promised


@given(some.integers(0, 400), some.integers(0, 400))
def test_what_is_not_fresh_does_not_become_fresh_by_waiting(first: int, more: int) -> None:
    order = ["fresh", "late", "stale"]
    last = good(TODAY)
    states = [judge(NIGHTLY, last, TODAY + hours * HOUR, under_way=False)[0] for hours in (first, first + more)]

    assert order.index(states[0]) <= order.index(states[1])


def test_a_promise_is_read_as_it_was_written() -> None:
    promise = Promise(NIGHTLY.rule, 6 * HOUR, 2 * HOUR)
    written = Written.of(promise).model_dump_json()
    assert json.loads(written) == {"cron": "0 3 * * *", "zone": "UTC", "max_age": 21600.0, "timeout": 7200.0}
    assert Written.model_validate_json(written, strict=True).promise() == promise


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59, "59s"), (3725, "1h2m"), (90_061, "1d1h"), (60, "1m")])
def test_an_age_is_told_in_its_two_largest_units(seconds: int, text: str) -> None:
    assert ago(timedelta(seconds=seconds)) == text


# --- what is remembered ---------------------------------------------------------------------------------------------


class Watched(World):
    """A world whose clock is the test's, with one target that is due every night at 3."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, services={"db": POSTGRES | {"backup.schedule": "0 3 * * *"}})
        self.now = TODAY + HOUR
        self.restart()

    def clock(self) -> datetime:
        return self.now

    def restart(self) -> None:
        self.expectations = Expectations(
            self.targets,
            self.catalog,
            self.jobs,
            self.folder / "work",
            orchestrated=lambda: None,
            clock=self.clock,
        )

    def states(self) -> dict[str, FreshnessState]:
        return {str(one.key): one.state for one in self.expectations.all()}


def test_a_target_that_vanished_stays_visible_and_goes_stale_also_after_a_restart(tmp_path: Path) -> None:
    world = Watched(tmp_path)
    world.catalog.put(good(TODAY))
    world.expectations.look()
    assert world.states() == {"shop/db": "fresh"}

    world.services = {}
    world.restart()
    world.expectations.look()
    world.now += 48 * HOUR

    found = world.expectations.all()[0]
    assert (found.state, found.present) == ("stale", False)
    assert "container is gone" in found.reason


def test_a_target_that_opted_out_is_let_go(tmp_path: Path) -> None:
    world = Watched(tmp_path)
    world.catalog.put(good(TODAY))
    world.expectations.look()

    world.services = {"db": POSTGRES | {"backup.enable": "false"}}
    world.expectations.look()
    world.services = {}

    assert world.states() == {}


def test_a_target_whose_labels_broke_is_held_to_what_it_promised_before(tmp_path: Path) -> None:
    world = Watched(tmp_path)
    world.catalog.put(good(TODAY))
    world.expectations.look()

    world.services = {"db": POSTGRES | {"backup.timeout": "10"}}
    world.expectations.look()
    world.now += 48 * HOUR

    assert world.states() == {"shop/db": "stale"}


def test_a_spoilt_journal_of_promises_does_not_keep_from_starting(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "promises.json").write_text('{"targets": {"shop/db": {"cron": 7}}}')
    world = Watched(tmp_path)
    world.expectations.look()

    assert world.states() == {"shop/db": "never"}
