"""Whether the store has room for a run; where it has not, what nobody needs is given up for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from controller.core.errors import StoreFull
from controller.core.key import Key
from controller.storage import disk
from controller.storage.files import MAKE_ROOM, store_error

SMALL_FILES = 64 << 10
"""Bytes for a manifest and what else is small."""


class Reserve(Protocol):
    """What is stored and may be given up for a run."""

    def spare_bytes(self) -> int:
        """How much of it any run may take."""

    def make_room(self, key: Key, missing: Callable[[], int]) -> None:
        """Free what a run of a target lacks, or nothing where there is not as much; `missing` are the bytes now."""

    def give_up_one(self) -> bool:
        """Free one run that any other may take the room of; False where there is none."""


class Room:
    """Of one store. Each call may raise `StoreError`."""

    def __init__(self, root: Path, reserve: Callable[[], Reserve | None]) -> None:
        self._root, self._reserve = root, reserve

    def free(self) -> int:
        """Bytes that runs can take: free ones, and those of runs that any run may take the room of."""
        reserve = self._reserve()
        return self._unused() + (reserve.spare_bytes() if reserve else 0)

    def demand(self, key: Key, known: int) -> None:
        """Raises `StoreFull` where a run of so many bytes would not fit; what others will write is not known."""
        needed = room_for(known)
        if self._unused() >= needed:
            return
        if reserve := self._reserve():
            reserve.make_room(key, lambda: needed - self._unused())
        if (free := self._unused()) < needed:
            known_and_free = f"the last one took {known} bytes, and {free} are free in {self._root}"
            raise StoreFull(f"no room for a run of {key}: {known_and_free}", hint=MAKE_ROOM)

    def give_up_one(self) -> bool:
        """As the reserve's."""
        reserve = self._reserve()
        return reserve is not None and reserve.give_up_one()

    def _unused(self) -> int:
        try:
            return disk.free(self._root)
        except OSError as error:
            raise store_error(error, self._root) from error


def room_for(size: int) -> int:
    """Bytes that a run takes at most, if it is like the last one, of so many."""
    return size + size // 10 + SMALL_FILES
