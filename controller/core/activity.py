"""Runs, restores and drills while they are under way: each has a live report, an end, and a way to ask for it."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from controller.core.cancelling import Cancellable
from controller.core.drill import Drill
from controller.core.errors import Cancelled
from controller.core.failure import Failure
from controller.core.restoration import Restoration
from controller.core.run import Report

CLEAR_UP_SECONDS = 10.0
"""What a cancelled activity gets to clear up when the sidecar is stopped."""
STOPPED = "the sidecar was stopped"

Kind = TypeVar("Kind", Report, Restoration, Drill)
NAMES: dict[type[Report | Restoration | Drill], str] = {Report: "run", Restoration: "restore", Drill: "drill"}


class Activity(Generic[Kind]):
    """One activity. Safe to use from several threads."""

    def __init__(self, report: Kind) -> None:
        self.id = report.id
        self.future: Future[Kind] = Future()
        """The final report, to be waited for."""
        self._report: Kind = report
        self._lock = threading.Lock()
        self._cancelled, self._why = threading.Event(), ""
        self._stream: Cancellable | None = None

    @property
    def report(self) -> Kind:
        with self._lock:
            return self._report

    def update(self, **changes: object) -> Kind:
        """Replace fields of the live report."""
        with self._lock:
            self._report = self._report.model_copy(update=changes)
            return self._report

    def reading(self, stream: Cancellable) -> None:
        """Take note of what `cancel` has to end."""
        with self._lock:
            self._stream = stream

    def check(self) -> None:
        """Raises `Cancelled` once that was asked for."""
        if self._cancelled.is_set():
            raise self.cancellation()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self, why: str = "") -> None:
        """Ask for the end: the stream is closed, which ends the command in the container."""
        with self._lock:
            self._why = self._why or why
            self._cancelled.set()
            stream = self._stream
        self.close(stream)

    def close(self, stream: Cancellable | None) -> None:
        """End what is read or written now."""
        if stream is not None:
            stream.cancel(self.cancellation())

    def cancellation(self) -> Cancelled:
        """What is raised in the activity."""
        why = f", because {self._why}" if self._why else ""
        name = f"{NAMES[type(self._report)]} {self.id}"
        return Cancelled(f"{name} was cancelled{why}", hint="Start it again when it is wanted.")


Some = TypeVar("Some", bound=Activity[Any])


class Activities(Generic[Some, Kind]):
    """Those of one kind, oldest first, each in a slot and a thread of its own. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, Some] = {}
        """By slot."""
        self._threads: set[threading.Thread] = set()

    def start(self, slot: str, activity: Some, work: Callable[[Some], None]) -> None:
        """Let `work` do it and `finish` it."""

        def body() -> None:
            try:
                work(activity)
            except Exception as error:  # noqa: BLE001  # Its slot must not be taken for ever.
                failure = Failure.defect(NAMES[type(activity.report)], error, str)
                changes = {"state": "failed", "failure": failure, "finished": datetime.now(UTC)}
                self.finish(activity, activity.report.model_copy(update=changes))
            finally:
                self._threads.discard(threading.current_thread())

        name = f"{NAMES[type(activity.report)]} {activity.id}"
        thread = threading.Thread(target=body, name=name, daemon=True)
        with self._lock:
            self._active[slot] = activity
            self._threads.add(thread)
        thread.start()

    def all(self) -> list[Some]:
        with self._lock:
            return list(self._active.values())

    def at(self, slot: str) -> Some | None:
        with self._lock:
            return self._active.get(slot)

    def get(self, name: str) -> Some | None:
        """By id."""
        return next((activity for activity in self.all() if activity.id == name), None)

    def live(self, reports: Iterable[Kind]) -> list[Kind]:
        """The same reports, of what is under way as it is now."""
        active: dict[str, Kind] = {activity.id: activity.report for activity in self.all()}
        return [active.get(report.id, report) for report in reports]

    def finish(self, activity: Some, report: Kind) -> None:
        """Give its slot back, then show its final report, unless there is one."""
        with self._lock:
            self._active = {slot: other for slot, other in self._active.items() if other is not activity}
        if not activity.future.done():
            activity.update(**dict(report))
            activity.future.set_result(report)

    def stop(self) -> None:
        """Cancel all and wait for their end, a little longer than they may take to clear up."""
        for activity in self.all():  # Each in a thread, since cancelling may ask the engine, which may hang.
            threading.Thread(target=activity.cancel, args=(STOPPED,), name="cancel", daemon=True).start()
        self.join(CLEAR_UP_SECONDS + 1)

    def join(self, seconds: float) -> None:
        """Wait so long until all have ended, and who hears of it has heard."""
        until = time.monotonic() + seconds
        for thread in tuple(self._threads):
            thread.join(max(0.0, until - time.monotonic()))
