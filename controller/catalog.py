"""The index of runs, in SQLite; apart from the store, because it can be lost: manifests rebuild what succeeded.

What the disk does not take, since it is full for example, is kept in memory and told like the rest, until it does.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from controller.errors import StoreError, StoreFull, UnknownRun
from controller.report import Key, Manifest, Report
from controller.store import store_error

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
    CREATE INDEX runs_stored ON runs (target, id)
        WHERE state = 'succeeded' AND json_extract(report, '$.pruned') IS NULL;
    """,
)
"""One entry for each schema version; `PRAGMA user_version` says how many were applied."""

LATE = """
    PRAGMA temp_store = MEMORY;
    CREATE TEMP TABLE late AS SELECT * FROM runs WHERE false;
    CREATE UNIQUE INDEX temp.late_by_id ON late (id);
    CREATE TEMP VIEW newest AS
        SELECT * FROM late UNION ALL SELECT * FROM runs WHERE id NOT IN (SELECT id FROM late);
"""
"""Reports on their way to the disk; `newest` is what is read."""


class Catalog:
    """Every run's last report. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; migrates forward after a copy; raises `StoreError` for one from a newer release."""
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._migrate(path)
            self._connection.executescript(LATE)
        except OSError as error:
            raise store_error(error, path) from error
        except sqlite3.Error as error:
            raise catalog_error(error, f"cannot open the catalog {path}") from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def put(self, report: Report) -> None:
        """Keep a run's newest report. Raises `StoreError` while it is kept in memory only."""
        row = (report.id, str(report.target), report.state, report.id[:16], report.model_dump_json())
        with self._using("write") as connection:
            connection.execute("INSERT OR REPLACE INTO late VALUES (?, ?, ?, ?, ?)", row)
            connection.execute(
                "INSERT INTO runs SELECT * FROM late WHERE true"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, report = excluded.report"
            )
            connection.execute("DELETE FROM late")

    def get(self, run: str) -> Report:
        """Raises `UnknownRun`."""
        for report in self._select("WHERE id = ?", run):
            return report
        raise UnknownRun(f"no run {run[:60]!r}", hint="`backup-sidecar runs` lists them.")

    def runs(self, key: Key | None = None, *, states: Iterable[str] = (), limit: int = 50) -> list[Report]:
        """Newest first."""
        wanted = tuple(states)
        clauses = (["target = ?"] if key else []) + ([f"state IN ({','.join('?' * len(wanted))})"] if wanted else [])
        where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
        return list(self._select(f"{where} ORDER BY id DESC LIMIT ?", *([str(key)] if key else []), *wanted, limit))

    def stored(self, key: Key) -> Iterator[Report]:
        """A target's runs whose artifacts are there, newest first."""
        clause = "WHERE target = ? AND state = 'succeeded' AND json_extract(report, '$.pruned') IS NULL"
        return self._select(f"{clause} ORDER BY id DESC", str(key))

    def last_good(self, key: Key) -> Report | None:
        """The newest run that counts as a backup."""
        return next((report for report in self.stored(key) if report.good), None)

    def adopt(self, manifest: Manifest) -> None:
        """Enter a published run that the catalog does not know."""
        if not list(self._select("WHERE id = ? AND state = 'succeeded'", manifest.run)):
            self.put(succeeded(manifest))

    def _select(self, clause: str, *values: object) -> Iterator[Report]:
        with self._using("read") as connection:
            rows = connection.execute(f"SELECT report FROM newest {clause}", values).fetchall()  # noqa: S608  # clause is ours
        return (Report.model_validate_json(row[0]) for row in rows)

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
            with closing(sqlite3.connect(path.with_suffix(f".v{version}"))) as copy:
                self._connection.backup(copy)
        for number in range(version, len(MIGRATIONS)):
            self._connection.executescript(f"BEGIN;{MIGRATIONS[number]};PRAGMA user_version = {number + 1};COMMIT;")


def catalog_error(error: sqlite3.Error, what: str) -> StoreError:
    kind = StoreFull if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL else StoreError
    return kind(f"{what}: {error}", hint="Check the work folder and the room on its disk.")


def succeeded(manifest: Manifest) -> Report:
    """The report of a published run, as far as its manifest tells."""
    return Report(
        id=manifest.run,
        target=manifest.target,
        state="succeeded",
        trigger="manifest",
        strategy=manifest.strategy,
        created=manifest.started,
        started=manifest.started,
        finished=manifest.finished,
        seconds=(manifest.finished - manifest.started).total_seconds(),
        bytes=sum(artifact.plain_size for artifact in manifest.artifacts),
        size=manifest.size,
        proof=manifest.proof,
        warnings=manifest.warnings,
        artifacts=manifest.artifacts,
    )
