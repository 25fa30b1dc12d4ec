"""Watches the clock, and remembers beyond the process what it has seen of it; the shell around `clock`."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from loguru import logger

from controller.core.errors import StoreError
from controller.core.records import rfc3339
from controller.storage import journal
from controller.upkeep.clock import Jump, Trust

FILE = "clock.json"


def steady() -> float:
    """Seconds by a clock that nobody sets and that goes on while the host is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockWatch:
    """Call `look` every minute or so. Safe to use from several threads."""

    def __init__(self, folder: Path, clock: Callable[[], datetime], steady: Callable[[], float] = steady) -> None:
        self._path, self._clock, self._steady = folder / FILE, clock, steady
        self._lock = threading.Lock()
        self._trust: Trust | None = None
        self._last: tuple[datetime, float] | None = None
        """What both clocks showed at the last look."""

    @property
    def jump(self) -> Jump | None:
        """The last time that the clock was set, until it has gone on for a day."""
        return self._trust.jump if self._trust else None

    def look(self) -> bool:
        """Whether the clock may be believed. Fails closed where nothing was written down before."""
        with self._lock:
            now, steady = self._clock(), self._steady()
            expected = self._last[0] + timedelta(seconds=steady - self._last[1]) if self._last else None
            self._last = now, steady
            before = self._trust or journal.read(self._path, Trust)
            after = before.look(now, expected) if before else Trust(seen=now, since=now)
            if before and after.since != before.since:
                message = "the clock has jumped since {}, or nobody looked: nothing goes by its age for a day"
                logger.warning(message, rfc3339(before.seen))
            if after is not before:
                with suppress(StoreError):  # Then it is noted the next time.
                    journal.write(self._path, after)
            self._trust = after
            return after.is_trusted(now)
