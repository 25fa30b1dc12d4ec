"""What is given up for a run that would not fit, on a real store whose disk is as small as the test says."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as some

from controller.core.errors import StoreFull
from controller.core.key import Key
from controller.core.run import Report
from controller.storage import disk
from controller.storage.room import CATALOG_BYTES, room_for
from tests.kit.world import POSTGRES
from tests.unit.upkeep.test_pruner import NOW, History, ids

SIZE = 100_000
NIGHT = NOW.replace(hour=3)


class Disk:
    """As large as somebody says; `room` is how many more runs fit."""

    def __init__(self, patch: pytest.MonkeyPatch, history: History) -> None:
        self.history, self.total = history, 1 << 40
        patch.setattr(disk, "free", lambda _: max(self.total - self.used, 0))
        history.content = {"plain": bytes(SIZE)}

    @property
    def used(self) -> int:
        return sum(path.stat().st_size for path in self.history.store.root.rglob("plain"))

    def leave(self, runs: int) -> None:
        self.total = self.used + runs * room_for(SIZE)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Whose clock is trusted."""
    history = History(tmp_path, POSTGRES, nights=0)
    for days in (1, 0):
        history.now = NOW - timedelta(days=days)
        history.pruner.look()
    return history


@pytest.fixture
def small(history: History, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch, history)


def made(history: History, *minutes: int, trigger: str = "cli") -> list[Report]:
    """Runs so many minutes after the newest night, in their order."""
    return [history.past(NIGHT + timedelta(minutes=each), trigger=trigger) for each in minutes]


def twice(history: History, days: int) -> Report:
    """Of two runs of a night so many days ago the one that no rule keeps."""
    history.past(NIGHT - timedelta(days=days))
    return history.past(NIGHT - timedelta(days=days, hours=1))


def test_what_a_rule_had_deleted_goes_for_the_next_run_and_the_oldest_first(history: History, small: Disk) -> None:
    old, older = (twice(history, days) for days in (60, 90))
    history.past(NIGHT)
    before = history.on_disk
    history.pruner.prune(history.targets()[0])
    assert history.deleted == ids(old, older)
    small.leave(0)
    assert history.store.free() == 2 * SIZE
    (next_run,) = made(history, 1)
    assert history.deleted == []  # Two of them, since a run may take a little more than the last one.
    assert history.on_disk == [next_run.id, *(run for run in before if run not in ids(old, older))]
    assert history.catalog.get(older.id).cause.endswith("keeps it")


def test_nothing_is_given_up_where_it_would_not_be_enough(history: History, small: Disk) -> None:
    deleted = twice(history, 60)
    history.past(NIGHT)
    history.pruner.prune(history.targets()[0])
    small.leave(0)
    with pytest.raises(StoreFull, match="no room for a run"):
        made(history, 1)
    assert history.deleted == ids(deleted)
    assert len(history.on_disk) == 2


def test_then_goes_what_only_keep_within_keeps_but_no_newest_of_a_day_nor_the_newest_three(
    history: History, small: Disk
) -> None:
    night = history.past(NIGHT)
    today = made(history, 1, 2, 3, 4, 5, 6)
    small.leave(0)
    (first,) = made(history, 7)
    assert history.on_disk == ids(first, *today[:1:-1], night)  # The oldest two.
    assert history.catalog.get(today[0].id).cause == "room for the next run of shop/db"
    small.leave(0)
    (second,) = made(history, 8)
    assert history.on_disk == ids(second, first, *today[:3:-1], night)
    small.leave(0)
    with pytest.raises(StoreFull):
        made(history, 9)
    assert history.on_disk == ids(second, first, *today[:3:-1], night)


OTHER = Key(project="shop", service="web")


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_grows_beyond_its_last_one_takes_no_room_that_others_need(
    first: bool, history: History, small: Disk
) -> None:
    history.services["web"] = POSTGRES
    history.past(NIGHT, OTHER)
    history.past(NIGHT + timedelta(minutes=1), OTHER)
    if not first:
        history.past(NIGHT)
    small.total = small.used + 4 * SIZE + CATALOG_BYTES
    history.content = {"plain": bytes(2 * SIZE)}
    made(history, 2)

    history.content = {"plain": bytes(4 * SIZE)}
    with pytest.raises(StoreFull, match=rf"what is left is what other targets need .* \({room_for(SIZE)} bytes\)"):
        made(history, 3)
    assert len(history.on_disk) == (3 if first else 4), "nothing of it is left"


def test_a_run_as_large_as_the_last_one_may_take_what_is_left(history: History, small: Disk) -> None:
    history.services["web"] = POSTGRES
    history.past(NIGHT, OTHER)
    history.past(NIGHT)
    small.leave(1)
    assert made(history, 1)


def test_the_runs_of_a_target_take_no_more_than_the_policy_allows(history: History, small: Disk) -> None:
    policy = history.loaded.settings.policy.model_copy(update={"max_store_per_target": room_for(SIZE) + 5 * SIZE})
    settings = history.loaded.settings.model_copy(update={"policy": policy})
    history.loaded = replace(history.loaded, settings=settings)
    night = history.past(NIGHT)
    today = made(history, 1, 2, 3, 4, 5, 6)
    assert history.on_disk == ids(*today[:0:-1], night), "what only keep-within keeps goes first"
    history.content = {"plain": bytes(3 * SIZE)}
    with pytest.raises(StoreFull, match=r"policy\.max-store-per-target leaves it"):
        made(history, 7)


def limited(history: History, runs: int) -> None:
    """Let each target have so many runs, and the room that one may need beside them."""
    policy = history.loaded.settings.policy.model_copy(
        update={"max_store_per_target": room_for(SIZE) + (runs - 1) * SIZE}
    )
    settings = history.loaded.settings.model_copy(update={"policy": policy})
    history.loaded = replace(history.loaded, settings=settings)


def test_what_others_had_deleted_is_not_given_up_where_the_policy_is_in_the_way(history: History, small: Disk) -> None:
    history.services["web"] = POSTGRES
    deleted = twice(history, 60)
    history.past(NIGHT)
    history.pruner.prune(history.targets()[0])
    assert history.deleted == ids(deleted)
    limited(history, 7)
    first, *others = [history.past(NIGHT + timedelta(minutes=each), OTHER) for each in range(7)]

    history.past(NIGHT + timedelta(minutes=7), OTHER)
    assert history.deleted == ids(deleted), "the disk has room, so that it would help nobody"
    assert [run.id for run in (first, *others) if history.catalog.get(run.id).pruned] == ids(first)

    limited(history, 2)
    with pytest.raises(StoreFull, match=r"policy\.max-store-per-target leaves it"):
        history.past(NIGHT + timedelta(minutes=8), OTHER)
    assert history.deleted == ids(deleted)
    assert not [run for run in others if history.catalog.get(run.id).pruned], "it would not be enough"


def test_pinned_runs_safety_backups_and_what_a_person_deleted_are_never_given_up(history: History, small: Disk) -> None:
    night = history.past(NIGHT)
    pinned, deleted, *rest = made(history, 1, 2, 6, 7, 8)
    saved = made(history, 3, 4, 5, 9, trigger="restore")
    history.pruner.pin(pinned, "")
    history.pruner.delete(deleted)
    small.leave(0)
    with pytest.raises(StoreFull):
        made(history, 10)
    assert history.deleted == ids(deleted)
    assert set(history.on_disk) == set(ids(night, pinned, *rest, *saved))
    assert history.store.free() == 0


def test_what_was_deleted_for_a_cause_that_got_lost_is_never_given_up(history: History, small: Disk) -> None:
    """As on a full disk, which takes no mark: the catalog is made anew without it."""
    first, _ = made(history, 1, 2)
    history.pruner.delete(first)
    history.catalog.amend(first.id, cause="")
    small.leave(0)

    assert history.store.free() == 0
    with pytest.raises(StoreFull):
        made(history, 3)
    assert history.deleted == [first.id]


def test_a_safety_backup_that_only_keep_within_keeps_is_not_given_up_either(history: History, small: Disk) -> None:
    history.configure("policy: {safety: 1s}")
    history.past(NIGHT)
    made(history, *range(1, 9), trigger="restore")
    small.leave(0)
    with pytest.raises(StoreFull):
        made(history, 9)
    assert len(history.on_disk) == 9


def test_no_run_that_is_stored_goes_while_one_that_a_rule_had_deleted_is_there(history: History, small: Disk) -> None:
    twice(history, 60), twice(history, 90)
    history.past(NIGHT)
    today = made(history, 1, 2, 3, 4, 5, 6)
    history.pruner.prune(history.targets()[0])
    assert len(history.deleted) == 2
    small.leave(0)
    made(history, 7)
    assert history.deleted == []
    assert set(ids(*today)) < set(history.on_disk)


def test_no_run_of_another_target_is_given_up(history: History, small: Disk) -> None:
    history.services["web"] = POSTGRES
    history.past(NIGHT)
    made(history, *range(1, 9))
    web = Key(project="shop", service="web")
    history.past(NIGHT, web)
    small.leave(0)
    with pytest.raises(StoreFull):
        history.past(NIGHT + timedelta(days=1), web)
    assert len(history.on_disk) == 10


# --- the law

WHO = ("schedule", "cli", "api", "export", "restore")
steps = some.lists(some.tuples(some.sampled_from((*WHO, "look", "prune")), some.integers(1, 300)), max_size=30)
rooms = some.none() | some.integers(0, 8)


@given(steps, rooms)
def test_no_sequence_of_runs_restores_and_prunes_within_two_days_deletes_a_good_run_but_for_room(
    sequence: Sequence[tuple[str, int]], room: int | None
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        history = History(Path(folder), POSTGRES, nights=0)
        small, runs = Disk(patch, history), [history.past(NOW)]
        if room is not None:
            small.leave(room)
        for trigger, minutes in sequence:
            if history.now + timedelta(minutes=minutes) > NOW + timedelta(days=2):
                break
            history.now += timedelta(minutes=minutes)
            may_go = spare_by_the_words(history, runs)
            if trigger in WHO:
                try:
                    runs.append(history.past(history.now, trigger=trigger))
                except StoreFull:
                    assert room is not None
            history.pruner.prune(history.targets()[0]) if trigger == "prune" else history.pruner.look()
            left = set(history.on_disk)
            gone = [run for run in runs if run.id not in left]
            runs = [run for run in runs if run.id in left]
            assert gone == may_go[: len(gone)]
            assert room is not None or not gone
        assert history.deleted == []


def spare_by_the_words(history: History, runs: Sequence[Report]) -> list[Report]:
    """Which runs may be given up, in their order: by no rule but keep-within, no newest of a day, no newest three."""
    ours = [run for run in runs if run.trigger != "restore"]
    days = {run.time.date() for run in ours}
    weeks = {run.time.isocalendar()[:2] for run in ours}
    periods = [[run for run in ours if run.time.date() == day] for day in days]
    newest = {max(ids(*period)) for period in periods}
    periods += [[run for run in ours if run.time.isocalendar()[:2] == week] for week in weeks]
    kept = {max(ids(*([run for run in period if run.trigger == "schedule"] or period))) for period in periods}
    return [run for run in ours[:-3] if run.id not in newest | kept]
