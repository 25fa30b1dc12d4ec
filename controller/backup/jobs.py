"""Admission of runs: one for each target, a limited number at a time, first come first served.

Here is what others may ask of a run that is under way.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

from controller.backup.turns import Turns
from controller.core.activity import CLEAR_UP_SECONDS, STOPPED, Activities, Activity
from controller.core.cancelling import Cancellable
from controller.core.errors import Busy, RestoreUnderWay, Stopping, TimedOut
from controller.core.events import Bus, RunBegan, RunEnded
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.records import utc_now
from controller.core.run import Report, State, new_run_id
from controller.storage.catalog import Catalog

GRACE_SECONDS = 10.0
"""What runs under way get to end by themselves when the sidecar is stopped."""


class Job(Activity[Report]):
    """A run under way."""

    def __init__(
        self,
        key: Key,
        trigger: str,
        turns: Turns | None = None,
        number: int = 0,
        begun: Callable[[Report], None] = lambda _: None,
        *,
        clock: Callable[[], datetime] = utc_now,
        by: str = "",
    ) -> None:
        now = clock()
        name = new_run_id(now)
        super().__init__(
            Report(id=name, target=key, state="queued", reason="slot", trigger=trigger, by=by, created=now)
        )
        self.key, self._clock = key, clock
        self.begun: float | None = None
        """Of `time.monotonic()`: when it had its turn first, or was held up by its target."""
        self.deadline: float | None = None
        """Of the same clock; None until then."""
        self._turns, self._number, self._on_begin = turns or Turns(1), number, begun
        self.retries = 0
        """What its target's settings allow, once they are known: a target may be away between two attempts."""
        self._waited, self._waits_since = 0.0, math.inf
        """Seconds of the waits for a slot that are over, and of `time.monotonic()` since when one goes on."""
        self._latest: float | None = None
        """Of `time.monotonic()`: by when `post` has to end, once the sidecar is being stopped."""
        self._posting: Cancellable | None = None

    def ending(self, **changes: object) -> Report:
        """The final report, which nobody is shown until the queue has let the run go: then another can be started."""
        return self.report.model_copy(update=changes)

    def begin(self, timeout: float) -> float:
        """Let the run's time begin, unless it has; gives its deadline, of `time.monotonic()`."""
        if self.begun is None or self.deadline is None:
            self.begun = time.monotonic()
            self.deadline = self.begun + timeout
        return self.deadline

    @property
    def slot_seconds(self) -> float:
        """How long it has waited for a slot until now, in all its attempts."""
        return self._waited + max(time.monotonic() - self._waits_since, 0.0)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The slot of a running run; raises `Cancelled`, and `TimedOut` for a run whose time has begun before."""
        self.update(state="queued", reason="slot")
        self._waits_since = time.monotonic()
        container = str(self.key.model_copy(update={"name": None}))
        with self._turns.taken(self._number, self.check, container):
            self._waited, self._waits_since = self.slot_seconds, math.inf
            self.check()
            before = self.report.started
            report = self.update(state="running", reason="", started=before or self._clock())
            if before is None:
                self._on_begin(report)
            yield

    def wait(self, seconds: float, reason: str) -> None:
        """Hold the run up for so long, without a slot; raises `Cancelled`."""
        self.update(state="queued", reason=reason)
        if self._cancelled.wait(seconds):
            raise self.cancellation()

    def again(self, failed: Failure) -> None:
        """Begin the next attempt."""
        report = self.report
        self.update(attempts=report.attempts + 1, retried=(*report.retried, failed), bytes=0)

    def captured(self, size: int) -> None:
        """So many plain bytes have come so far."""
        self.update(bytes=size)

    def reading(self, stream: Cancellable) -> None:
        """What `cancel` has to end; raises `Cancelled` when that was asked for before."""
        super().reading(stream)
        self.check()

    def posting(self, stream: Cancellable) -> None:
        """A command of `post`, which `cancel` does not end."""
        with self._lock:
            self._posting, latest = stream, self._latest
        if latest is not None:
            stream.hurry(latest)

    def hurry(self, deadline: float) -> None:
        """End `post` by then, also one that is under way."""
        with self._lock:
            self._latest, stream = deadline, self._posting
        if stream is not None:
            stream.hurry(deadline)

    def check(self) -> None:
        """Raises `Cancelled` once that was asked for, `TimedOut` once the run's time is over."""
        super().check()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise TimedOut("the deadline has passed", hint="Raise backup.timeout, or make the dump smaller.")


class Jobs:
    """The queue. `execute` does one run, takes its turn with `Job.turn`, and gives its final report without raising."""

    def __init__(
        self,
        execute: Callable[[Job], Report],
        catalog: Catalog,
        limit: int,
        events: Bus,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`clock` is that of ids and reports."""
        self._execute, self._catalog, self._events, self._clock = execute, catalog, events, clock
        self._turns, self._numbers = Turns(limit), itertools.count()
        self._lock = threading.Lock()
        self._activities = Activities[Job, Report]()
        """By target."""
        self._reserved: dict[str, str] = {}
        """By target: the restore that has it."""
        self._refused_at: float | None = None
        """Of `time.monotonic()`: since when no more runs are taken."""

    def start(self, key: Key, trigger: str, *, holder: str = "", by: str = "") -> Job:
        """Queue a run; raises `Busy` while the target has one, `RestoreUnderWay` while not `holder` has it."""
        with self._lock:
            self._demand_free(key, holder)
            job = Job(key, trigger, self._turns, next(self._numbers), self._began, clock=self._clock, by=by)
            self._catalog.keep(job.report)
            self._activities.start(str(key), job, self._work)
        return job

    def resize(self, limit: int) -> None:
        """Let so many run at a time; those that are running go on."""
        self._turns.resize(limit)

    def reserve(self, keys: Collection[Key], holder: str) -> None:
        """Keep targets from being run, by all but their holder, the id of a restore; raises as `start` does."""
        with self._lock:
            for key in keys:
                self._demand_free(key, holder)
            self._reserved |= {str(key): holder for key in keys}

    def release(self, holder: str) -> None:
        """Give back everything that it has reserved."""
        with self._lock:
            self._reserved = {key: other for key, other in self._reserved.items() if other != holder}

    def _demand_free(self, key: Key, holder: str) -> None:
        if self.stopping:
            raise Stopping("the sidecar is shutting down", hint="Try again when it is back.")
        if running := self._activities.at(str(key)):
            raise Busy(f"{key} has run {running.id} under way", run=running.id, hint="Wait for it, or cancel it.")
        if self._reserved.get(str(key), holder) != holder:
            hint = f"Wait for restore {self._reserved[str(key)]}, which may still have to be undone, or cancel it."
            raise RestoreUnderWay(f"{key} is being restored", hint=hint)

    def holder(self, key: Key) -> str:
        """The restore that has reserved the target; empty for none."""
        with self._lock:
            return self._reserved.get(str(key), "")

    def active(self) -> list[Job]:
        """Queued and running, oldest first."""
        return self._activities.all()

    def queued(self) -> dict[str, float]:
        """By target: seconds that its run has been waiting since somebody asked for it."""
        now = self._clock()
        reports = {str(job.key): job.report for job in self.active()}
        return {
            key: (now - report.created).total_seconds() for key, report in reports.items() if report.state == "queued"
        }

    def of_target(self, key: Key) -> Job | None:
        return self._activities.at(str(key))

    def job(self, run: str) -> Job | None:
        return self._activities.get(run)

    def page(self, key: Key | None, *, states: Collection[State], before: str, limit: int) -> list[Report]:
        """As the catalog's, live."""
        return self._activities.live(self._catalog.runs(key, states=states, before=before, limit=limit))

    def report(self, run: str) -> Report:
        """Live while it is under way, else from the catalog; raises `UnknownRun`."""
        job = self.job(run)
        return job.report if job else self._catalog.get(run)

    @property
    def stopping(self) -> bool:
        """No more runs are taken."""
        return self._refused_at is not None

    def refuse(self) -> None:
        """Take no more runs, and give up those that have no slot."""
        with self._lock:
            self._refused_at = self._refused_at or time.monotonic()
        for job in self.active():
            if job.report.state == "queued":
                job.cancel(STOPPED)

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Take no more, let those under way end, so many seconds from `refuse` on, cancel the others and wait for them.

        One that does not end in time, since the engine hangs for example, is `interrupted` at the next start.
        """
        self.refuse()
        assert self._refused_at is not None
        self._activities.join(self._refused_at + grace - time.monotonic())
        for job in self.active():
            job.hurry(time.monotonic() + CLEAR_UP_SECONDS)
        self._activities.stop()

    def _work(self, job: Job) -> None:
        report = self._execute(job)
        self._catalog.keep(report)
        self._activities.finish(job, report)
        self._ended(report)

    def record(self, report: Report) -> None:
        """Enter a final report of a run that never was, and tell it like any other."""
        self._catalog.keep(report)
        self._ended(report)

    def _ended(self, report: Report) -> None:
        is_cut = report.state == "interrupted" or (report.state == "cancelled" and self.stopping)
        self._events.publish(RunEnded(report, cut=is_cut))

    def _began(self, report: Report) -> None:
        self._catalog.keep(report)
        self._events.publish(RunBegan(report))
