"""Deletes what the policy does not keep: `retention` decides, the store obeys.

First the catalog says that a run is pruned, then its folder goes, manifest first. A crash in between leaves a folder
that the next start takes away; there is never a run that is listed and not whole. The report stays as history, without
artifacts.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from loguru import logger

from controller.core.errors import InUse, LastGood, SidecarError, StoreError, UnknownRun
from controller.core.events import RunEnded
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.core.records import rfc3339
from controller.core.run import Report
from controller.storage import journal
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.storage.store import Store
from controller.targets.target import Target
from controller.upkeep.clock import Trust
from controller.upkeep.retention import FUTURE, UNTRUSTED, Verdict, decide

FILE = "clock.json"
SWEEP_INTERVAL = timedelta(days=1)
"""How often every target is looked at, whether it has had a run or not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one stored run, or would become of it."""

    verdict: Verdict
    deleted: bool = False
    error: SidecarError | None = None
    """Why it is still there, though nothing keeps it."""


class Pruner:
    """`look` prunes what has to be; call it every minute or so, from one thread. The rest may be called from any."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        leases: Leases,
        targets: Callable[[], Sequence[Target]],
        folder: Path,
        *,
        safety: Callable[[], timedelta],
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._catalog, self._leases = store, catalog, leases
        self._targets, self._safety, self._clock, self._path = targets, safety, clock, folder / FILE
        self._deleting, self._lock = threading.Lock(), threading.Lock()
        self._pushing_out: set[str] = set()
        self._swept: datetime | None = None
        self._trust: Trust | None = None

    def run_ended(self, event: RunEnded) -> None:
        """What the run pushes out goes at the next look."""
        if event.report.state == "succeeded":
            with self._lock:
                self._pushing_out.add(str(event.report.target))

    def look(self) -> None:
        """Prune the targets that have had a run, once a day all of them; never raises `SidecarError`."""
        now = self._clock()
        with self._deleting:
            self._watched(now)  # Seen, also on days without anything to prune.
        with self._lock:
            keys, self._pushing_out = self._pushing_out, set()
        is_daily = self._swept is None or not timedelta(0) <= now - self._swept < SWEEP_INTERVAL
        for target in self._targets():
            if is_daily or str(target.key) in keys:
                try:
                    self.prune(target)
                except SidecarError as error:
                    logger.bind(target=str(target.key), code=error.code).error("cannot prune: {}", error)
        if is_daily:
            self._swept = now

    def prune(self, target: Target, *, dry_run: bool = False) -> list[Outcome]:
        """What becomes of each stored run of a target, newest first; nothing goes where its settings are not known."""
        if target.settings is None or target.state == "replica":
            return []
        with self._deleting:
            now, zone = self._clock(), ZoneInfo(target.settings.timezone)
            trusted = self._watched(now)
            policy, stored = target.settings.retention, self._catalog.stored(target.key)
            verdicts = decide(policy, stored, now, zone, safety=self._safety(), trusted=trusted)
            if dry_run:
                return [Outcome(verdict) for verdict in verdicts]
            warn(target.key, verdicts)
            return [Outcome(verdict) if verdict.stays else self._carry_out(verdict) for verdict in verdicts]

    def delete(self, report: Report, *, force: bool) -> Report:
        """Delete one run by hand; gives its report as it is then.

        Raises `UnknownRun` where nothing is stored, `LastGood` unless `force`, `InUse`, `StoreError`.
        """
        with self._deleting:
            if not report.stored:
                state = "pruned" if report.pruned else report.state
                raise UnknownRun(f"run {report.id} has no artifacts: it is {state}", hint="Nothing is to be deleted.")
            good = self._catalog.last_good(report.target)
            if good and good.id == report.id and not force:
                hint = "Make a new backup first, or force it: then there is none."
                raise LastGood(f"run {report.id} is the last good one of {report.target}", hint=hint)
            return self._remove(report, "by hand")

    def finish(self, manifest: Manifest) -> None:
        """At start: delete what a dead process had begun to."""
        try:
            if self._catalog.get(manifest.run).pruned:
                self._store.delete(manifest.target, manifest.run)
        except SidecarError as error:
            logger.bind(run=manifest.run, code=error.code).error("cannot prune run {}: {}", manifest.run, error)

    def _carry_out(self, verdict: Verdict) -> Outcome:
        try:
            self._remove(verdict.run, verdict.cause)
        except InUse as error:
            return Outcome(verdict, error=error)
        except SidecarError as error:
            logger.bind(run=verdict.run.id, code=error.code).error("cannot prune run {}: {}", verdict.run.id, error)
            return Outcome(verdict, error=error)
        return Outcome(verdict, deleted=True)

    def _remove(self, report: Report, cause: str) -> Report:
        pruned = report.model_copy(update={"pruned": self._clock(), "artifacts": ()})
        with self._leases.deleting(report.id):
            self._catalog.keep(pruned)
            try:
                self._store.delete(report.target, report.id)
            except UnknownRun:
                logger.bind(run=report.id).warning("run {} had left the store before it was pruned", report.id)
            except StoreError:
                if self._is_there(report):
                    self._catalog.keep(report)
                raise
        logger.bind(target=str(report.target), run=report.id, size=report.size).info("run pruned: {}", cause)
        return pruned

    def _is_there(self, report: Report) -> bool:
        """Whether the run is still published, so that it is whole."""
        try:
            return bool(self._store.manifest(report.target, report.id))
        except UnknownRun:
            return False
        except StoreError:
            return True

    def _watched(self, now: datetime) -> bool:
        """Look at the clock: whether it may be believed. Fails closed where nothing was written down before."""
        before = self._trust or journal.read(self._path, Trust)
        after = before.look(now) if before else Trust(seen=now, since=now)
        if before and after.since != before.since:
            seen = rfc3339(before.seen)
            logger.warning("the clock has jumped since {}, or nobody looked: nothing goes by its age for a day", seen)
        if after is not before:
            with suppress(StoreError):  # Then it is noted the next time.
                journal.write(self._path, after)
        self._trust = after
        return after.is_trusted(now)


def warn(key: Key, verdicts: Sequence[Verdict]) -> None:
    """Say that the clock keeps what might have gone."""
    for rule in (FUTURE, UNTRUSTED):
        if runs := [verdict.run.id for verdict in verdicts if rule in verdict.rules]:
            bound = logger.bind(target=str(key), runs=len(runs), newest=runs[0])
            bound.warning("runs stay because of the {}", rule)
