"""The index of runs and drills, in SQLite; apart from the store, because it can be lost: manifests, and what lies
beside them, rebuild what succeeded and each run's last drill.

What the disk does not take, since it is full for example, is kept in memory and told like the rest, until it does.
"""

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from itertools import chain
from pathlib import Path

from controller.core.drill import Drill
from controller.core.errors import StoreError, StoreFull, UnknownRun
from controller.core.key import Key
from controller.core.records import rfc3339
from controller.core.run import Report
from controller.storage.files import store_error

MIGRATIONS = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        state TEXT NOT NULL,
        created TEXT NOT NULL,
        report TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_target ON runs (target, id);
    """,
    """
    ALTER TABLE runs ADD COLUMN good INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN proved TEXT NOT NULL DEFAULT '';
    UPDATE runs SET good = 1, proved = json_extract(report, '$.finished') WHERE state = 'succeeded';
    CREATE INDEX runs_by_good ON runs (target, id) WHERE good;
    CREATE INDEX runs_stored ON runs (target, id) WHERE proved != '';
    CREATE INDEX runs_doubtful ON runs (id) WHERE proved != '' AND NOT good;
    CREATE INDEX runs_by_proof ON runs (proved) WHERE proved != '';
    """,
    """
    CREATE TABLE drills (
        id TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        run TEXT NOT NULL,
        state TEXT NOT NULL,
        drill TEXT NOT NULL
    ) STRICT;
    CREATE INDEX drills_by_target ON drills (target, id);
    CREATE INDEX drills_by_run ON drills (run, id);
    """,
    """
    CREATE INDEX runs_by_state ON runs (state, id);
    CREATE INDEX runs_by_target_and_state ON runs (target, state, id);
    """,
)
"""One entry for each schema version; `PRAGMA user_version` says how many were applied."""

MARKS = ("damaged", "accepted", "verified")
"""Fields of a report that are set after the run has ended."""

GONE = "its folder is not in the store, or its manifest cannot be read"
"""What is wrong with a run that the store does not hold: another volume is mounted, or somebody removed it."""

LATE = """
    PRAGMA temp_store = MEMORY;
    CREATE TEMP TABLE late AS SELECT * FROM runs WHERE false;
    CREATE UNIQUE INDEX temp.late_by_id ON late (id);
    CREATE TEMP TABLE late_drills AS SELECT * FROM drills WHERE false;
    CREATE UNIQUE INDEX temp.late_drills_by_id ON late_drills (id);
    CREATE TEMP VIEW newest_drills AS
        SELECT * FROM late_drills UNION ALL SELECT * FROM drills WHERE id NOT IN (SELECT id FROM late_drills);
"""
"""Reports on their way to the disk."""
ENDED = "state NOT IN ('queued', 'running')"

SELECT = """
SELECT report FROM (
    SELECT id, proved, report FROM late WHERE {where}
    UNION ALL
    SELECT * FROM (
        SELECT id, proved, report FROM runs WHERE {where} AND id NOT IN (SELECT id FROM late)
        ORDER BY {order} LIMIT {limit}
    )
) ORDER BY {order} LIMIT {limit}
"""
"""What is late counts instead of what is on the disk, of which an index gives the first so many without reading all."""


class Catalog:
    """Every run's last report. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; migrates forward after a copy; raises `StoreError` for one from a newer release."""
        self._lock = threading.Lock()
        with ExitStack() as opening:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
                opening.callback(self._connection.close)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._migrate(path)
                self._connection.executescript(LATE)
            except OSError as error:
                raise store_error(error, path) from error
            except sqlite3.Error as error:
                raise catalog_error(error, f"cannot open the catalog {path}") from error
            opening.pop_all()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def put(self, report: Report) -> None:
        """Keep a run's newest report. Raises `StoreError` while it is kept in memory only."""
        with self._using("write") as connection:
            connection.execute("INSERT OR REPLACE INTO late VALUES (?, ?, ?, ?, ?, ?, ?)", row(report))
            connection.execute("INSERT OR REPLACE INTO runs SELECT * FROM late")
            connection.execute("DELETE FROM late")

    def get(self, run: str) -> Report:
        """Raises `UnknownRun`."""
        for report in self._select("id = ?", run):
            return report
        raise UnknownRun(f"no run {run[:60]!r}", hint="`backup-sidecar runs` lists them.")

    def runs(
        self, key: Key | None = None, *, states: Iterable[str] = (), before: str = "", limit: int = 50
    ) -> list[Report]:
        """Newest first; `before` is the id of a run whose elders are wanted."""
        wanted = tuple(states)
        clauses = {
            "target = ?": (str(key),) if key else (),
            f"state IN ({','.join('?' * len(wanted))})": wanted,
            "id < ?": (before,) if before else (),
        }
        used = {clause: values for clause, values in clauses.items() if values}
        return list(self._select(" AND ".join(used) or "true", *chain(*used.values()), limit=limit))

    def good(self, key: Key, *, limit: int) -> list[Report]:
        """The runs of a target that count as backups, newest first."""
        return list(self._select("target = ? AND good", str(key), limit=limit))

    def stored(self, key: Key) -> Iterator[Report]:
        """A target's runs whose artifacts are there, newest first."""
        return self._select("target = ? AND proved != ''", str(key))

    def last_good(self, key: Key) -> Report | None:
        """The newest run that counts as a backup."""
        return next(iter(self.good(key, limit=1)), None)

    def damaged(self) -> list[Report]:
        """Every stored run whose bytes are not what was written, newest first."""
        doubtful = self._select("proved != '' AND NOT good")
        return [report for report in doubtful if report.damaged]

    def longest_unproved(self, before: datetime) -> Report | None:
        """The stored run that was read the longest time ago, before this moment; a damaged one is not read again."""
        clause = "proved != '' AND proved < ? AND coalesce(json_extract(report, '$.damaged'), '') = ''"
        return next(self._select(clause, rfc3339(before), order="proved", limit=1), None)

    def keep_drill(self, drill: Drill) -> None:
        """As `put`."""
        values = (drill.id, str(drill.target), drill.run, drill.state, drill.model_dump_json())
        with self._using("write") as connection:
            connection.execute("INSERT OR REPLACE INTO late_drills VALUES (?, ?, ?, ?, ?)", values)
            connection.execute("INSERT OR REPLACE INTO drills SELECT * FROM late_drills")
            connection.execute("DELETE FROM late_drills")

    def drill(self, drill: str) -> Drill:
        """Raises `UnknownRun`."""
        for found in self._drills("id = ?", drill):
            return found
        raise UnknownRun(f"no drill {drill[:60]!r}", hint="`backup-sidecar drill` starts one.")

    def last_drill(self, key: Key, *, good: bool = False) -> Drill | None:
        """The newest one of a target that has ended, or has passed."""
        wanted = "state = 'passed'" if good else ENDED
        return next(self._drills(f"target = ? AND {wanted} ORDER BY id DESC LIMIT 1", str(key)), None)

    def drill_of(self, run: str) -> Drill | None:
        """The last one of a run."""
        return next(self._drills(f"run = ? AND {ENDED} ORDER BY id DESC LIMIT 1", run), None)

    def unended_drills(self) -> list[Drill]:
        return list(self._drills(f"NOT {ENDED}"))

    def adopt_drill(self, drill: Drill) -> None:
        """Enter what lies beside a manifest."""
        if next(self._drills("id = ?", drill.id), None) is None:
            with suppress(StoreFull):  # It is told from memory.
                self.keep_drill(drill)

    def adopt(self, stored: Report) -> None:
        """Enter what the store tells of a published run; what only the catalog knows of it stays."""
        known = next(self._select("id = ? AND state = 'succeeded'", stored.id), None)
        adopted = stored if known is None else known.model_copy(update=marked(stored))
        if adopted != known:
            with suppress(StoreFull):  # It is told from memory.
                self.put(adopted)

    def reconcile(self, present: Collection[str]) -> list[str]:
        """Let runs that the store does not hold count as damaged, until it does again; gives the ids of the former.

        `present` are the ids of every published run.
        """
        stored = list(self._select("proved != ''"))
        gone = [report for report in stored if report.id not in present and not report.damaged]
        back = [report for report in stored if report.id in present and report.damaged == GONE]
        for reports, damaged in ((gone, GONE), (back, "")):
            for report in reports:
                with suppress(StoreFull):  # It is told from memory.
                    self.put(report.model_copy(update={"damaged": damaged}))
        return [report.id for report in gone]

    def _select(self, where: str, *values: object, order: str = "id DESC", limit: int = -1) -> Iterator[Report]:
        query = SELECT.format(where=where, order=order, limit=int(limit))
        with self._using("read") as connection:
            rows = connection.execute(query, values * 2).fetchall()
        return (Report.model_validate_json(row[0]) for row in rows)

    def _drills(self, clause: str, *values: object) -> Iterator[Drill]:
        with self._using("read") as connection:
            rows = connection.execute(f"SELECT drill FROM newest_drills WHERE {clause}", values).fetchall()  # noqa: S608  # clause is ours
        return (Drill.model_validate_json(row[0]) for row in rows)

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


def row(report: Report) -> tuple[object, ...]:
    """A report as the table's columns; `proved` says when the stored bytes were last known to be right."""
    proved = (report.verified or report.finished or report.created) if report.stored else None
    return (
        *(report.id, str(report.target), report.state, report.id[:16], report.model_dump_json()),
        *(report.good, rfc3339(proved) if proved else ""),
    )


def marked(report: Report) -> dict[str, object]:
    """The fields in which a report says more than that of a run without any mark."""
    return {name: value for name in MARKS if (value := getattr(report, name))}
