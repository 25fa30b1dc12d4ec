"""The index of runs, drills and restores, in SQLite; it can be lost: manifests, and what lies beside them, rebuild
what succeeded and each run's last drill.

What the disk does not take, since it is full for example, is kept in memory and told like the rest, until it does.
"""

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TypeVar

from loguru import logger

from controller.core.copy import Copy
from controller.core.drill import Drill
from controller.core.errors import StoreError, StoreFull, UnknownRestore, UnknownRun
from controller.core.key import Key
from controller.core.records import rfc3339
from controller.core.restoration import Restoration
from controller.core.run import CLOCK_TOLERANCE, SAFETY, Report, newest_id
from controller.storage.catalog_schema import (
    CLEAR,
    ENTER,
    LATE,
    MIGRATIONS,
    MOVE,
    SELECT,
    TABLES,
    UNFINISHED,
    UNSUCCESSFUL,
    Kept,
    row,
)
from controller.storage.files import store_error

MARKS = ("damaged", "tampered", "accepted", "verified", "pinned", "note", "forgotten")
"""Fields of a report that are set after the run has ended."""

GONE = "its folder is not in the store, or its manifest cannot be read"
"""What is wrong with a run that the store does not hold: another volume is mounted, or somebody removed it."""

OTHER = "its manifest is not the one that was published: the catalog knows its artifacts otherwise"

Kind = TypeVar("Kind", Report, Drill, Restoration, Copy)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Catalog:
    """The last report of every run, drill and restore. Safe to use from several threads.

    A run of the future counts as no backup: a clock that was wrong has made it, and it would hide what came after it.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        """Opens or makes the file; migrates forward after a copy; raises `StoreError` for one from a newer release."""
        self._lock, self._clock = threading.RLock(), clock
        with ExitStack() as opening:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
                opening.callback(self._connection.close)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._migrate(path)
                self._connection.execute("PRAGMA temp_store = MEMORY")
                for table in TABLES.values():
                    self._connection.executescript(LATE.format(table=table))
            except OSError as error:
                raise store_error(error, path) from error
            except sqlite3.Error as error:
                raise catalog_error(error, f"cannot open the catalog {path}") from error
            opening.pop_all()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def keep(self, report: Kept) -> None:
        """Keep the newest report of an activity; a disk that takes nothing hides none, which is told from memory."""
        try:
            self.put(report)
        except StoreError as error:
            logger.bind(id=report.id, code=error.code).warning("a report is kept in memory only: {}", error)

    def put(self, report: Kept) -> None:
        """As `keep`, but raises `StoreError` while the report is kept in memory only."""
        table, values = TABLES[type(report)], row(report)
        with self._using("write") as connection:
            connection.execute(ENTER.format(table=table, values=",".join("?" * len(values))), values)
            connection.execute(MOVE.format(table=table))
            connection.execute(CLEAR.format(table=table))

    def amend(self, run: str, **changes: object) -> Report:
        """Change some fields of a report while nobody else changes others, and `keep` it. Raises `UnknownRun`."""
        with self._lock:
            report = self.get(run).model_copy(update=changes)
            self.keep(report)
        return report

    def get(self, run: str) -> Report:
        """Raises `UnknownRun`."""
        if report := self.known(run):
            return report
        raise UnknownRun(f"no run {run[:60]!r}", hint="`backup-sidecar runs` lists them.")

    def known(self, run: str) -> Report | None:
        """None for one that it does not know."""
        return next(self._select(Report, "id = ?", run), None)

    def drill(self, drill: str) -> Drill:
        """Raises `UnknownRun`."""
        for report in self._select(Drill, "id = ?", drill):
            return report
        raise UnknownRun(f"no drill {drill[:60]!r}", hint="`backup-sidecar drills` lists them.")

    def restore(self, restore: str) -> Restoration:
        """Raises `UnknownRestore`."""
        for report in self._select(Restoration, "id = ?", restore):
            return report
        raise UnknownRestore(f"no restore {restore[:60]!r}", hint="`backup-sidecar restores` lists them.")

    def page(
        self, kind: type[Kind], key: Key | None = None, *, states: Iterable[str] = (), before: str = "", limit: int = 50
    ) -> list[Kind]:
        """Newest first; `before` is the id of one whose elders are wanted."""
        names = tuple(states)
        clauses = {
            "target = ?": (str(key),) if key else (),
            f"state IN ({','.join('?' * len(names))})": names,
            "id < ?": (before,) if before else (),
        }
        used = {clause: values for clause, values in clauses.items() if values}
        return list(self._select(kind, " AND ".join(used) or "true", *chain(*used.values()), limit=limit))

    def runs(
        self, key: Key | None = None, *, states: Iterable[str] = (), before: str = "", limit: int = 50
    ) -> list[Report]:
        """As `page`."""
        return self.page(Report, key, states=states, before=before, limit=limit)

    def unfinished(self, kind: type[Kind]) -> list[Kind]:
        """What is queued or under way, or was when a process died."""
        return list(self._select(kind, UNFINISHED))

    def good(self, key: Key, *, limit: int, safety: bool = True) -> list[Report]:
        """The runs of a target that count as backups, newest first; without `safety` no safety backups, which are of
        what was wrong.
        """
        clause = "target = ? AND good AND id < ?"
        clause += "" if safety else f" AND json_extract(report, '$.trigger') != '{SAFETY}'"
        return list(self._select(Report, clause, str(key), newest_id(self._clock()), limit=limit))

    def has_good(self, key: Key) -> bool:
        """Whether a target has a run that counts as a backup, or will."""
        return next(self._select(Report, "target = ? AND good", str(key), limit=1), None) is not None

    def future(self, key: Key | None = None) -> list[Report]:
        """The stored runs of the future, newest first; they stay until they are deleted, or their time comes."""
        clause, values = ("target = ? AND ", (str(key),)) if key else ("", ())
        now = newest_id(self._clock())
        return list(self._select(Report, f"{clause}proved != '' AND id > ?", *values, now))

    def stored(self, key: Key) -> Iterator[Report]:
        """A target's runs whose artifacts are there, newest first."""
        return self._select(Report, "target = ? AND proved != ''", str(key))

    def deleted(self) -> list[Report]:
        """Every run that was deleted and can be brought back, the oldest first."""
        return list(self._select(Report, "deleted", order="id"))

    def keys(self) -> list[str]:
        """Of every target with runs whose artifacts are there."""
        query = "SELECT target FROM runs WHERE proved != '' UNION SELECT target FROM late_runs WHERE proved != ''"
        with self._using("read") as connection:
            return sorted(key for (key,) in connection.execute(query))

    def last_good(self, key: Key) -> Report | None:
        """The newest run that counts as a backup, and is no safety backup: a restore takes none by itself."""
        return next(iter(self.good(key, limit=1, safety=False)), None)

    def last_begun(self, key: Key, by: datetime | None = None) -> Report | None:
        """The good run that began last, but not after `by`, and is no safety backup."""
        good = self.good(key, limit=-1, safety=False)
        return max((report for report in good if by is None or began(report) <= by), key=began, default=None)

    def last_ended(self, key: Key) -> Report | None:
        """The newest run of a target that failed, was missed, or is stored; no safety backup, and none cancelled."""
        ended = f"proved != '' OR state IN {UNSUCCESSFUL}"
        clause = f"target = ? AND id < ? AND ({ended}) AND json_extract(report, '$.trigger') != '{SAFETY}'"
        return next(self._select(Report, clause, str(key), newest_id(self._clock()), limit=1), None)

    def begun_by(self, triggers: Collection[str], since: datetime) -> Iterator[Report]:
        """The runs with one of these triggers that began later, and are not of the future, newest first."""
        clause = f"id > ? AND id < ? AND json_extract(report, '$.trigger') IN ({','.join('?' * len(triggers))})"
        bounds = f"{since.astimezone(UTC):%Y%m%dT%H%M%SZ}", newest_id(self._clock())
        return self._select(Report, clause, *bounds, *triggers)

    def first(self, key: Key) -> Report | None:
        """The oldest run of a target that succeeded."""
        return next(self._select(Report, "target = ? AND state = 'succeeded'", str(key), order="id", limit=1), None)

    def damaged(self) -> list[Report]:
        """Every stored run whose bytes are not what was written, and that nobody has forgotten, newest first."""
        doubtful = self._select(Report, "proved != '' AND NOT good")
        return [report for report in doubtful if report.damaged and not report.forgotten]

    def longest_unproved(self, before: datetime) -> Report | None:
        """The stored run that was read the longest time ago, before this moment or in the future; a damaged one is not
        read again.
        """
        clause = "proved != '' AND (proved < ? OR proved > ?) AND coalesce(json_extract(report, '$.damaged'), '') = ''"
        values = rfc3339(before), rfc3339(self._clock() + CLOCK_TOLERANCE)
        return next(self._select(Report, clause, *values, order="proved", limit=1), None)

    def last_drill(self, key: Key, *, good: bool = False) -> Drill | None:
        """The newest one of a target that has ended, or has passed."""
        ended, now = "state = 'passed'" if good else f"NOT {UNFINISHED}", newest_id(self._clock())
        return next(self._select(Drill, f"target = ? AND {ended} AND id < ?", str(key), now, limit=1), None)

    def last_of(self, kind: type[Kind], run: str) -> Kind | None:
        """The last drill, or restore, of a run that has ended."""
        return next(self._select(kind, f"run = ? AND NOT {UNFINISHED}", run, limit=1), None)

    def copies(self, key: Key, destination: str) -> list[Copy]:
        """Those of a target's runs at a destination, the newest run first."""
        return [copy for copy in self._select(Copy, "target = ?", str(key)) if copy.destination == destination]

    def adopt(self, stored: Report) -> None:
        """Enter what the store tells of a run that it holds; what only the catalog knows of it stays.

        Whether it is deleted only the store knows: a crash may have come before the catalog was told.
        """
        known = next(self._select(Report, "id = ? AND state = 'succeeded'", stored.id), None)
        place: dict[str, object] = {"pruned": stored.pruned, "cause": stored.cause} | marked(stored)
        if known and not (known.artifacts and stored.artifacts):
            place["artifacts"] = stored.artifacts
        elif known and known.artifacts != stored.artifacts:  # What was published is never changed.
            place |= {"damaged": OTHER, "tampered": True}
        adopted = stored if known is None else known.model_copy(update=place)
        if adopted != known:
            self.keep(adopted)

    def adopt_drill(self, drill: Drill) -> None:
        """Enter what lies beside a manifest."""
        if next(self._select(Drill, "id = ?", drill.id), None) is None:
            self.keep(drill)

    def reconcile(self, present: Collection[str], deleted: Collection[str] = ()) -> list[str]:
        """Let runs that the store does not hold count as damaged, until it does again; gives the ids of the former.

        `present` are the ids of every published run, `deleted` those that can be brought back; others cannot be.
        """
        for report in self.deleted():
            if report.id not in deleted:
                self.keep(report.model_copy(update={"artifacts": ()}))
        stored = list(self._select(Report, "proved != ''"))
        gone = [report for report in stored if report.id not in present and not report.damaged]
        back = [report for report in stored if report.id in present and report.damaged == GONE]
        for reports, damaged in ((gone, GONE), (back, "")):
            for report in reports:
                self.keep(report.model_copy(update={"damaged": damaged, "forgotten": None}))
        return [report.id for report in gone]

    def _select(
        self, kind: type[Kind], where: str, *values: object, order: str = "id DESC", limit: int = -1
    ) -> Iterator[Kind]:
        query = SELECT.format(table=TABLES[kind], where=where, order=order, limit=int(limit))
        with self._using("read") as connection:
            rows = connection.execute(query, values * 2).fetchall()
        return readable(kind, (text for (text,) in rows))

    @contextmanager
    def _using(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise catalog_error(error, f"cannot {doing} the catalog") from error

    def _migrate(self, path: Path) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            hint = "Run the release that wrote it, or a later one."
            raise StoreError(f"{path} has schema {version}, this program knows up to {len(MIGRATIONS)}", hint=hint)
        if 0 < version < len(MIGRATIONS):
            copy = path.with_suffix(f".v{version}")
            partial = copy.with_name(copy.name + ".partial")
            with closing(sqlite3.connect(partial)) as target:
                self._connection.backup(target)
            partial.replace(copy)
        if steps := MIGRATIONS[version:]:
            self._connection.executescript(f"BEGIN;{';'.join(steps)};PRAGMA user_version = {len(MIGRATIONS)};COMMIT;")


def catalog_error(error: sqlite3.Error, what: str) -> StoreError:
    kind = StoreFull if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL else StoreError
    return kind(f"{what}: {error}", hint="Check the work folder and the room on its disk.")


def began(report: Report) -> datetime:
    """Ids that earlier releases gave within one second have no order."""
    return report.started or report.created


def readable(kind: type[Kind], texts: Iterable[str]) -> Iterator[Kind]:
    """The reports; one that is none hides no other."""
    for text in texts:
        try:
            yield kind.model_validate_json(text)
        except ValueError:
            logger.bind(code="store-error").error("the catalog holds what is no report of a {}", kind.__name__.lower())


def marked(report: Report) -> dict[str, object]:
    """The fields in which a report says more than that of a run without any mark."""
    return {name: value for name in MARKS if (value := getattr(report, name))}
