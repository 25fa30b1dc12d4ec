"""Keeps the inventory equal to what the engine runs: list, stream, list again.

An event only means "look again": the whole picture is rebuilt and compared, so a burst costs one look, and a lost event
costs at most the time to the next resync.
"""

import threading
import time
from collections.abc import Callable
from contextlib import closing

from loguru import logger

from config.loading import Loaded
from controller.core.errors import SidecarError
from controller.core.loop import Loop
from controller.engine.client import Engine
from controller.engine.events import EventStream
from controller.targets.image_labels import ImageLabels
from controller.targets.inventory import Inventory
from controller.targets.resolution import Resolution
from controller.targets.scope import Scope
from controller.targets.surveys import Surveys

RESYNC_SECONDS = 60.0
"""After which the list is made anew without any event."""
STEP_SECONDS = 0.5
"""Between two steps of the looking loop while nothing happens."""
SETTLE_SECONDS = 0.1
"""In which a burst of events is taken for one."""
PULSE_SECONDS = 5.0
"""Between two questions whether the engine is there, and those that it has for an answer."""
RECONNECT_SECONDS = (0.1, 0.5, 1.0, 2.0)
"""Between attempts at an engine that is away; it is near, and nothing can be backed up without it."""


class Watch:
    """Two loops: one reads events, one looks."""

    def __init__(
        self,
        engine: Engine,
        resolution: Resolution,
        inventory: Inventory,
        surveys: Surveys,
        *,
        loaded: Callable[[], Loaded],
        looked: Callable[[], None],
    ) -> None:
        """`looked` is called whenever the list was made anew, so that the engine must be there."""
        self._engine, self._resolution, self._inventory, self._surveys = engine, resolution, inventory, surveys
        self._images = ImageLabels(engine)
        self._loaded, self._looked = loaded, looked
        self._own_id: str | None = None
        self._dirty, self._stopping = threading.Event(), threading.Event()
        self._stream: EventStream | None = None
        self._streaming = self._listed = False
        self._answered = self._next_resync = 0.0
        """When the engine last answered the looking loop, and when that looks without any event."""
        self._failed_looks = self._failed_streams = 0
        """In a row."""
        self._troubles: set[tuple[str, str]] = set()
        """Codes and hints of what is wrong with the engine, as they were logged."""
        self.reconnects = 0
        """How often events flowed again after they had been cut."""
        self._looking = Loop("watch", self._look_where_due, seconds=STEP_SECONDS)
        self._listening = Loop("events", self._listen, seconds=RECONNECT_SECONDS[-1])

    def start(self) -> None:
        self._listening.start()
        self._looking.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._stream is not None:
            self._stream.close()
        self._surveys.stop()
        self._looking.leave()
        self._listening.stop()
        self._looking.stop()

    def wake(self) -> None:
        """Look again now."""
        self._dirty.set()
        self._looking.wake()

    @property
    def watching(self) -> bool:
        """Events are flowing, the list was made since, and the engine still answers."""
        return self._streaming and self._listed and time.monotonic() - self._answered < 2 * PULSE_SECONDS

    @property
    def alive(self) -> bool:
        return self._looking.alive and self._listening.alive

    def _look_where_due(self) -> float | None:
        """The step of the looking loop."""
        self._surveys.look()
        try:
            if self._dirty.is_set() or time.monotonic() >= self._next_resync:
                self._look()
            elif time.monotonic() - self._answered >= PULSE_SECONDS:
                self._engine.ping(PULSE_SECONDS)
                self._answered = time.monotonic()
        except SidecarError as error:
            self._listed = False
            self._dirty.set()
            self._failed_looks += 1
            return self._lost(error, self._failed_looks)
        self._recovered()
        return None

    def _look(self) -> None:
        """Make the list anew; where that fails, also by a defect, it is still to be done."""
        is_done = False
        self._dirty.clear()
        try:
            self._own_id = self._own_id or self._engine.own_container_id()
            loaded = self._loaded()
            listed = self._images.containers(loaded)
            scope = self._resolution.scope(loaded, self._own_id, listed, self._engine.networks())
            log_new(scope, self._inventory.scope)
            self._inventory.take(scope, self._resolution.find(loaded, scope, listed))
            self._surveys.look()
            is_done = True
        finally:
            self._listed = is_done
            if not is_done:
                self._dirty.set()
        self._answered = time.monotonic()
        self._next_resync = self._answered + RESYNC_SECONDS
        self._looked()
        self._failed_looks = 0
        self._stopping.wait(SETTLE_SECONDS)

    def _listen(self) -> float | None:
        """The step of the listening loop: from one subscription to its end."""
        began, is_over = time.monotonic(), False
        try:
            with closing(self._engine.events()) as stream:
                self._subscribed(stream)
                for _ in stream:
                    self.wake()
            is_over = True
        except SidecarError as error:
            self._engine.renegotiate()
            lasted = time.monotonic() - began > RECONNECT_SECONDS[-1]
            self._failed_streams = 1 if lasted else self._failed_streams + 1
            return self._lost(error, self._failed_streams)
        finally:
            self._streaming = self._streaming and is_over
        return 0.0

    def _subscribed(self, stream: EventStream) -> None:
        """Look again, since nobody knows what happened before."""
        if self._stream is not None and not self._streaming:
            self.reconnects += 1
        self._stream, self._streaming = stream, True
        if self._stopping.is_set():
            stream.close()
        self.wake()

    def _lost(self, error: SidecarError, failures: int) -> float:
        """Log each thing that is wrong with the engine, once; gives the seconds until the next attempt."""
        trouble = (error.code, error.hint)
        if trouble not in self._troubles and not self._stopping.is_set():
            self._troubles.add(trouble)
            logger.bind(code=error.code).warning("cannot watch the engine: {}", error)
        return RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS)) - 1]

    def _recovered(self) -> None:
        """Once all is well again: say so, and ask at once those targets that wait to be asked."""
        if self._troubles and self.watching:
            self._troubles.clear()
            logger.bind(reconnects=self.reconnects).info("the engine is being watched again")
            self._surveys.hurry()


def log_new(scope: Scope, before: Scope | None) -> None:
    """What the sidecar lacks since this look."""
    for problem in scope.problems:
        if before is None or problem not in before.problems:
            logger.bind(code=problem.code).log(problem.severity.upper(), "{}", problem)
