"""Whatever dies, at whatever step, and whoever else writes: what is listed as a copy comes back whole."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from pathlib import Path
from shutil import copytree

import pytest

from controller.core.copy_errors import DestinationForeign
from controller.storage.copies.layout import CopiedRun
from controller.storage.copies.ledger import Ledger
from controller.storage.copies.place import Place
from controller.storage.copies.reading import tar_of
from controller.storage.destinations import Destination, StoredObject, Traits
from controller.storage.destinations.s3 import S3Destination
from tests.kit.s3_server import s3_server
from tests.unit.storage.copies_stand import NOW, Stand, noise, run_id, stand

pytestmark = pytest.mark.thorough

MOST_STEPS = 40


class Killed(BaseException):
    """The process is gone: nothing catches it."""


class Dying:
    """Dies before or after its so many-th call."""

    def __init__(self, destination: Destination, steps: int, *, after: bool) -> None:
        self._destination, self.prefix, self.lock = destination, destination.prefix, destination.lock
        self.steps, self.after = steps, after

    def _step(self, do: Callable[[], object]) -> None:
        self.steps -= 1
        if self.steps == 0 and not self.after:
            raise Killed
        do()
        if self.steps == 0:
            raise Killed

    def probe(self) -> None:
        self._destination.probe()

    def put(self, name: str, content: bytes) -> None:
        self._step(lambda: self._destination.put(name, content))

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        self._step(lambda: None)
        return self._destination.get(name, version)

    def list(self, prefix: str, as_of: datetime | None = None) -> Iterator[StoredObject]:
        self._step(lambda: None)
        return self._destination.list(prefix, as_of)

    def delete(self, name: str) -> None:
        self._step(lambda: self._destination.delete(name))

    def keep(self, name: str) -> datetime | None:
        return self._destination.keep(name)

    def traits(self, name: str) -> Traits:
        return self._destination.traits(name)

    def close(self) -> None:
        self._destination.close()


@contextmanager
def a_path(folder: Path) -> Iterator[Stand]:
    yield stand(folder).prepared()


@contextmanager
def a_bucket(folder: Path) -> Iterator[Stand]:
    with s3_server() as server, closing(S3Destination(server.options)) as place:
        yield stand(folder, place).prepared()


def whole(here: Stand) -> list[str]:
    """Ids of the copies, each of which comes back."""
    runs = [run for run in here.copies.runs() if isinstance(run, CopiedRun)]
    for run in runs:
        assert list(tar_of(here.destination, run, here.kit))
    return sorted(run.run for run in runs)


@pytest.mark.fault(
    37, "who sends a copy is killed before or after any step", "a whole copy or none; the next try goes on"
)
@pytest.mark.parametrize("kind", [a_path, a_bucket])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_sender_that_is_killed_at_any_step_leaves_a_copy_or_none(
    tmp_path: Path, kind: Callable[[Path], AbstractContextManager[Stand]], after: bool
) -> None:
    with kind(tmp_path) as here:
        killed_at_each_step(here, after=after)


def killed_at_each_step(here: Stand, *, after: bool) -> None:
    healthy, expected, seen = here.destination, list[str](), set[bool]()

    for step in range(1, MOST_STEPS):
        folder, run = here.publish(step, noise(1000), noise(1000)), run_id(step)
        here.destination = here.place.destination = Dying(healthy, step, after=after)
        try:
            here.place.begin()
            here.send(folder)
        except Killed:
            is_done = False
        else:
            is_done = True
        here.destination = here.place.destination = healthy
        assert whole(here) in (expected, [*expected, run])
        seen.add(run in whole(here) and not is_done)
        here.place.begin()
        here.send(folder)
        expected.append(run)
        assert whole(here) == expected
        if is_done:
            break

    assert step > 12
    assert seen == {True, False}  # Also in the moment between the last write and the look at it.
    named = {piece.name for told in here.copies.runs() if isinstance(told, CopiedRun) for piece in told.pieces}
    left = [name for name in here.objects() if name.rpartition("/")[2] not in named]
    assert len(left) <= 4  # A slice is sent again only where it was not yet known to be right.


@pytest.mark.fault(
    41,
    "two sidecars, or two clones of one, write to one destination",
    "the second is refused until it takes over; nothing is lost",
)
def test_two_clones_that_take_turns_for_a_week_lose_nothing(tmp_path: Path) -> None:
    """A virtual machine that was copied with its work folder: both believe that they are the one."""
    first = stand(tmp_path).prepared()
    first.send(first.publish(0, b"before they were two"))
    first.ledger.close()
    copytree(tmp_path / "work", tmp_path / "clone")
    ledgers = [Ledger(tmp_path / "work/nas.sqlite"), Ledger(tmp_path / "clone/nas.sqlite")]
    places = [Place(first.destination, ledger, first.writer, lambda: NOW) for ledger in ledgers]
    refused = 0

    for day in range(1, 8):
        place, ledger = places[day % 2], ledgers[day % 2]
        first.place, first.ledger = place, ledger
        folder = first.publish(day, b"of every day" * 1000, str(day).encode())
        try:
            place.begin()
        except DestinationForeign:
            refused += 1
            place.prepare(take_over=True)
        first.send(folder)

    assert refused >= 6
    assert whole(first) == [run_id(day) for day in range(8)]
    for ledger in ledgers:
        ledger.close()
