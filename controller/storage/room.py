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
CATALOG_BYTES = 64 << 20
"""For the catalog and other facts, beside what the other targets need."""

KEEP_LESS = "Keep fewer runs of it, back up less, or raise the limit in config.yaml."


class Reserve(Protocol):
    """What is stored and may be given up for a run."""

    def spare_bytes(self) -> int:
        """How much of it any run may take."""

    def make_room(self, key: Key, missing: Callable[[], int], beyond: Callable[[], int]) -> None:
        """Free what a run of a target lacks, or nothing where there is not as much.

        `missing` are the bytes that it lacks on the disk now, `beyond` those by which it goes beyond its allowance,
        which only runs of the same target give back.
        """

    def yields(self, key: Key) -> int:
        """Bytes of a target's own runs that `make_room` may free for it."""

    def give_up_one(self) -> bool:
        """Free one run that any other may take the room of; False where there is none."""

    def needed_by_others(self, key: Key) -> int:
        """Bytes that one more run of each target but this one takes."""

    def allowance(self, key: Key) -> int | None:
        """Bytes that runs of a target may still take by the operator's policy; None for any."""


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
        needed, reserve = room_for(known), self._reserve()

        def missing() -> int:
            return needed - self._unused()

        def beyond() -> int:
            allowed = reserve.allowance(key) if reserve else None
            return 0 if allowed is None else needed - allowed

        if max(missing(), beyond()) <= 0:
            return
        if reserve:
            reserve.make_room(key, missing, beyond)
            self._demand_allowed(key, needed, reserve.allowance(key))
        if (free := self._unused()) < needed:
            known_and_free = f"the last one took {known} bytes, and {free} are free in {self._root}"
            raise StoreFull(f"no room for a run of {key}: {known_and_free}", hint=MAKE_ROOM)

    def allowed_too_little(self, key: Key, known: int) -> int | None:
        """Bytes that the policy leaves a target's next run, if that is as large as `known` and will not fit, whatever
        is given up for it; None where it fits.
        """
        reserve = self._reserve()
        allowed = reserve.allowance(key) if reserve else None
        if reserve is None or allowed is None or allowed >= room_for(known):
            return None
        most = allowed + reserve.yields(key)
        return max(most, 0) if most < room_for(known) else None

    def growth(self, key: Key, newest: int) -> Callable[[int, int], None]:
        """What is asked before a run writes so many more bytes behind so many, whose target's newest one has `newest`
        (-1: there is none).

        One that becomes larger than that may take no room that the other targets' next runs need. Raises `StoreFull`.
        """
        reserve, usual = self._reserve(), room_for(newest) if newest >= 0 else 0
        allowed = reserve.allowance(key) if reserve else None
        kept = reserve.needed_by_others(key) if reserve else 0

        def demand(written: int, more: int) -> None:
            size = written + more
            self._demand_allowed(key, size, allowed)
            while kept and size > usual and self._unused() - more < kept + CATALOG_BYTES:
                if not self.give_up_one():
                    was = f"the last one took {newest} bytes" if newest >= 0 else "it is the first one"
                    message = f"the run of {key} has {size} bytes, and {was}; what is left is what other targets need"
                    raise StoreFull(f"{message} for their next runs ({kept} bytes)", hint=MAKE_ROOM)

        return demand

    def _demand_allowed(self, key: Key, size: int, allowed: int | None) -> None:
        if allowed is not None and size > allowed:
            message = f"a run of {key} of {size} bytes takes more than policy.max-store-per-target leaves it, {allowed}"
            raise StoreFull(message, hint=KEEP_LESS)

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
