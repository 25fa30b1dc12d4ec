"""Keeps what was promised for each target, beyond its container and the process.

The shell around `freshness`. A target is let go when it says so itself (`backup.enable=false`), when somebody forgets
it, or when no good run of it is stored any more.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Self

from cronsim import CronSim, CronSimError
from loguru import logger
from pydantic import AfterValidator, Field

from config.cron import Timezone
from controller.backup.jobs import Jobs
from controller.core.errors import StoreError
from controller.core.key import Key, KeyText
from controller.core.records import Record, Versioned
from controller.storage import journal
from controller.storage.catalog import Catalog
from controller.targets.target import Target
from controller.upkeep.freshness import Freshness, Promise, judge
from controller.upkeep.schedule import Rule

FILE = "promises.json"
NOT_PROMISED = ("disabled", "replica")


Seconds = Annotated[float, Field(ge=0, le=100 * 365 * 86_400, allow_inf_nan=False)]


def readable(cron: str) -> str:
    """Raises ValueError for what gives no due times."""
    try:
        CronSim(cron, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(str(error)) from error
    return cron


class Written(Record):
    """A promise as it is written down."""

    cron: Annotated[str, AfterValidator(readable)] | None
    zone: Timezone | None
    max_age: Seconds | None
    timeout: Seconds

    @classmethod
    def of(cls, promise: Promise) -> Self:
        cron, zone = (promise.rule.cron, promise.rule.zone) if promise.rule else (None, None)
        max_age = promise.max_age.total_seconds() if promise.max_age else None
        return cls(cron=cron, zone=zone, max_age=max_age, timeout=promise.timeout.total_seconds())

    def promise(self) -> Promise:
        rule = Rule(self.cron, self.zone) if self.cron and self.zone else None
        max_age = timedelta(seconds=self.max_age) if self.max_age else None
        return Promise(rule, max_age, timedelta(seconds=self.timeout))


class Promises(Versioned):
    """What was promised for each target, by key."""

    targets: dict[KeyText, Written] = Field(default_factory=dict)


class Expectations:
    """Call `look` every few seconds; the rest may be called from any thread."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        catalog: Catalog,
        jobs: Jobs,
        folder: Path,
        *,
        orchestrated: Callable[[], timedelta | None],
        clock: Callable[[], datetime],
    ) -> None:
        """`orchestrated` gives the promise where an orchestrator says when, None where none does."""
        self._targets, self._catalog, self._jobs = targets, catalog, jobs
        self._path, self._orchestrated, self._clock = folder / FILE, orchestrated, clock
        self._lock = threading.Lock()
        fact = journal.read(self._path, Promises) or Promises()
        self._known, self._written = {key: written.promise() for key, written in fact.targets.items()}, True

    def look(self) -> None:
        """Take down what the targets promise now; never raises `SidecarError`."""
        with self._lock:
            before = dict(self._known)
            for target in self._targets():
                if target.state == "disabled":
                    self._known.pop(str(target.key), None)
                elif target.settings is not None and target.state != "replica":
                    self._known[str(target.key)] = self._promise(target)
            if self._known != before or not self._written:
                self._write()

    def let_go(self, key: Key) -> None:
        """Expect nothing more of a target, unless it is there."""
        with self._lock:
            if self._known.pop(str(key), None):
                self._write()

    def all(self) -> list[Freshness]:
        """Of every target that there is or was promised, by key."""
        present = {str(target.key): target for target in self._targets()}
        with self._lock:
            known = dict(self._known)
        promised = {key for key, target in present.items() if target.state not in NOT_PROMISED}
        vanished = {key for key in known.keys() - present.keys() if self._catalog.has_good(Key.parse(key))}
        return [self._judged(key, known.get(key), present.get(key)) for key in sorted(promised | vanished)]

    def of(self, target: Target) -> Freshness:
        """The verdict on one target."""
        with self._lock:
            known = self._known.get(str(target.key))
        return self._judged(str(target.key), known, target)

    def _judged(self, key: str, known: Promise | None, target: Target | None) -> Freshness:
        parsed = target.key if target else Key.parse(key)
        promise = self._promise(target) if target and target.settings else known
        good = self._catalog.last_good(parsed)
        under_way = self._jobs.of_target(parsed) is not None
        known_good = good or next((run for run in self._catalog.future(parsed) if run.good), None)
        state, reason = judge(promise, known_good, self._clock(), under_way=under_way)
        present = target is not None and target.state != "absent"
        return Freshness(
            parsed, state, reason if present else f"{reason}; its container is gone", good, present, promise
        )

    def _promise(self, target: Target) -> Promise:
        assert target.settings is not None
        return Promise.of(target.key, target.settings, orchestrated=self._orchestrated())

    def _write(self) -> None:
        fact = Promises(targets={key: Written.of(promise) for key, promise in sorted(self._known.items())})
        try:
            journal.write(self._path, fact)
        except StoreError as error:
            if self._written:
                logger.bind(code=error.code).error("what was promised is remembered in memory only: {}", error)
            self._written = False
        else:
            self._written = True
