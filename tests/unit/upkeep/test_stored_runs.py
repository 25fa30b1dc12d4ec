"""A deleted run is no backup and can be brought back, a pinned one stays; on a real store and a real catalog."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from shutil import rmtree

import pytest

from controller.app.recovery import enter_manifests
from controller.core.errors import InUse, Pinned, UnknownRun
from controller.core.run import Report
from controller.storage.catalog import Catalog
from controller.storage.rebuild import rebuild
from tests.unit.upkeep.test_pruner import KEY, NOW, History, ids


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_a_deleted_run_is_no_backup_and_nothing_of_it_is_lost_before_two_days_are_over(history: History) -> None:
    files = sorted(path.read_bytes() for path in history.artifact(history.runs[3].id).parent.glob("*.zst"))
    history.pruner.look()
    for hours in (24, 47):
        history.now = NOW + timedelta(hours=hours)
        history.pruner.look()
        assert history.deleted == ids(*history.runs[2:])
    assert sorted(path.read_bytes() for path in history.artifact(history.runs[3].id).parent.glob("*.zst")) == files
    with pytest.raises(UnknownRun, match="undelete"):
        history.store.artifact(KEY, history.runs[3].id, "shop.pgdump.zst")
    history.now = NOW + timedelta(hours=48)
    history.pruner.look()
    assert history.deleted == []
    assert not history.artifact(history.runs[3].id).parent.exists()
    gone = history.catalog.get(history.runs[3].id)
    assert (gone.pruned, gone.cause, gone.artifacts) == (NOW, "none of keep-last 2 keeps it", ())
    with pytest.raises(UnknownRun, match="purged"):
        history.pruner.undelete(gone)


def test_what_comes_back_is_as_it_was_and_no_rule_deletes_it_again(history: History) -> None:
    before = history.runs[3]
    history.pruner.look()
    back = history.pruner.undelete(before)
    assert (back.pinned, back.note) == (NOW, "undeleted: none of keep-last 2 keeps it")
    assert back.model_copy(update={"pinned": None, "note": ""}) == before
    history.pruner.prune(history.targets()[0])
    assert history.on_disk == history.listed == ids(*history.runs[:2], before)
    history.pruner.unpin(before)
    history.pruner.prune(history.targets()[0])
    assert history.on_disk == history.listed == ids(*history.runs[:2])


def test_what_a_person_has_deleted_comes_back_as_it_was(history: History) -> None:
    assert history.pruner.delete(history.runs[1]).cause == "by hand"
    assert history.deleted == ids(history.runs[1])
    assert history.pruner.undelete(history.runs[1]) == history.runs[1]
    assert history.on_disk == history.listed == ids(*history.runs)
    with pytest.raises(UnknownRun, match="not deleted"):
        history.pruner.undelete(history.runs[1])


def test_a_person_can_free_the_room_at_once(history: History) -> None:
    history.pruner.delete(history.runs[2], purge=True)
    history.pruner.delete(history.runs[3])
    with pytest.raises(UnknownRun, match="is deleted"):
        history.pruner.delete(history.runs[3], force=True)
    history.pruner.delete(history.runs[3], purge=True)
    assert history.deleted == []
    assert history.on_disk == ids(*history.runs[:2])
    assert [history.catalog.get(run.id).cause for run in history.runs[2:]] == ["by hand"] * 2


def test_without_a_time_to_undelete_what_is_deleted_is_gone(history: History) -> None:
    history.configure("policy: {undelete: 0s}")
    history.pruner.look()
    assert history.deleted == []
    assert not history.artifact(history.runs[3].id).parent.exists()


def test_a_clock_that_jumps_ahead_purges_nothing_until_it_has_settled(history: History) -> None:
    history.pruner.look()
    history.now = NOW + timedelta(days=40)
    history.pruner.look()
    assert history.deleted == ids(*history.runs[2:])
    history.now += timedelta(days=1)
    history.pruner.look()
    assert history.deleted == []


def test_what_is_read_is_not_purged(history: History) -> None:
    history.pruner.delete(history.runs[3])
    with history.leases.held(history.runs[3].id), pytest.raises(InUse):
        history.pruner.delete(history.runs[3], purge=True)
    assert history.deleted == ids(history.runs[3])


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_start_believes_the_store_about_what_is_deleted(history: History, *, told: bool) -> None:
    deleted, back = history.runs[3], history.runs[2]
    for run in (deleted, back):
        history.pruner.delete(run)
    history.store.undelete(KEY, back.id)
    if not told:  # The process died before the catalog knew of it.
        history.catalog.put(deleted)
    enter_manifests(history)
    assert history.deleted == ids(deleted)
    assert history.catalog.get(back.id) == back
    assert history.catalog.get(deleted.id).cause == "by hand"
    assert history.pruner.undelete(deleted) == deleted


class Crash(BaseException):
    """The process dies."""


@contextmanager
def dying(patch: pytest.MonkeyPatch, calls: int) -> Iterator[None]:
    """Die at the call of that number that changes the disk."""
    left = count(calls, -1)

    def mortal(call: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object, **named: object) -> object:
            if next(left) == 0:
                raise Crash
            return call(*arguments, **named)

        return called

    with patch.context() as inner:
        for name in ("fsync", "unlink", "rmdir", "mkdir", "rename"):
            inner.setattr(os, name, mortal(getattr(os, name)))
        yield


@pytest.mark.parametrize("act", ["delete", "undelete", "purge"])
def test_whenever_the_process_dies_a_run_is_a_backup_or_deleted_as_a_whole_or_gone(
    act: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = 0
    for calls in count():
        (tmp_path / str(calls)).mkdir()
        history = History(tmp_path / str(calls))
        run, died = history.runs[3], False
        if act != "delete":
            history.pruner.delete(run)
        acts = {"delete": history.pruner.delete, "undelete": history.pruner.undelete}
        try:
            with dying(monkeypatch, calls):
                acts.get(act, partial(history.pruner.delete, purge=True))(run)
        except Crash:
            died, deaths = True, deaths + 1
        history.store.sweep()
        enter_manifests(history)
        assert history.on_disk == history.listed
        live, deleted = run.id in history.listed, run.id in history.deleted
        assert not (live and deleted)
        if act == "purge":
            assert not live
            assert history.artifact(run.id).exists() == deleted
        else:
            assert live or deleted
            assert history.artifact(run.id).read_bytes() == next(iter(history.content.values()))
        history.catalog.close()
        if not died:
            break
    assert deaths >= 3


def test_a_start_sweeps_no_deleted_run_away_and_knows_one_that_is_gone(history: History) -> None:
    kept, lost = history.runs[2:]
    for run in (kept, lost):
        history.pruner.delete(run)
    rmtree(history.artifact(lost.id).parent)
    assert history.store.sweep() == []
    enter_manifests(history)
    assert [run.id for run in history.catalog.deleted()] == ids(kept)
    assert not history.catalog.get(lost.id).recoverable


def test_a_rebuilt_catalog_knows_what_is_deleted_and_why(history: History, tmp_path: Path) -> None:
    history.pruner.look()
    history.pruner.pin(history.runs[1], "before the move")
    before = [history.catalog.get(run.id) for run in history.runs]
    made = rebuild(history.store, tmp_path / "anew.sqlite")
    assert (made.runs, made.deleted, made.lost) == (2, 2, 0)
    with closing(Catalog(tmp_path / "anew.sqlite")) as catalog:
        assert [again(catalog.get(run.id)) for run in before] == [again(run) for run in before]


def again(report: Report) -> tuple[object, ...]:
    return report.stored, report.recoverable, report.pruned, report.cause, report.pinned, report.note


def test_what_a_store_holds_again_is_a_backup_again(history: History) -> None:
    """As after a copy of the store was put back, or where a release before this one died while it pruned."""
    history.catalog.put(history.runs[3].model_copy(update={"pruned": NOW, "artifacts": ()}))
    enter_manifests(history)
    assert history.listed == ids(*history.runs)


# --- pins


def test_a_pinned_run_stays_whatever_the_rules_say(history: History) -> None:
    pinned = history.pruner.pin(history.runs[3], "before the move")
    assert (pinned.pinned, pinned.note) == (NOW, "before the move")
    found = history.pruner.prune(history.targets()[0])
    assert [outcome.verdict.rules for outcome in found] == [
        *(("keep-last", "newest good run"), ("keep-last",), (), ("pinned",))
    ]
    assert history.on_disk == ids(*history.runs[:2], history.runs[3])
    with pytest.raises(Pinned, match="before the move"):
        history.pruner.delete(pinned, force=True, purge=True)
    history.pruner.unpin(pinned)
    history.pruner.prune(history.targets()[0])
    assert history.on_disk == ids(*history.runs[:2])


def test_only_what_is_stored_can_be_pinned(history: History) -> None:
    history.pruner.delete(history.runs[3])
    with pytest.raises(UnknownRun, match="undelete"):
        history.pruner.pin(history.runs[3], "")


def test_a_pin_outlives_a_verification_that_was_under_way(history: History) -> None:
    history.content = {"plain": b"all rows"}
    run = history.past(NOW - timedelta(days=9))

    def pinned_meanwhile() -> None:
        history.pruner.pin(run, "")

    history.verifier.verify(run, pinned_meanwhile)
    assert history.catalog.get(run.id).pinned == NOW
    assert history.catalog.get(run.id).verified
