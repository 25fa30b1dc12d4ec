"""Makes the catalog anew, from what lies in the store or empty, for when it is lost or spoilt."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from controller.core.errors import StoreError
from controller.core.manifest import Manifest
from controller.core.restoration import Restoration
from controller.core.run import Report
from controller.storage import access, journal, marks
from controller.storage.catalog import Catalog, utc_now
from controller.storage.files import store_error
from controller.storage.store import Store

BESIDE = ("", "-wal", "-shm")
"""What SQLite keeps of one database."""
NO_CATALOG = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""What SQLite says of a file that it can read, and that holds something else."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a new catalog holds, and what it lacks."""

    runs: int
    """Published runs, with their marks."""
    deleted: int
    """Runs that were deleted and can be brought back."""
    lost: int | None
    """Runs without artifacts that the old catalog knew: failed, missed, purged; None where it could not be read."""
    restores: int | None
    """Restores that it knew."""
    unreadable: tuple[str, ...]
    """Why runs could not be entered: a manifest, or whole folders, cannot be read."""
    old: Path | None
    """Where the old catalog lies now."""


def rebuild(store: Store, path: Path) -> Rebuilt:
    """Put a catalog made of every manifest in the place of `path`; the caller owns the store. Raises `StoreError`."""
    lost, restores = only_there(path)
    fresh = path.with_name(path.name + ".new")
    entered, unreadable = {False: 0, True: 0}, []
    try:
        for part in parts(fresh):
            part.unlink()
        with closing(Catalog(fresh)) as catalog:
            if (problem := access.problem(store.root, tuple(access.unreadable(store.root)))) is not None:
                unreadable.append(f"{problem.message}. {problem.hint}")
            for deleted, manifest in everything(store):
                if isinstance(manifest, StoreError):
                    unreadable.append(manifest.message)
                else:
                    catalog.put(marks.report(store, manifest, deleted=deleted))
                    if drill := marks.drill(store, manifest):
                        catalog.put(drill)
                    entered[deleted] += 1
        return Rebuilt(entered[False], entered[True], lost, restores, tuple(unreadable), exchange(fresh, path))
    except OSError as error:
        raise store_error(error, path) from error


def everything(store: Store) -> Iterator[tuple[bool, Manifest | StoreError]]:
    """What the store holds of each run, and whether the run is deleted."""
    yield from ((False, manifest) for manifest in store.manifests())
    yield from ((True, manifest) for manifest in store.deleted())


def opened(path: Path, clock: Callable[[], datetime] = utc_now) -> Catalog:
    """The catalog; where the file is none it is set aside, and a new one takes up what the store holds at the start.

    Raises `StoreError` for one from a newer release, and where none can be made.
    """
    try:
        return Catalog(path, clock)
    except StoreError as error:
        code = getattr(error.__cause__, "sqlite_errorcode", None)
        is_shut = code == sqlite3.SQLITE_CANTOPEN and not (path.is_file() and os.access(path, os.R_OK | os.W_OK))
        if not is_shut and code not in NO_CATALOG:
            raise
        for part in parts(path):
            journal.set_aside(part, error.message)
        return Catalog(path, clock)


def only_there(path: Path) -> tuple[int, int] | tuple[None, None]:
    """How many runs and restores only the catalog knows; None where it cannot be read."""
    if not path.exists():
        return 0, 0
    with suppress(StoreError), closing(Catalog(path)) as catalog:
        runs = sum(not (report.stored or report.recoverable) for report in catalog.page(Report, limit=-1))
        return runs, len(catalog.page(Restoration, limit=-1))
    return None, None


def exchange(fresh: Path, path: Path) -> Path | None:
    """Move the old catalog aside and the new one in; gives where the old one is."""
    old = path.with_name(path.name + ".old")
    moved = None
    for part in parts(path):
        part.replace(f"{old}{part.name.removeprefix(path.name)}")
        moved = old
    fresh.replace(path)
    return moved


def parts(path: Path) -> list[Path]:
    """The files of a database that are there, whatever they are."""
    return [part for suffix in BESIDE if os.path.lexists(part := Path(f"{path}{suffix}"))]
