"""The tables of the catalog, one for each kind of activity, and how a report becomes a row of its table."""

from controller.core.copy import Copy
from controller.core.drill import Drill
from controller.core.records import rfc3339
from controller.core.restoration import Restoration
from controller.core.run import Report

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
    """
    ALTER TABLE drills RENAME COLUMN drill TO report;
    CREATE INDEX drills_by_state ON drills (state, id);
    CREATE TABLE restores (
        id TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        run TEXT NOT NULL,
        state TEXT NOT NULL,
        report TEXT NOT NULL
    ) STRICT;
    CREATE INDEX restores_by_target ON restores (target, id);
    CREATE INDEX restores_by_run ON restores (run, id);
    CREATE INDEX restores_by_state ON restores (state, id);
    """,
    """
    ALTER TABLE runs ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX runs_deleted ON runs (id) WHERE deleted;
    """,
    """
    CREATE TABLE copies (
        id TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        run TEXT NOT NULL,
        state TEXT NOT NULL,
        report TEXT NOT NULL
    ) STRICT;
    CREATE INDEX copies_by_target ON copies (target, id);
    CREATE INDEX copies_by_run ON copies (run, id);
    CREATE INDEX copies_by_state ON copies (state, id);
    """,
)
"""One entry for each schema version; `PRAGMA user_version` says how many were applied."""

Kept = Report | Drill | Restoration | Copy
"""What the catalog keeps."""
TABLES: dict[type[Kept], str] = {Report: "runs", Drill: "drills", Restoration: "restores", Copy: "copies"}

LATE = """
CREATE TEMP TABLE late_{table} AS SELECT * FROM {table} WHERE false;
CREATE UNIQUE INDEX temp.late_{table}_by_id ON late_{table} (id);
"""
"""A table in memory for reports on their way to the disk."""

ENTER = "INSERT OR REPLACE INTO late_{table} VALUES ({values})"
MOVE = "INSERT OR REPLACE INTO {table} SELECT * FROM late_{table}"
CLEAR = "DELETE FROM late_{table}"

SELECT = """
SELECT report FROM (
    SELECT * FROM late_{table} WHERE {where}
    UNION ALL
    SELECT * FROM (
        SELECT * FROM {table} WHERE {where} AND id NOT IN (SELECT id FROM late_{table})
        ORDER BY {order} LIMIT {limit}
    )
) ORDER BY {order} LIMIT {limit}
"""
"""What is late counts instead of what is on the disk, of which an index gives the first so many without reading all."""

UNFINISHED = "state IN ('queued', 'running')"
UNSUCCESSFUL = "('failed', 'interrupted', 'missed')"


def row(report: Kept) -> tuple[object, ...]:
    """A report as its table's columns; `proved` says when a run's stored bytes were last known to be right."""
    if not isinstance(report, Report):
        return report.id, str(report.target), report.run, report.state, report.model_dump_json()
    proved = (report.verified or report.finished or report.created) if report.stored else None
    return (
        *(report.id, str(report.target), report.state, report.id[:16], report.model_dump_json()),
        *(report.good, rfc3339(proved) if proved else "", report.recoverable),
    )
