"""What goes on beside everything else, and the thread that does one thing again and again."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from loguru import logger

STOP_SECONDS = 5.0
"""That a step may still take when its loop is stopped."""


class Service(Protocol):
    """Something that goes on beside everything else, usually in a thread of its own."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """Ends what goes on and waits for it, though not for long; harmless where nothing does."""
        ...

    @property
    def alive(self) -> bool:
        """False once it has ended by itself, which only a restart mends."""
        ...


class Loop:
    """Takes a step, waits, takes the next; a step's defect is logged and does not end it."""

    def __init__(self, name: str, step: Callable[[], float | None], *, seconds: float) -> None:
        """So many `seconds` between two steps, unless a step gives others."""
        self.name, self._step, self._seconds = name, step, seconds
        self._stopping, self._woken = threading.Event(), threading.Event()
        self._left_at = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.defect = ""
        """By which the last step ended; empty when it did not."""

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Take the next step now."""
        self._woken.set()

    def leave(self) -> None:
        """Take no further step, and do not wait: several loops that are left first are waited for together."""
        self._left_at = self._left_at or time.monotonic()
        self._stopping.set()
        self._woken.set()

    def stop(self) -> None:
        """Returns when the step under way has ended, or goes on for too long; harmless before `start`."""
        self.leave()
        if self._thread.is_alive():
            self._thread.join(timeout=max(0.0, self._left_at + STOP_SECONDS - time.monotonic()))

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                seconds = self._stepped()
                if not self._stopping.is_set():
                    self._woken.wait(seconds)
        except BaseException as error:  # noqa: BLE001  # The thread is over: somebody has to be able to say why.
            self.defect = described(error)
            logger.opt(exception=error).critical("{}: ended by {}", self.name, self.defect)

    def _stepped(self) -> float:
        """Take a step; gives the seconds until the next."""
        try:
            seconds = self._step()
        except Exception as error:  # noqa: BLE001  # The next night must not be lost by this one.
            defect = described(error)
            if defect != self.defect:  # Once, not at every step.
                logger.opt(exception=error).error("{}: a step ended by a defect of this program", self.name)
            self.defect = defect
            return self._seconds
        self.defect = ""
        return self._seconds if seconds is None else seconds


def described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
