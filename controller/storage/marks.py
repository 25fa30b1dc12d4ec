"""What was found out about a run after it had been published: each mark a small file beside the manifest.

The manifest is never changed, and the catalog can be lost: from manifest and marks the report of a succeeded run is
made again. A mark holds fields of the report by their names.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from loguru import logger

from controller.core.drill import Drill
from controller.core.errors import StoreError
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.core.records import rfc3339
from controller.core.run import Report
from controller.storage import files, journal
from controller.storage.files import store_error
from controller.storage.store import Store

FOLDER, SUFFIX = "marks", ".json"
DRILL = "drill.json"
"""A run's last drill, whole; it is no field of its report, so it lies beside the marks."""
Mark = Literal["report", "verified", "damaged", "accepted", "pinned", "deleted", "forgotten", "adopted"]
"""`report`: what the manifest does not tell of how the run went; `deleted` says nothing of a run that is published."""
DELETION = ("pruned", "cause")
"""Fields of a report that are true only while the run is deleted: a crash may leave their mark at one that is not."""
FINAL_FIELDS = ("trigger", "by", "created", "started", "finished", "seconds", "warnings", "attempts", "retried", "mark")
"""Fields of a report that are final only when the manifest has been written."""


def write(store: Store, key: Key, run: str, mark: Mark, /, **fields: object) -> None:
    """Durable when it returns; an earlier mark of this name is replaced. Raises `StoreError`, `UnknownRun`."""
    store.demand_published(key, run)
    texts = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in fields.items()}
    journal.write(folder_of(store, key, run) / (mark + SUFFIX), texts)


def remove(store: Store, key: Key, run: str, mark: Mark) -> None:
    """Durable when it returns; nothing happens where there is no such mark. Raises `StoreError`, `UnknownRun`."""
    files.remove(folder_of(store, key, run) / (mark + SUFFIX))


def keep(store: Store, report: Report) -> None:
    """Write what the manifest does not tell of a run that succeeded. Raises `StoreError`, `UnknownRun`."""
    write(store, report.target, report.id, "report", **report.model_dump(mode="json", include=set(FINAL_FIELDS)))


def report(store: Store, manifest: Manifest, *, deleted: bool = False) -> Report:
    """The report of a published run, or of a deleted one, with its marks.

    One whose marks cannot be read counts as damaged, and as pinned, since somebody may have pinned it; a deleted one as
    deleted now.
    """
    own = {"pruned": datetime.now(UTC)} if deleted else {}
    unmarked = succeeded(manifest).model_copy(update=own)
    try:
        fields = read(folder_of(store, manifest.target, manifest.run))
        if not deleted:
            fields = {name: value for name, value in fields.items() if name not in DELETION}
        return Report.model_validate({**dict(unmarked), **fields})
    except (StoreError, ValueError) as error:
        reason = error.message if isinstance(error, StoreError) else "no fields of a report"
        words = f"its marks cannot be read: {reason}"
        return unmarked.model_copy(update={"damaged": words, "pinned": manifest.finished, "note": words})


def read(folder: Path) -> dict[str, Any]:
    """The fields that a run's marks set. Raises `StoreError`."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise store_error(error, folder) from error
    marks = [journal.load(folder / name) for name in names if name.endswith(SUFFIX)]
    return {name: value for mark in marks for name, value in (mark or {}).items()}


def keep_drill(store: Store, drill: Drill) -> None:
    """Write a drill beside the manifest of its run; an earlier one is replaced. Raises `StoreError`, `UnknownRun`."""
    store.demand_published(drill.target, drill.run)
    journal.write(store.folder(drill.target, drill.run) / DRILL, drill)


def drill(store: Store, manifest: Manifest) -> Drill | None:
    """The last drill of a published run; None where there was none, or it cannot be read."""
    try:
        fields = journal.load(store.folder(manifest.target, manifest.run) / DRILL)
        return Drill.model_validate(fields) if fields else None
    except (StoreError, ValueError) as error:
        logger.bind(run=manifest.run, code="store-error").warning("its drill cannot be read: {}", error)
        return None


def folder_of(store: Store, key: Key, run: str) -> Path:
    """The folder of a run's marks, which need not be there. Raises `UnknownRun`, `StoreError` for a link."""
    folder = store.folder(key, run) / FOLDER
    if folder.is_symlink():
        raise StoreError(f"{folder} is a symbolic link", hint="Remove it: nothing in the store may be one.")
    return folder


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
        suspicious=manifest.suspicious,
    )
