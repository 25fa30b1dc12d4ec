"""What is started, recorded and remembered as time goes by, with a clock of the test's own."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from loguru import logger

from config.loading import load
from controller.core.errors import Busy, SidecarError, Stopping, TargetGone
from controller.core.events import RunEnded
from controller.core.key import Key
from controller.core.run import Report
from controller.targets.discovery import find
from controller.targets.scope import Scope
from controller.targets.target import Target
from controller.upkeep.scheduler import FILE, Scheduler
from strategies import discover
from tests.kit.world import POSTGRES, listed

KEY = Key(project="shop", service="db")
NIGHTLY = POSTGRES | {"backup.schedule": "0 3 * * *"}


class Nights:
    """A scheduler, what it asks for, and the answers it gets."""

    def __init__(self, folder: Path, labels: dict[str, str] | None = None, *, orchestrated: bool = False) -> None:
        (folder / "config").mkdir(exist_ok=True)
        self.loaded = load(folder / "config", {"BACKUP_API_TOKEN": "0123456789abcdef"}, discover().keys())
        self.folder, self.orchestrated = folder, orchestrated
        self.now = datetime(2026, 5, 1, 12, tzinfo=UTC)
        self.started: list[datetime] = []
        self.missed: list[Report] = []
        self.error: SidecarError | None = None
        self.targets = self.found(NIGHTLY if labels is None else labels)
        self.restart()

    def found(self, labels: dict[str, str]) -> list[Target]:
        return list(
            find(self.loaded, Scope(frozenset({"n1"}), None, None), [listed("db", labels)], discover()).values()
        )

    def restart(self) -> None:
        self.scheduler = Scheduler(
            lambda: self.targets,
            self.start,
            self.record,
            self.folder,
            orchestrated=lambda: self.orchestrated,
            clock=lambda: self.now,
        )

    def record(self, report: Report) -> None:
        """As the queue does, of whose events the scheduler hears."""
        self.missed.append(report)
        self.scheduler.run_ended(RunEnded(report))

    def start(self, key: Key, trigger: str) -> None:
        assert (key, trigger) == (KEY, "schedule")
        if self.error:
            raise self.error
        self.started.append(self.now)

    def at(self, text: str) -> "Nights":
        """Look at a moment of May 2026: `02 03:00`."""
        self.now = datetime.strptime(f"2026-05-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        self.scheduler.look()
        return self

    @property
    def due(self) -> datetime | None:
        (target,) = self.targets
        return self.scheduler.next_due(target)

    @property
    def reasons(self) -> list[tuple[str, str | None]]:
        return [(f"{one.created:%d %H:%M}", one.failure and one.failure.code) for one in self.missed]


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path).at("01 12:00")


def test_a_night_is_started_once_however_often_one_looks(nights: Nights) -> None:
    begin = datetime(2026, 5, 2, 2, 58, tzinfo=UTC)
    for second in range(0, 300, 7):
        nights.now = begin + timedelta(seconds=second)
        nights.scheduler.look()
    assert [f"{one:%H:%M}" for one in nights.started] == ["03:00"]
    assert nights.missed == []
    assert nights.due == datetime(2026, 5, 3, 3, tzinfo=UTC)


def test_a_restart_repeats_no_night_and_owes_none(nights: Nights) -> None:
    nights.at("02 03:00").restart()
    nights.at("02 03:00").at("02 04:00")
    assert (len(nights.started), nights.missed) == (1, [])


def test_nights_without_a_sidecar_are_recorded_and_caught_up_once(nights: Nights) -> None:
    nights.at("02 03:00").restart()
    nights.at("05 09:00").at("05 09:01")
    assert nights.reasons == [("03 03:00", "missed"), ("04 03:00", "missed"), ("05 03:00", "missed")]
    assert [f"{one:%d %H:%M}" for one in nights.started] == ["02 03:00", "05 09:00"]
    assert {one.state for one in nights.missed} == {"missed"}
    assert [one.id[:16] for one in nights.missed] == ["20260503T030000Z", "20260504T030000Z", "20260505T030000Z"]


def test_without_catch_up_they_are_recorded_only(tmp_path: Path) -> None:
    nights = Nights(tmp_path, NIGHTLY | {"backup.catch-up": "false"}).at("01 12:00")
    nights.restart()
    nights.at("03 09:00").at("04 03:00")
    assert [day for day, _ in nights.reasons] == ["02 03:00", "03 03:00"]
    assert [f"{one:%d}" for one in nights.started] == ["04"]


def test_a_missed_run_has_one_id_for_ever(nights: Nights) -> None:
    state = (nights.folder / FILE).read_bytes()
    nights.at("02 09:00")
    (nights.folder / FILE).write_bytes(state)  # As if it had died before it wrote.
    nights.restart()
    nights.at("02 09:01")
    first, second = nights.missed
    assert first.id == second.id


def test_a_due_time_while_a_run_is_under_way_is_missed_and_not_caught_up(nights: Nights) -> None:
    nights.error = Busy("shop/db has run x under way", run="x", hint="Wait.")
    nights.at("02 03:00")
    nights.error = None
    nights.at("02 03:01").at("02 12:00")
    assert nights.reasons == [("02 03:00", "run-in-progress")]
    assert nights.started == []


def test_a_target_that_was_stopped_at_night_is_caught_up_when_it_is_back(nights: Nights) -> None:
    nights.error = TargetGone("shop/db has no running container", hint="Start it.")
    nights.at("02 03:00").at("02 03:01")
    nights.restart()
    nights.at("02 07:00")
    nights.error = None
    nights.at("02 08:00").at("02 08:01")
    assert nights.reasons == [("02 03:00", "target-gone")]
    assert [f"{one:%H:%M}" for one in nights.started] == ["08:00"]


def test_a_run_that_is_owed_goes_by_when_the_next_is_due(nights: Nights) -> None:
    nights.error = TargetGone("gone")
    nights.at("02 03:00")
    nights.error = None
    nights.targets, here = [], nights.targets
    nights.at("02 08:00")
    nights.targets = here
    nights.at("03 03:00").at("03 04:00")
    assert [f"{one:%d %H:%M}" for one in nights.started] == ["03 03:00"]


@pytest.mark.parametrize(
    ("trigger", "catch_up", "again"), [("schedule", "true", True), ("schedule", "false", False), ("cli", "true", False)]
)
def test_a_run_by_schedule_that_ended_with_the_sidecar_is_caught_up(
    tmp_path: Path, trigger: str, catch_up: str, *, again: bool
) -> None:
    nights = Nights(tmp_path, NIGHTLY | {"backup.catch-up": catch_up}).at("01 12:00").at("02 03:00")
    cut = Report(id="20260502T030000Z-00000000", target=KEY, state="cancelled", trigger=trigger, created=nights.now)
    nights.scheduler.run_ended(RunEnded(cut, cut=True))
    nights.restart()
    nights.at("02 03:10").at("02 03:11")
    assert [f"{one:%H:%M}" for one in nights.started] == ["03:00", *(["03:10"] if again else [])]


def test_a_sidecar_that_is_stopping_decides_nothing(nights: Nights) -> None:
    nights.error = Stopping("the sidecar is shutting down")
    nights.at("02 03:00")
    nights.error = None
    nights.restart()
    nights.at("02 03:01")
    assert ([f"{one:%H:%M}" for one in nights.started], nights.missed) == (["03:01"], [])


def test_a_target_that_leaves_the_list_and_comes_back_has_missed_its_nights(nights: Nights) -> None:
    nights.targets, here = [], nights.targets
    nights.at("03 09:00")
    nights.targets = here
    nights.at("03 10:00")
    assert [day for day, _ in nights.reasons] == ["02 03:00", "03 03:00"]
    assert [f"{one:%d %H:%M}" for one in nights.started] == ["03 10:00"]


def test_a_target_that_was_away_for_months_counts_as_new(nights: Nights) -> None:
    nights.targets, here = [], nights.targets
    nights.now += timedelta(days=100)
    nights.scheduler.look()
    nights.targets = here
    nights.now += timedelta(days=1)
    nights.scheduler.look()
    assert (nights.started, nights.missed) == ([], [])


@pytest.mark.parametrize(
    "make",
    [
        lambda nights: nights.found({**NIGHTLY, "backup.schedule": "none"}),
        lambda nights: nights.found({**NIGHTLY, "backup.timeout": "10"}),
        lambda nights: nights.found({**NIGHTLY, "backup.enable": "false"}),
        lambda nights: [replace(one, state="replica") for one in nights.targets],
    ],
    ids=["schedule none", "broken label", "disabled", "replica"],
)
def test_what_has_no_schedule_is_never_due(nights: Nights, make: Callable[[Nights], list[Target]]) -> None:
    nights.targets = make(nights)
    nights.at("02 03:00").at("03 03:00")
    assert (nights.started, nights.missed, nights.due) == ([], [], None)


def test_a_due_time_is_known_before_anybody_has_looked(tmp_path: Path) -> None:
    assert Nights(tmp_path).due == datetime(2026, 5, 2, 3, tzinfo=UTC)


def test_a_due_time_that_was_decided_ahead_of_a_clock_that_went_back_does_not_come_again(nights: Nights) -> None:
    nights.at("02 03:00")
    nights.now = datetime(2026, 5, 2, 2, 59, 30, tzinfo=UTC)
    assert nights.due == datetime(2026, 5, 3, 3, tzinfo=UTC)


@pytest.mark.parametrize(("orchestrated", "nightly"), [(False, True), (True, False)])
def test_unset_is_nightly_unless_an_orchestrator_says_when(
    tmp_path: Path, *, orchestrated: bool, nightly: bool
) -> None:
    nights = Nights(tmp_path, POSTGRES, orchestrated=orchestrated).at("01 12:00")
    due = nights.due
    assert (due is not None) is nightly
    assert due is None or (due.day, due.hour < 5) == (2, True)


def test_a_changed_schedule_takes_effect_at_the_next_look(nights: Nights) -> None:
    nights.targets = nights.found({**NIGHTLY, "backup.schedule": "0 15 * * *", "backup.timezone": "Europe/Madrid"})
    nights.at("01 12:01")
    assert nights.due == datetime(2026, 5, 1, 13, tzinfo=UTC)
    nights.at("01 13:00")
    assert (len(nights.started), nights.missed) == (1, [])


@pytest.mark.parametrize("hours", [18, 23, 30])
def test_a_clock_that_goes_some_hours_ahead_and_back_skips_no_night(nights: Nights, hours: int) -> None:
    nights.at("02 03:00").at("02 10:00")
    nights.now += timedelta(hours=hours)
    nights.scheduler.look()
    nights.at("02 10:05").at("03 02:59").at("03 03:00").at("03 03:01").at("04 03:00")
    assert [f"{one:%d %H:%M}" for one in nights.started if one.hour == 3] == ["02 03:00", "03 03:00", "04 03:00"]


def test_a_clock_that_goes_a_month_ahead_and_back_makes_no_storm(nights: Nights) -> None:
    nights.at("02 03:00")
    nights.now += timedelta(days=31)
    nights.scheduler.look()
    nights.at("02 03:05").at("02 03:06").at("03 03:00").at("03 03:01")
    assert [f"{one:%m-%d %H:%M}" for one in nights.started] == ["05-02 03:00", "06-02 03:00", "05-03 03:00"]


@pytest.mark.parametrize(
    "broken",
    ["", "[]", "{", '{"targets": []}', '{"targets": {"shop/db": {"rule": "x", "decided": "now", "owed": null}}}'],
)
def test_a_journal_that_cannot_be_read_is_told_and_does_not_stop_the_nights(nights: Nights, broken: str) -> None:
    (nights.folder / FILE).write_text(broken)
    told: list[str] = []
    sink = logger.add(lambda message: told.append(message.record["message"]))
    nights.restart()
    logger.remove(sink)
    nights.at("02 02:00").at("02 03:00")
    assert len(nights.started) == 1
    assert told


def test_a_disk_that_takes_nothing_does_not_stop_the_nights(nights: Nights, tmp_path: Path) -> None:
    (tmp_path / (FILE + ".partial")).mkdir()
    nights.at("02 03:00").at("02 03:01").at("03 03:00")
    assert len(nights.started) == 2
    (tmp_path / (FILE + ".partial")).rmdir()
    nights.at("03 03:01")
    assert json.loads((tmp_path / FILE).read_text())["targets"]["shop/db"]["decided"] == "2026-05-03T03:00:00.000Z"
