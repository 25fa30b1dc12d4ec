"""Ends a step of a restore that hangs: one that for the stall timeout neither moves a byte nor works.

It works while processes in its container use a few per cent of a processor, as a server does that builds an index, even
on a busy machine; what waits for a lock or for a connection uses none.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from controller.core.cancelling import Cancellable
from controller.core.errors import SidecarError, Stalled
from controller.targets.session import Session

LOOK_SECONDS = 1.0
SHARE = 0.03
"""Of one processor."""
TICKS = 100
"""Of a processor's time in a second, in `/proc/PID/stat` (proc(5); USER_HZ is 100 on every platform of the engine)."""
USED = ("sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || :")


@contextmanager
def watched(session: Session, moved: Callable[[], int]) -> Iterator[Session]:
    """The session for one step, whose bytes `moved` counts. Raises `Stalled` where the step hangs."""
    if session.context.stall is None or session.context.shell is None:
        yield session
        return
    watch = _Watch(session, session.context.stall, moved)
    watch.start()
    try:
        yield session.heard_by(watch.hear)
    except SidecarError as error:
        raise watch.stalled or error from error
    finally:
        watch.over.set()


class _Watch(threading.Thread):
    def __init__(self, session: Session, patience: float, moved: Callable[[], int]) -> None:
        super().__init__(name="restore-watch", daemon=True)
        self._session, self._patience, self._moved = session, patience, moved
        self.over = threading.Event()
        self.stalled: Stalled | None = None
        self._stream: Cancellable | None = None

    def hear(self, stream: Cancellable) -> None:
        self._stream = stream
        self._session.context.reading(stream)

    def run(self) -> None:
        seen, since = self._moved(), time.monotonic()
        used: float | None = None
        asked = since
        while not self.over.wait(min(LOOK_SECONDS, self._patience / 4)):
            if seen != (seen := self._moved()):
                since, used = time.monotonic(), None
            quiet = time.monotonic() - since
            if used is None and quiet >= self._patience / 2:
                used, asked = self._used(), time.monotonic()
            elif used is not None and quiet >= self._patience:
                if self._used() - used < SHARE * (time.monotonic() - asked):
                    self._end()
                    return
                since, used = time.monotonic(), None

    def _used(self) -> float:
        """Seconds of processor time of all processes that there are in the container, and of the children they had."""
        unheard = self._session.heard_by(lambda stream: None)
        try:
            lines = unheard.ask(USED, timeout=60).splitlines()
        except SidecarError:
            return 0.0
        fields = (line.rpartition(")")[2].split() for line in lines)
        return sum(int(word) for field in fields for word in field[11:15] if re.fullmatch("[0-9]{1,18}", word)) / TICKS

    def _end(self) -> None:
        """End what runs before its input ends, which it could take for the end of the data."""
        self.stalled = Stalled(
            f"the step neither moved a byte nor worked for {self._patience:g} s",
            hint="Look at what it waits for, such as a lock; backup.stall-timeout is how long it may.",
        )
        self._session.end()
        if self._stream is not None:
            self._stream.cancel(self.stalled)
