"""Admission of runs: one for each target, a limited number at a time, first come first served.

Apart from the runner, which knows one run only; here is what others may ask of a run that is under way.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from datetime import UTC, datetime

from controller.backup.turns import Turns
from controller.core.cancelling import Cancellable
from controller.core.errors import Busy, Cancelled, RestoreUnderWay, Stopping, TimedOut
from controller.core.events import Bus, RunBegan, RunEnded
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.run import Report, new_run_id
from controller.storage.catalog import Catalog

GRACE = 10.0
"""Seconds that runs under way get to end by themselves when the sidecar is stopped."""
LAST = 10.0
"""Seconds that a run gets to clear up and for `post`, once it was cancelled since the sidecar is being stopped."""


class Job:
    """A run under way: its live report, and the way to end it. Safe to use from several threads."""

    def __init__(
        self,
        key: Key,
        trigger: str,
        turns: Turns | None = None,
        number: int = 0,
        begun: Callable[[Report], None] = lambda _: None,
    ) -> None:
        now = datetime.now(UTC)
        self.key = key
        self.future: Future[Report] = Future()
        self.begun: float | None = None
        """Of `time.monotonic()`: when it had its turn first, or was held up by its target."""
        self.deadline: float | None = None
        """Of the same clock; None until then."""
        self._turns, self._number, self._on_begin = turns or Turns(1), number, begun
        self._lock = threading.Lock()
        self._report = Report(
            id=new_run_id(now), target=key, state="queued", reason="slot", trigger=trigger, created=now
        )
        self.retries = 0
        """What its target's settings allow, once they are known: a target may be away between two attempts."""
        self._latest: float | None = None
        """Of `time.monotonic()`: by when `post` has to end, once the sidecar is being stopped."""
        self._cancelled, self._why = threading.Event(), ""
        self._stream: Cancellable | None = None
        self._posting: Cancellable | None = None

    @property
    def report(self) -> Report:
        with self._lock:
            return self._report

    def update(self, **changes: object) -> Report:
        """Replace fields of the live report."""
        with self._lock:
            self._report = self._report.model_copy(update=changes)
            return self._report

    def ending(self, **changes: object) -> Report:
        """The final report, which nobody is shown until the queue has let the run go: then another can be started."""
        return self.report.model_copy(update=changes)

    def begin(self, timeout: float) -> float:
        """Let the run's time begin, unless it has; gives its deadline, of `time.monotonic()`."""
        if self.begun is None or self.deadline is None:
            self.begun = time.monotonic()
            self.deadline = self.begun + timeout
        return self.deadline

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The slot of a running run; raises `Cancelled`, and `TimedOut` for a run whose time has begun before."""
        self.update(state="queued", reason="slot")
        with self._turns.taken(self._number, self.check):
            self.check()
            before = self.report.started
            report = self.update(state="running", reason="", started=before or datetime.now(UTC))
            if before is None:
                self._on_begin(report)
            yield

    def wait(self, seconds: float, reason: str) -> None:
        """Hold the run up for so long, without a slot; raises `Cancelled`."""
        self.update(state="queued", reason=reason)
        if self._cancelled.wait(seconds):
            raise self._reason()

    def again(self, failed: Failure) -> None:
        """Begin the next attempt."""
        report = self.report
        self.update(attempts=report.attempts + 1, retried=(*report.retried, failed), bytes=0)

    def captured(self, size: int) -> None:
        """So many plain bytes have come so far."""
        self.update(bytes=size)

    def reading(self, stream: Cancellable) -> None:
        """What `cancel` has to end; raises `Cancelled` when that was asked for before."""
        with self._lock:
            self._stream = stream
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
        if self._cancelled.is_set():
            raise self._reason()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise TimedOut("the deadline has passed", hint="Raise backup.timeout, or make the dump smaller.")

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self, why: str = "") -> None:
        """Ask for the run's end: its stream is closed, which ends the command in the target."""
        with self._lock:
            self._why = self._why or why
            self._cancelled.set()
            stream = self._stream
        if stream is not None:
            stream.cancel(self._reason())

    def _reason(self) -> Cancelled:
        why = f", because {self._why}" if self._why else ""
        return Cancelled(f"run {self.report.id} was cancelled{why}", hint="Start it again when it is wanted.")


class Jobs:
    """The queue. `execute` does one run, takes its turn with `Job.turn`, and gives its final report without raising."""

    def __init__(self, execute: Callable[[Job], Report], catalog: Catalog, limit: int, events: Bus) -> None:
        self._execute, self._catalog, self._events = execute, catalog, events
        self._turns, self._numbers = Turns(limit), itertools.count()
        self._lock = threading.Lock()
        self._active: dict[str, Job] = {}
        self._held: dict[str, str] = {}
        self._refused_at: float | None = None
        """Of `time.monotonic()`: since when no more runs are taken."""
        self._threads: set[threading.Thread] = set()

    def start(self, key: Key, trigger: str, *, holder: str = "") -> Job:
        """Queue a run; raises `Busy` while the target has one, `RestoreUnderWay` while not `holder` has it."""
        with self._lock:
            self._demand_free(key, holder)
            job = Job(key, trigger, self._turns, next(self._numbers), self._began)
            self._catalog.keep(job.report)
            self._active[str(key)] = job
            thread = threading.Thread(target=self._work, args=(job,), name=f"run {job.report.id}", daemon=True)
            self._threads.add(thread)
            thread.start()
        return job

    def resize(self, limit: int) -> None:
        """Let so many run at a time; those that are running go on."""
        self._turns.resize(limit)

    def hold(self, keys: Iterable[Key], holder: str) -> None:
        """Keep targets from being run, by all but their holder, the id of a restore; raises as `start` does."""
        wanted = tuple(keys)
        with self._lock:
            for key in wanted:
                self._demand_free(key, holder)
            self._held |= {str(key): holder for key in wanted}

    def release(self, holder: str) -> None:
        """Give back everything that it holds."""
        with self._lock:
            self._held = {key: other for key, other in self._held.items() if other != holder}

    def _demand_free(self, key: Key, holder: str) -> None:
        if self.stopping:
            raise Stopping("the sidecar is shutting down", hint="Try again when it is back.")
        if running := self._active.get(str(key)):
            run = running.report.id
            raise Busy(f"{key} has run {run} under way", run=run, hint="Wait for it, or cancel it.")
        if self._held.get(str(key), holder) != holder:
            hint = f"Wait for restore {self._held[str(key)]}, which may still have to be undone, or cancel it."
            raise RestoreUnderWay(f"{key} is being restored", hint=hint)

    def active(self) -> list[Job]:
        """Queued and running, oldest first."""
        with self._lock:
            return list(self._active.values())

    def of_target(self, key: Key) -> Job | None:
        with self._lock:
            return self._active.get(str(key))

    def job(self, run: str) -> Job | None:
        return next((job for job in self.active() if job.report.id == run), None)

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
                job.cancel("the sidecar was stopped")

    def stop(self, grace: float = GRACE) -> None:
        """Take no more, let those under way end, so many seconds from `refuse` on, cancel the others and wait for them.

        One that does not end in time, since the engine hangs for example, is `interrupted` at the next start.
        """
        self.refuse()
        assert self._refused_at is not None
        until = self._refused_at + grace
        wait([job.future for job in self.active()], timeout=max(0.0, until - time.monotonic()))
        left, latest, threads = self.active(), time.monotonic() + LAST, tuple(self._threads)
        for job in left:
            job.hurry(latest)
            job.cancel("the sidecar was stopped")
        wait([job.future for job in left], timeout=LAST + 1)
        for thread in threads:  # Who hears of a run's end may still be at it.
            thread.join(max(0.0, latest + 1 - time.monotonic()))

    def _work(self, job: Job) -> None:
        job.future.set_running_or_notify_cancel()
        report = self._execute(job)
        self._catalog.keep(report)
        with self._lock:
            del self._active[str(job.key)]
        job.update(**dict(report))
        job.future.set_result(report)
        self._ended(report)
        self._threads.discard(threading.current_thread())

    def record(self, report: Report) -> None:
        """Enter a final report of a run that never was, and tell it like any other."""
        self._catalog.keep(report)
        self._ended(report)

    def _ended(self, report: Report) -> None:
        is_cut = report.state == "interrupted" or (report.state == "cancelled" and self.stopping)
        self._events.publish(RunEnded(report, cut=is_cut))

    def _began(self, report: Report) -> None:
        self._events.publish(RunBegan(report))
