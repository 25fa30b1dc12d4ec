"""The work for one destination: a thread that asks a child process for one run after the other."""

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLong
from datetime import datetime, timedelta
from typing import Any

from loguru import logger
from pydantic import BaseModel

from controller.core.copy import Copy
from controller.core.copy_errors import DestinationBusy, DestinationError, WrongKey
from controller.core.errors import Damaged, SidecarError
from controller.core.failure import Failure
from controller.core.redaction import Redact
from controller.core.run import Report
from controller.storage.catalog import Catalog
from controller.storage.copies.orders import Send, Sent, Setup
from controller.storage.leases import Leases
from controller.storage.store import Store
from controller.upkeep.copy_chores import Chore, due
from controller.upkeep.copy_worker import CopyWorker, OrderFailed
from controller.upkeep.verifier import Verifier

SHORTEST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
"""Before it is tried again, doubled with each failure."""
STOP_SECONDS = 10.0
OF_DESTINATIONS = {WrongKey.code, *(kind.code for kind in DestinationError.__subclasses__())}
"""Codes of failures by which no other run could be copied either."""


class Lane:
    """Safe to use from several threads."""

    def __init__(
        self,
        name: str,
        store: Store,
        catalog: Catalog,
        leases: Leases,
        verifier: Verifier,
        *,
        setup: Callable[[], Setup],
        waiting: Callable[[], Sequence[Report]],
        chores: Sequence[Chore],
        redact: Redact,
        clock: Callable[[], datetime],
    ) -> None:
        """`waiting` gives the runs that the destination lacks, in their order."""
        self.name = name
        self._store, self._catalog, self._leases, self._verifier = store, catalog, leases, verifier
        self._setup, self._waiting, self._chores = setup, waiting, chores
        self._redact, self._clock = redact, clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._worker: CopyWorker | None = None
        self._orders: deque[tuple[BaseModel, Future[Any]]] = deque()
        self._failures, self._due = 0, datetime.min.replace(tzinfo=clock().tzinfo)
        self._stopping = False
        self.failure: Failure | None = None
        """Why nothing can be copied at the moment; it is tried again."""
        self._doubts = dict[int, Failure]()
        """By the number of a chore: why it could not be done."""
        self.current: Copy | None = None
        """What is being copied."""

    @property
    def doubt(self) -> Failure | None:
        """What is wrong with what lies there, so that nothing of it is deleted."""
        return next(iter(self._doubts.values()), None)

    def work_if_due(self) -> None:
        """Begin, unless it is at work, has failed just now, or has nothing to do."""
        if self._is_due and (self._waiting() or due(self._chores)):
            self._work()

    @property
    def _is_due(self) -> bool:
        """A clock that was ahead when it failed prolongs no wait."""
        return not self._clock() < self._due <= self._clock() + LONGEST_WAIT

    def forgive(self) -> None:
        """Try again at once."""
        self._failures, self._due, self.failure = 0, datetime.min.replace(tzinfo=self._clock().tzinfo), None

    def ask(self, order: BaseModel, seconds: float) -> Any:
        """What the worker answers, between two runs; raises `OrderFailed`, `SidecarError`, `DestinationBusy`."""
        future: Future[Any] = Future()
        with self._lock:
            self._orders.append((order, future))
        self._work()
        try:
            return future.result(seconds)
        except TooLong:
            future.cancel()
            message = f"the destination {self.name} is at work with something else"
            raise DestinationBusy(message, hint="`backup-sidecar copies` shows it; try again later.") from None

    def stop(self) -> None:
        self._stopping = True
        thread, worker = self._thread, self._worker
        if worker:
            worker.kill()
        if thread:
            thread.join(STOP_SECONDS)

    def _work(self) -> None:
        with self._lock:
            if self._stopping or (self._thread and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name=f"copies-{self.name}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        worker, is_vain = None, True
        try:
            self._worker = worker = CopyWorker(self._setup(), self._redact)
            while not self._stopping and self._step(worker):
                pass
            is_vain = self._stopping
        except SidecarError as error:
            self._failed(Failure.of(error, self._redact))
        except OSError as error:
            self._failed(Failure(code="internal-error", message=f"the worker of copies cannot be started: {error}"))
        except Exception as error:  # noqa: BLE001  # The other destinations, and the next try, must not be lost by it.
            self._failed(Failure.defect(f"copying to {self.name}", error, self._redact))
        finally:
            self._worker = self.current = None
            if worker:
                worker.close()
            self._end(is_vain=is_vain)

    def _step(self, worker: CopyWorker) -> bool:
        """Do one thing; whether there may be another one."""
        with self._lock:
            order, future = self._orders.popleft() if self._orders else (None, None)
        if order is not None and future is not None:
            self._obey(worker, order, future)
            return True
        if not self._is_due:
            return False
        if waiting := self._waiting():
            return self._copy(worker, waiting[0])
        if chore := due(self._chores):
            return self._do(worker, *chore)
        return False

    def _do(self, worker: CopyWorker, chore: Chore, order: BaseModel) -> bool:
        """Have a chore done; whether there may be something else to do."""
        try:
            chore.done(worker.ask(order))
        except OrderFailed as error:
            chore.failed()
            if error.failure.code in OF_DESTINATIONS:
                self._failed(error.failure)
                return False
            bound = logger.bind(code=error.failure.code)
            bound.error("at {}: {}. {}", self.name, error.failure.message, error.failure.hint)
            self._doubts[self._chores.index(chore)] = error.failure
            return True
        self._doubts.pop(self._chores.index(chore), None)
        return True

    def _obey(self, worker: CopyWorker, order: BaseModel, future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = worker.ask(order)
        except Exception as error:  # noqa: BLE001  # Whoever asked gets it.
            future.set_exception(error)
            return
        self.forgive()
        future.set_result(result)

    def _copy(self, worker: CopyWorker, report: Report) -> bool:
        """Copy a run; whether the next may be tried."""
        copy = Copy.begun(report.target, report.id, self.name, self._clock(), report.size or 0)
        self._keep(copy)
        try:
            with self._leases.held(report.id):
                self._store.manifest(report.target, report.id)  # Raises where somebody has changed it.
                order = Send(
                    folder=self._store.folder(report.target, report.id),
                    trigger=report.trigger,
                    accepted=report.accepted,
                    suspicious=bool(report.suspicious),
                )
                sent = Sent.model_validate(worker.ask(order, self._progress))
        except OrderFailed as error:
            return self._not_copied(copy, error.failure)
        except SidecarError as error:
            if self._stopping:
                return False
            return self._not_copied(copy, Failure.of(error, self._redact))
        facts = {"objects": sent.objects, "sent": sent.sent, "sent_bytes": sent.sent_bytes, "proved": sent.proved}
        facts |= {"state": "read-back", "finished": self._clock(), "bytes": copy.total}
        self._keep(copy.model_copy(update=facts))
        self.forgive()
        bound = logger.bind(target=str(report.target), run=report.id, size=report.size, sent=sent.sent_bytes)
        bound.info("copied to {} and read back", self.name)
        return True

    def _progress(self, done: int) -> None:
        if self.current:
            self.current = self.current.model_copy(update={"bytes": done})

    def _keep(self, copy: Copy) -> None:
        self.current = copy
        self._catalog.keep(copy)

    def _not_copied(self, copy: Copy, failure: Failure) -> bool:
        """Keep why; a run that is wrong in itself keeps no other from being copied."""
        is_general = failure.code in OF_DESTINATIONS
        facts = {"state": "running" if is_general else "failed", "failure": failure, "finished": self._clock()}
        self._keep(copy.model_copy(update=facts))
        if is_general:
            self._failed(failure)
            return False
        bound = logger.bind(target=str(copy.target), run=copy.run, code=failure.code)
        bound.warning("not copied to {}: {}. {}", self.name, failure.message, failure.hint)
        if failure.code == Damaged.code:
            self._verifier.verify(self._catalog.get(copy.run))
        return True

    def _failed(self, failure: Failure) -> None:
        if self._stopping:
            return
        if self.failure is None or self.failure.code != failure.code:
            bound = logger.bind(code=failure.code)
            bound.warning("nothing can be copied to {}: {}. {}", self.name, failure.message, failure.hint)
        self._failures, self.failure = self._failures + 1, failure
        wait = (
            min(SHORTEST_WAIT * 2 ** min(self._failures - 1, 10), LONGEST_WAIT) if failure.transient else LONGEST_WAIT
        )
        self._due = self._clock() + wait * random.uniform(0.8, 1.0)  # noqa: S311  # Not all at the same moment.

    def _end(self, *, is_vain: bool) -> None:
        """Of the thread; what was ordered at the last moment is done by another one, unless it would be in vain."""
        with self._lock:
            self._thread = None
            orders = list(self._orders) if is_vain else []
            if is_vain:
                self._orders.clear()
            left = bool(self._orders)
        for _, future in orders:
            if future.set_running_or_notify_cancel():
                message = self.failure.message if self.failure else "the sidecar is shutting down"
                future.set_exception(DestinationBusy(message, hint=self.failure.hint if self.failure else ""))
        if left:
            self._work()
