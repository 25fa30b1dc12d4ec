"""Deletes what the policy does not keep, or a person does not: `retention` decides, `stored_runs` obeys.

Deleting is soft: only what has been deleted for `policy.undelete` is purged.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Protocol, Self
from zoneinfo import ZoneInfo

from loguru import logger

from config.settings import Policy
from config.target import Retention
from controller.core.errors import InUse, LastGood, Pinned, SidecarError, UnknownRun
from controller.core.events import RunEnded
from controller.core.key import Key
from controller.core.run import BY_HAND, Report
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.storage.room import room_for
from controller.storage.store import Store
from controller.targets.target import Target
from controller.upkeep.clock_watch import ClockWatch
from controller.upkeep.retention import BESIDE_FUTURE, FUTURE, UNTRUSTED, Verdict, decide, spare
from controller.upkeep.stored_runs import StoredRuns, demand_stored

UNCOPIED = "not copied yet"
"""What keeps a run that no rule keeps."""
SWEEP_INTERVAL = timedelta(days=1)
"""How often every target is looked at, whether it has had a run or not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one stored run, or would become of it."""

    verdict: Verdict
    deleted: bool = False
    error: SidecarError | None = None
    """Why it is still there, though nothing keeps it."""


@dataclass(frozen=True, slots=True)
class Aging:
    """A target, which may be gone, and the rules by which its runs go."""

    key: Key
    retention: Retention
    zone: ZoneInfo

    @classmethod
    def of(cls, target: Target) -> Self | None:
        """None where its rules are not known."""
        if target.settings is None or target.state == "replica":
            return None
        return cls(target.key, target.settings.retention, ZoneInfo(target.settings.timezone))


class Elsewhere(Protocol):
    """Who copies runs to other places."""

    def awaits(self, report: Report) -> bool:
        """Whether a run should stay until it is copied."""
        ...

    def lost(self, report: Report) -> None:
        """A run goes, copied or not."""
        ...


class Pruner:
    """`look` prunes what has to be; call it every minute or so, from one thread. The rest may be called from any."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        leases: Leases,
        targets: Callable[[], Sequence[Target]],
        clock_watch: ClockWatch,
        *,
        policy: Callable[[], Policy],
        aging: Callable[[], Sequence[Aging]] = tuple,
        clock: Callable[[], datetime],
    ) -> None:
        """`aging` gives the targets that somebody has forgotten."""
        self._catalog, self._runs = catalog, StoredRuns(store, catalog, leases, clock)
        self._targets, self._policy, self._clock, self._clock_watch = targets, policy, clock, clock_watch
        self._deleting, self._lock = threading.Lock(), threading.Lock()
        self._aging, self._pushing_out = aging, set[str]()
        self._swept: datetime | None = None
        self.elsewhere: Elsewhere | None = None
        """Set before anything is pruned."""

    def run_ended(self, event: RunEnded) -> None:
        """What the run pushes out goes at the next look."""
        if event.report.state == "succeeded":
            with self._lock:
                self._pushing_out.add(str(event.report.target))

    def look(self) -> None:
        """Prune the targets that have had a run, once a day all of them, and purge; never raises `SidecarError`."""
        now = self._clock()
        if self._clock_watch.look():  # Seen, also on days without anything to prune.
            with self._deleting:
                self._purge_overdue(now)
        with self._lock:
            keys, self._pushing_out = self._pushing_out, set()
        is_daily = self._swept is None or not timedelta(0) <= now - self._swept < SWEEP_INTERVAL
        for target in self._targets():
            if is_daily or str(target.key) in keys:
                self._try(target.key, partial(self.prune, target))
        if is_daily:
            for aging in self._aging():
                self._try(aging.key, partial(self._prune, aging, dry_run=False))
            self._swept = now

    def _try(self, key: Key, prune: Callable[[], object]) -> None:
        try:
            prune()
        except SidecarError as error:
            logger.bind(target=str(key), code=error.code).error("cannot prune: {}", error)

    def prune(self, target: Target, *, dry_run: bool = False) -> list[Outcome]:
        """What becomes of each stored run of a target, newest first; nothing goes where its settings are not known."""
        aging = Aging.of(target)
        return self._prune(aging, dry_run=dry_run) if aging else []

    def prune_forgotten(self, key: Key | None = None, *, dry_run: bool = False) -> list[Outcome]:
        """The same of every target that is gone and forgotten, or of one, by the rules that it had last."""
        forgotten = (aging for aging in self._aging() if key in (None, aging.key))
        return [outcome for aging in forgotten for outcome in self._prune(aging, dry_run=dry_run)]

    def _prune(self, aging: Aging, *, dry_run: bool) -> list[Outcome]:
        with self._deleting:
            verdicts = [self._awaited(verdict) for verdict in self._judged(aging)]
            if dry_run:
                return [Outcome(verdict) for verdict in verdicts]
            warn(aging.key, verdicts)
            return [Outcome(verdict) if verdict.stays else self._carry_out(verdict) for verdict in verdicts]

    def delete(self, report: Report, *, force: bool = False, purge: bool = False) -> Report:
        """Delete one run by hand, with `purge` for good, also where it was deleted before; gives its report then.

        Raises `UnknownRun` where nothing is stored, `LastGood` unless `force`, `Pinned`, `InUse`, `StoreError`.
        """
        with self._deleting:
            report = self._catalog.get(report.id)
            if report.recoverable and purge:
                return self._runs.purge(report)
            demand_stored(report)
            if report.pinned:
                hint = f"`backup-sidecar keep {report.id} --release` leaves it to the rules again."
                raise Pinned(f"run {report.id} is pinned{f': {report.note}' if report.note else ''}", hint=hint)
            newest = self._catalog.good(report.target, limit=1), [self._catalog.last_begun(report.target)]
            if report.id in (good.id for good in chain(*newest) if good) and not force:
                hint = "Make a new backup first, or force it: then there is none."
                raise LastGood(f"run {report.id} is the last good one of {report.target}", hint=hint)
            return self._runs.purge(report, BY_HAND) if purge else self._delete(report, BY_HAND)

    def make_way(self, damaged: Report) -> Report:
        """Take a damaged run out of the store, since the same one is there whole. Raises `InUse`, `StoreError`."""
        with self._deleting:
            return self._runs.purge(damaged, "it was damaged, and the same run was adopted")

    def undelete(self, report: Report) -> Report:
        """Bring a deleted run back; gives its report. Raises `UnknownRun` for another, `InUse`, `StoreError`."""
        with self._deleting:
            report = self._catalog.get(report.id)
            if not report.recoverable:
                state = "purged: nothing of it is left" if report.pruned else f"not deleted: it is {report.state}"
                raise UnknownRun(f"run {report.id} is {state}", hint="`backup-sidecar runs` lists them.")
            return self._runs.undelete(report)

    def pin(self, report: Report, note: str) -> Report:
        """Keep a run, so that no rule deletes it, nor a person by mistake. Raises `UnknownRun`, `StoreError`."""
        with self._deleting:
            return self._runs.pin(demand_stored(self._catalog.get(report.id)), note)

    def unpin(self, report: Report) -> Report:
        """Undo `pin`. Raises `UnknownRun`, `StoreError`."""
        with self._deleting:
            return self._runs.unpin(demand_stored(self._catalog.get(report.id)))

    def spare_bytes(self) -> int:
        """As the store's `Reserve`."""
        return sum(report.size or 0 for report in self._overruled())

    def make_room(self, key: Key, missing: Callable[[], int], beyond: Callable[[], int]) -> None:
        """As the store's `Reserve`: first what a rule had deleted, then what this target can spare."""
        with self._deleting:
            overruled, spared = self._overruled(), self._spare(key)
            own = [*(report for report in overruled if report.target == key), *spared]
            needs = (own, beyond), ([*overruled, *spared], missing)
            if any(sum(report.size or 0 for report in chosen) < lacking() for chosen, lacking in needs):
                return
            for chosen, lacking in needs:
                while chosen and lacking() > 0:
                    report = chosen.pop(0)
                    if self._catalog.get(report.id).artifacts:  # Not given up before.
                        self._purged(report, report.cause or f"room for the next run of {key}")

    def yields(self, key: Key) -> int:
        """As the store's `Reserve`."""
        own = [*(report for report in self._overruled() if report.target == key), *self._spare(key)]
        return sum(report.size or 0 for report in own)

    def give_up_one(self) -> bool:
        """As the store's `Reserve`."""
        with self._deleting:
            return any(self._purged(report) for report in self._overruled())

    def needed_by_others(self, key: Key) -> int:
        """As the store's `Reserve`."""
        others = (target.key for target in self._targets() if target.is_wanted and target.key != key)
        return sum(room_for(good.size or 0) for other in others if (good := self._catalog.last_good(other)))

    def allowance(self, key: Key) -> int | None:
        """As the store's `Reserve`; a run that was deleted counts until it is purged."""
        if (most := self._policy().max_store_per_target) is None:
            return None
        deleted = (report for report in self._catalog.deleted() if report.target == key)
        return most - sum(report.size or 0 for report in (*self._catalog.stored(key), *deleted))

    def _overruled(self) -> list[Report]:
        """What rules have deleted and is not purged yet, of all targets, the oldest first.

        Where nobody knows the cause, since a crash came in between or no mark fitted on the disk, it was a person.
        """
        return [report for report in self._catalog.deleted() if report.cause not in ("", BY_HAND)]

    def _spare(self, key: Key) -> list[Report]:
        known = (aging for target in self._targets() if target.key == key and (aging := Aging.of(target)))
        return [run for aging in known for run in spare(self._judged(aging), aging.zone)]

    def _judged(self, aging: Aging) -> list[Verdict]:
        trusted, stored = self._clock_watch.look(), self._catalog.stored(aging.key)
        safety, now = self._policy().safety, self._clock()
        return decide(aging.retention, stored, now, aging.zone, safety=safety, trusted=trusted)

    def _awaited(self, verdict: Verdict) -> Verdict:
        """The same, but that a run stays that waits for its copy."""
        waits = not verdict.stays and self.elsewhere is not None and self.elsewhere.awaits(verdict.run)
        return Verdict(verdict.run, (UNCOPIED,)) if waits else verdict

    def _carry_out(self, verdict: Verdict) -> Outcome:
        try:
            self._delete(verdict.run, verdict.cause)
        except InUse as error:
            return Outcome(verdict, error=error)
        except SidecarError as error:
            logger.bind(run=verdict.run.id, code=error.code).error("cannot prune run {}: {}", verdict.run.id, error)
            return Outcome(verdict, error=error)
        return Outcome(verdict, deleted=True)

    def _delete(self, report: Report, cause: str) -> Report:
        deleted = self._runs.delete(report, cause)
        if self.elsewhere and cause != BY_HAND:
            self.elsewhere.lost(report)
        return deleted if self._policy().undelete else self._runs.purge(deleted)

    def _purge_overdue(self, now: datetime) -> None:
        """For good goes what was deleted long enough ago."""
        for report in self._catalog.deleted():
            if report.pruned and now - report.pruned >= self._policy().undelete:
                self._purged(report)

    def _purged(self, report: Report, cause: str = "") -> bool:
        """Whether a run could be purged; one that is in use can be later."""
        try:
            self._runs.purge(report, cause)
            if self.elsewhere and report.stored:
                self.elsewhere.lost(report)
        except InUse:
            return False
        except SidecarError as error:
            logger.bind(run=report.id, code=error.code).error("cannot purge run {}: {}", report.id, error)
            return False
        return True


def warn(key: Key, verdicts: Sequence[Verdict]) -> None:
    """Say that the clock keeps what might have gone."""
    for rule in (FUTURE, BESIDE_FUTURE, UNTRUSTED):
        if runs := [verdict.run.id for verdict in verdicts if rule in verdict.rules]:
            bound = logger.bind(target=str(key), runs=len(runs), newest=runs[0])
            bound.warning("runs stay because of the {}", rule)
