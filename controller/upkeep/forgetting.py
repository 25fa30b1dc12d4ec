"""Lets go of what is gone, once somebody says so: a target without a container, a run that is lost or damaged.

What is forgotten is no matter for the verdict. Its runs stay, and age by the retention that the target had last, which
is remembered here for that. A target that returns is taken up again.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from loguru import logger
from pydantic import Field, JsonValue, ValidationError

from config.cron import Timezone
from config.target import Retention
from controller.core.errors import NotGone, SidecarError, StoreError, UnknownTarget
from controller.core.key import Key, KeyText
from controller.core.records import Record, Time, Versioned
from controller.core.run import Report
from controller.storage import journal, marks
from controller.storage.catalog import Catalog
from controller.storage.store import Store
from controller.targets.discovery import nearest
from controller.targets.target import Target
from controller.upkeep.pruner import Aging

FILE = "last-known.json"


@dataclass(frozen=True, slots=True)
class LastKnown:
    """What holds for a target's runs once its container is gone."""

    retention: Retention | None = None
    zone: str = "UTC"
    """Of the days that retention counts."""
    forgotten: datetime | None = None


class Written(Record):
    """The same as it is written down."""

    retention: dict[str, JsonValue] | None = None
    """What somebody has set of it: what nobody has set means something else than its built-in value."""
    zone: Timezone = "UTC"
    forgotten: Time | None = None

    @classmethod
    def of(cls, known: LastKnown) -> Self:
        rules = None
        if known.retention is not None:
            rules = known.retention.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return cls(retention=rules, zone=known.zone, forgotten=known.forgotten)

    def known(self) -> LastKnown:
        """Without a retention that this release does not understand, so that nothing goes."""
        try:
            rules = None if self.retention is None else Retention.model_validate(self.retention)
        except ValidationError:
            rules = None
        return LastKnown(rules, self.zone, self.forgotten)


class AllWritten(Versioned):
    """By key."""

    targets: dict[KeyText, Written] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forgot:
    """What became of a target that was forgotten, or would."""

    key: Key
    retention: Retention | None
    """By which its runs age; None: nobody knows, so all of them stay."""
    runs: tuple[Report, ...]
    """Those that it has stored, as they were before, newest first."""
    deleted: tuple[str, ...]
    """Ids of those that were deleted, or would be."""
    dry_run: bool = False
    errors: tuple[SidecarError, ...] = ()
    """Why others were not."""


class Forgetting:
    """Call `look` every few seconds; the rest may be called from any thread."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        catalog: Catalog,
        store: Store,
        folder: Path,
        *,
        let_go: Callable[[Key], None],
        delete: Callable[[Report], object],
        clock: Callable[[], datetime],
    ) -> None:
        """`let_go` tells those who keep something of a target; `delete` raises `SidecarError`."""
        self._targets, self._catalog, self._store, self._path = targets, catalog, store, folder / FILE
        self._let_go, self._delete, self._clock = let_go, delete, clock
        self._lock, self._written = threading.Lock(), True
        fact = journal.read(self._path, AllWritten) or AllWritten()
        self._known = {
            key: written.known()
            for key, written in fact.targets.items()
            if written.forgotten or any(catalog.stored(Key.parse(key)))
        }

    def look(self) -> None:
        """Take down by which rules the runs of each target age, and take up those that are back."""
        with self._lock:
            before = dict(self._known)
            for target in self._targets():
                key = str(target.key)
                known = self._known.get(key, LastKnown())
                if target.is_wanted and known.forgotten:
                    logger.bind(target=key).info("target {} is back, and no longer forgotten", key)
                    known = replace(known, forgotten=None)
                if target.settings is not None and target.state != "replica":
                    known = replace(known, retention=target.settings.retention, zone=target.settings.timezone)
                if known != LastKnown():
                    self._known[key] = known
            if self._known != before or not self._written:
                self._write_down()

    def is_forgotten(self, key: Key) -> bool:
        with self._lock:
            known = self._known.get(str(key))
        return known is not None and known.forgotten is not None

    def aging(self) -> list[Aging]:
        """The forgotten targets, by what rules their runs age; without those of which nobody knows the rules."""
        wanted = {str(target.key) for target in self._targets() if target.is_wanted}
        with self._lock:
            known = sorted(self._known.items())
        return [
            Aging(Key.parse(key), last.retention, ZoneInfo(last.zone))
            for key, last in known
            if last.forgotten and last.retention and key not in wanted
        ]

    def forget(self, key: Key, *, dry_run: bool = False, delete: bool = False) -> Forgot:
        """Let go of a target; with `delete` its runs are deleted softly, but not those that somebody has pinned.

        Raises `NotGone` while its container runs, `UnknownTarget` for one that never was, `StoreError`.
        """
        self._demand_gone(key)
        with self._lock:
            known = self._known.get(str(key), LastKnown())
            runs = tuple(self._catalog.stored(key))
            if not dry_run:
                self._known[str(key)] = replace(known, forgotten=self._clock())
                self._write_down()
        going = [run for run in runs if not run.pinned] if delete else []
        if dry_run:
            return Forgot(key, known.retention, runs, tuple(run.id for run in going), dry_run=True)
        self._let_go(key)
        logger.bind(target=str(key), runs=len(runs)).info("target {} is forgotten", key)
        deleted, errors = self._deleted(going)
        return Forgot(key, known.retention, runs, deleted, errors=errors)

    def forget_run(self, report: Report, *, dry_run: bool = False) -> Report:
        """Acknowledge that a run is lost or damaged; gives its report then. Raises `NotGone` for another one."""
        if not report.stored or not report.damaged:
            hint = "`accept` takes a suspicious run for good, and `delete` deletes one."
            raise NotGone(f"run {report.id} is neither lost nor damaged", hint=hint)
        fields: dict[str, Any] = {"forgotten": self._clock()}
        if dry_run:
            return report.model_copy(update=fields)
        try:
            marks.write(self._store, report.target, report.id, "forgotten", **fields)
        except SidecarError as error:  # There may be no folder any more.
            logger.bind(run=report.id, code=error.code).info("a mark of run {} is not kept: {}", report.id, error)
        return self._catalog.amend(report.id, **fields)

    def _demand_gone(self, key: Key) -> None:
        listed = {str(target.key): target for target in self._targets()}
        target = listed.get(str(key))
        if target is not None and target.is_wanted:
            hint = "Set `backup.enable=false` on its container, or remove that, if it is not to be backed up any more."
            raise NotGone(f"the container of {key} is there", hint=hint)
        with self._lock:
            is_known = target is not None or str(key) in self._known
        if not is_known and self._catalog.first(key) is None:
            raise UnknownTarget(f"no target {key}", hint=nearest(key, listed.keys() | self._known.keys()))

    def _deleted(self, runs: Sequence[Report]) -> tuple[tuple[str, ...], tuple[SidecarError, ...]]:
        deleted, errors = [], []
        for run in runs:
            try:
                self._delete(run)
                deleted.append(run.id)
            except SidecarError as error:
                errors.append(error)
        return tuple(deleted), tuple(errors)

    def _write_down(self) -> None:
        fact = AllWritten(targets={key: Written.of(known) for key, known in sorted(self._known.items())})
        try:
            journal.write(self._path, fact)
        except StoreError as error:
            if self._written:
                logger.bind(code=error.code).error("what was last known is remembered in memory only: {}", error)
            self._written = False
        else:
            self._written = True
