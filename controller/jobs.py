"""Admission of runs: one for each target, a limited number at a time, first come first served.

Apart from the runner, which knows one run only; here is what others may ask of a run that is under way.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Protocol

from loguru import logger

from controller.catalog import Catalog
from controller.errors import Busy, Cancelled, Stopping, StoreError
from controller.report import Key, Report, new_run_id


class Cancellable(Protocol):
    """What a run reads from."""

    def cancel(self) -> None: ...


class Job:
    """A run under way: its live report, and the way to end it. Safe to use from several threads."""

    def __init__(self, key: Key, trigger: str) -> None:
        now = datetime.now(UTC)
        self.key = key
        self.future: Future[Report]
        self._lock = threading.Lock()
        self._report = Report(
            id=new_run_id(now), target=key, state="queued", reason="slot", trigger=trigger, created=now
        )
        self._cancelled = False
        self._stream: Cancellable | None = None

    @property
    def report(self) -> Report:
        with self._lock:
            return self._report

    def update(self, **changes: object) -> Report:
        """Replace fields of the live report."""
        with self._lock:
            self._report = self._report.model_copy(update=changes)
            return self._report

    def captured(self, size: int) -> None:
        """So many plain bytes have come so far."""
        self.update(bytes=size)

    def reading(self, stream: Cancellable | None) -> None:
        """What `cancel` has to end; raises `Cancelled` when that was asked for before."""
        with self._lock:
            self._stream = stream
        self.check()

    def check(self) -> None:
        """Raises `Cancelled` once that was asked for."""
        if self._cancelled:
            raise Cancelled(f"run {self.report.id} was cancelled")

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Ask for the run's end: its stream is closed, which ends the command in the target."""
        with self._lock:
            self._cancelled = True
            stream = self._stream
        if stream is not None:
            stream.cancel()


class Jobs:
    """The queue. `execute` does one run and gives its final report without raising."""

    def __init__(self, execute: Callable[[Job], Report], catalog: Catalog, limit: int) -> None:
        self._execute, self._catalog = execute, catalog
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix="run")
        self._lock = threading.Lock()
        self._active: dict[str, Job] = {}
        self._stopping = False
        self._listeners: list[Callable[[Report], None]] = []

    def on_end(self, listener: Callable[[Report], None]) -> None:
        """Call `listener` with every final report."""
        self._listeners.append(listener)

    def start(self, key: Key, trigger: str) -> Job:
        """Queue a run; raises `Busy` while the target has one."""
        with self._lock:
            if self._stopping:
                raise Stopping("the sidecar is shutting down", hint="Try again when it is back.")
            if running := self._active.get(str(key)):
                run = running.report.id
                raise Busy(f"{key} has run {run} under way", run=run, hint="Wait for it, or cancel it.")
            job = Job(key, trigger)
            self._keep(job.report)
            self._active[str(key)] = job
            job.future = self._pool.submit(self._work, job)
        return job

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

    def stop(self) -> None:
        """Take no more, cancel what is under way and wait for its end."""
        with self._lock:
            self._stopping = True
        for job in self.active():
            job.cancel()
        self._pool.shutdown(wait=True, cancel_futures=False)

    def _work(self, job: Job) -> Report:
        report = self._execute(job)
        self._keep(report)
        with self._lock:
            del self._active[str(job.key)]
        for listener in self._listeners:
            listener(report)
        return report

    def _keep(self, report: Report) -> None:
        """A disk that takes nothing hides no report: the catalog tells it from memory."""
        try:
            self._catalog.put(report)
        except StoreError as error:
            logger.bind(run=report.id, code=error.code).warning("a report is kept in memory only: {}", error)
