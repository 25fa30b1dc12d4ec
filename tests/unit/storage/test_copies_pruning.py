"""What is deleted at a destination: only what two looks, two days apart, agree on, and nothing that anybody needs."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controller.core.copy_errors import DestinationForeign, NotACopy, ObjectKept
from controller.core.records import rfc3339
from controller.storage.copies.layout import SLICE_BYTES, CopiedRun, run_name
from controller.storage.copies.ledger import Ledger
from controller.storage.copies.orders import Prune, Pruned
from controller.storage.copies.place import Place
from controller.storage.copies.pruning import listed, pruned
from controller.storage.copies.reading import tar_of
from controller.storage.destinations.path import PathDestination
from tests.unit.storage.copies_stand import KEY, NOW, Stand, noise, run_id, stand

LATER = NOW + timedelta(hours=49)


@pytest.fixture
def here(tmp_path: Path) -> Stand:
    """Three copies: the first two share a slice."""
    made = stand(tmp_path).prepared()
    content = noise(SLICE_BYTES)
    made.send(made.publish(1, content + b"1"))
    made.send(made.publish(2, content + b"2"))
    made.send(made.publish(3, b"3"))
    return made


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(run_name(KEY, run_id(number)) for number in numbers)


def prune(here: Stand, keep: tuple[int, ...], go: tuple[int, ...], now: datetime) -> Pruned:
    order = Prune(keep=names(*keep), go=names(*go), now=now)
    return pruned(here.copies, here.place, here.ledger, order)


def whole(here: Stand) -> list[str]:
    """Ids of the runs that come back whole."""
    runs = [run for run in here.copies.runs() if isinstance(run, CopiedRun)]
    for run in runs:
        assert list(tar_of(here.destination, run, here.kit))
    return sorted(run.run for run in runs)


def test_what_goes_goes_two_days_after_it_was_decided(here: Stand) -> None:
    first = prune(here, (2, 3), (1,), NOW)
    early = prune(here, (2, 3), (1,), NOW + timedelta(hours=47))
    late = prune(here, (2, 3), (1,), LATER)

    assert (first.runs, first.waiting, early.runs, late.runs) == ((), 1, (), (run_id(1),))
    assert late.objects == 1
    assert whole(here) == [run_id(2), run_id(3)]


def test_what_is_wanted_again_meanwhile_waits_anew(here: Stand) -> None:
    prune(here, (2, 3), (1,), NOW)
    prune(here, (1, 2, 3), (), NOW + timedelta(hours=24))

    assert prune(here, (2, 3), (1,), LATER).runs == ()
    assert whole(here) == [run_id(1), run_id(2), run_id(3)]


def test_a_run_that_nobody_has_judged_keeps_all(here: Stand) -> None:
    prune(here, (2, 3), (1,), NOW)

    with pytest.raises(NotACopy, match="while it was decided"):
        prune(here, (2,), (1,), LATER)

    assert whole(here) == [run_id(1), run_id(2), run_id(3)]


@pytest.mark.fault(
    40, "a list of a copied run is forged, of another place, or none", "not believed; nothing there is deleted"
)
def test_one_list_that_cannot_be_believed_keeps_all(here: Stand) -> None:
    prune(here, (2, 3), (1,), NOW)
    path = here.folder / "nas" / names(3)[0]
    path.write_bytes(path.read_bytes().replace(b'"by-hand"', b'"scheduled"').replace(b"scheduled", b"by-handed", 1))

    with pytest.raises(NotACopy):
        prune(here, (2, 3), (1,), LATER)
    with pytest.raises(NotACopy):
        listed(here.copies)

    assert len(here.objects()) == 4


@pytest.mark.fault(
    41,
    "two sidecars, or two clones of one, write to one destination",
    "the second is refused until it takes over; nothing is lost",
)
def test_a_second_writer_keeps_all(here: Stand) -> None:
    prune(here, (2, 3), (1,), NOW)
    other = Ledger(here.folder / "work" / "other.sqlite")
    Place(here.destination, other, "01J11111111111111111111111", lambda: NOW).prepare(take_over=True)

    with pytest.raises(DestinationForeign):
        prune(here, (2, 3), (1,), LATER)

    assert whole(here) == [run_id(1), run_id(2), run_id(3)]


def test_a_copy_that_went_is_sent_whole_again_where_it_is_wanted(here: Stand) -> None:
    prune(here, (3,), (1, 2), NOW)
    prune(here, (3,), (1, 2), LATER)

    assert len(here.objects()) == 1
    assert here.send(here.store.folder(KEY, run_id(1))).sent == 2
    assert whole(here) == [run_id(1), run_id(3)]


def old(here: Stand, days: int) -> None:
    made = (NOW + timedelta(hours=49) - timedelta(days=days)).timestamp()
    for name in here.objects():
        os.utime(here.folder / "nas" / name, (made, made))


@pytest.mark.parametrize(("days", "left"), [(29, 6), (31, 4)])
def test_an_object_that_nobody_names_goes_after_thirty_days(here: Stand, days: int, left: int) -> None:
    here.destination.put("objects/base/ab/ab" + 62 * "0", b"left over")
    here.destination.put("objects/base/ab/mine.txt", b"of somebody else")
    here.destination.put(f"{here.objects()[0]}.0123abcd.partial", b"cut off")
    old(here, days)

    prune(here, (1, 2, 3), (), LATER)

    assert len([name for name in here.objects() if not name.endswith("mine.txt")]) == left
    assert "objects/base/ab/mine.txt" in here.objects()


def test_what_a_begun_copy_has_sent_is_no_left_over(here: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "lacking", lambda self, pieces: iter(list(pieces)[:1]))
    with pytest.raises(Exception, match="not listed"):
        here.send(here.publish(4, b"4", noise(10)))
    monkeypatch.undo()
    old(here, 40)

    prune(here, (1, 2, 3), (), LATER)

    assert len(here.objects()) == 5


@pytest.mark.fault(48, "a copy that no rule keeps is locked", "told as kept, no error; goes when the lock ends")
def test_what_is_locked_is_told_as_kept_until_the_lock_ends(here: Stand) -> None:
    here.ledger.lock(*names(1), rfc3339(LATER + timedelta(days=1)))
    prune(here, (2, 3), (1,), NOW)

    kept, free = prune(here, (2, 3), (1,), LATER), prune(here, (2, 3), (1,), LATER + timedelta(days=2))

    assert (kept.runs, kept.objects, kept.kept, kept.waiting) == ((), 0, 1, 0)
    assert (free.runs, free.objects, free.kept) == ((run_id(1),), 1, 0)
    assert whole(here) == [run_id(2), run_id(3)]


class Keeping(PathDestination):
    """Lets nothing go."""

    def delete(self, name: str) -> None:
        raise ObjectKept(f"{name} stays")


@pytest.mark.fault(48, "the key may not delete", "copies are told as kept; nothing that one of them needs goes")
def test_what_may_not_be_deleted_is_told_as_kept(here: Stand) -> None:
    prune(here, (3,), (1, 2), NOW)
    here.destination = here.place.destination = Keeping(here.folder / "nas")

    kept = prune(here, (3,), (1, 2), LATER)

    assert (kept.runs, kept.objects, kept.kept) == ((), 0, 2)
    assert whole(here) == [run_id(1), run_id(2), run_id(3)]


class KeepingOne(PathDestination):
    """Lets the first run stay, and all else go."""

    def delete(self, name: str) -> None:
        if name == names(1)[0]:
            raise ObjectKept(f"{name} stays")
        super().delete(name)


def test_what_a_kept_copy_needs_stays_with_it(here: Stand) -> None:
    prune(here, (3,), (1, 2), NOW)
    here.destination = here.place.destination = KeepingOne(here.folder / "nas")

    kept = prune(here, (3,), (1, 2), LATER)

    assert (kept.runs, kept.objects, kept.kept) == ((run_id(2),), 1, 1)
    assert whole(here) == [run_id(1), run_id(3)]
