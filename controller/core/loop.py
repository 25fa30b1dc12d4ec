"""A thread that does one thing again and again; apart, so that what it does can be tested without waiting."""

import threading
from collections.abc import Callable

from loguru import logger

LONG = 5.0
"""Seconds that a step may still take when its loop is stopped."""


class Loop:
    """Takes a step, waits, takes the next; a step's defect is told and does not end it."""

    def __init__(self, name: str, step: Callable[[], None], *, seconds: float) -> None:
        self._name, self._step, self._seconds = name, step, seconds
        self._stopping, self._woken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Take the next step now."""
        self._woken.set()

    def stop(self) -> None:
        """Returns when the step under way has ended, or has gone on for long; harmless before `start`."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=LONG)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                self._step()
            except Exception as error:  # noqa: BLE001  # The next night must not be lost by this one.
                logger.opt(exception=error).error("{}: a step ended by a defect of this program", self._name)
            if not self._stopping.is_set():
                self._woken.wait(self._seconds)
