"""A limited number of turns, first come first served."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHECK_SECONDS = 0.2
"""After which whoever waits for a turn looks whether it still wants one."""


class Turns:
    """So many at a time, in the order of their numbers; whoever is held up by something else holds up nobody.

    One owner has at most all turns but one, unless there is only one, so that nobody keeps the others waiting alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._free, self._changed = limit, limit, threading.Condition()
        self._waiting: dict[int, str] = {}
        self._taken = Counter[str]()
        """By owner."""

    def resize(self, limit: int) -> None:
        """Let so many at a time; whoever has a turn keeps it."""
        with self._changed:
            self._free += limit - self._limit
            self._limit = limit
            self._changed.notify_all()

    @contextmanager
    def taken(self, number: int, check: Callable[[], None], owner: str = "") -> Iterator[None]:
        """Wait for the turn and keep it; `check` is asked meanwhile, and what it raises ends the waiting."""
        with self._changed:
            self._waiting[number] = owner
            try:
                while self._free <= 0 or number != self._next():
                    self._changed.wait(CHECK_SECONDS)
                    check()
                self._free -= 1
                self._taken[owner] += 1
            finally:
                del self._waiting[number]
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._taken[owner] -= 1
                self._changed.notify_all()

    def _next(self) -> int | None:
        """The first who waits and is nobody's, or whose owner may have one more."""
        most = max(1, self._limit - 1)
        return min(
            (number for number, owner in self._waiting.items() if not owner or self._taken[owner] < most), default=None
        )
