"""A limited number of turns, first come first served."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHECK_SECONDS = 0.2
"""After which whoever waits for a turn looks whether it still wants one."""


class Turns:
    """So many at a time, in the order of their numbers; whoever is held up by something else holds up nobody."""

    def __init__(self, limit: int) -> None:
        self._limit, self._free, self._changed = limit, limit, threading.Condition()
        self._waiting: set[int] = set()

    def resize(self, limit: int) -> None:
        """Let so many at a time; whoever has a turn keeps it."""
        with self._changed:
            self._free += limit - self._limit
            self._limit = limit
            self._changed.notify_all()

    @contextmanager
    def taken(self, number: int, check: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn and keep it; `check` is asked meanwhile, and what it raises ends the waiting."""
        with self._changed:
            self._waiting.add(number)
            try:
                while self._free <= 0 or number != min(self._waiting):
                    self._changed.wait(CHECK_SECONDS)
                    check()
                self._free -= 1
            finally:
                self._waiting.discard(number)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()
