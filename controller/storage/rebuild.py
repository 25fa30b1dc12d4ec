"""Makes the index of runs anew from what lies in the store, for when it is lost or spoilt."""

from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from controller.core.errors import StoreError
from controller.storage import marks
from controller.storage.catalog import Catalog
from controller.storage.files import store_error
from controller.storage.store import Store

BESIDE = ("", "-wal", "-shm")
"""What SQLite keeps of one database."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a new catalog holds, and what it lacks."""

    runs: int
    """Published runs, with their marks."""
    lost: int | None
    """Runs without artifacts that the old catalog knew: failed, missed, pruned; None where it could not be read."""
    unreadable: tuple[str, ...]
    """Why a run's manifest could not be entered."""
    old: Path | None
    """Where the old catalog lies now."""


def rebuild(store: Store, path: Path) -> Rebuilt:
    """Put a catalog made of every manifest in the place of `path`; the caller owns the store. Raises `StoreError`."""
    lost = without_artifacts(path)
    fresh = path.with_name(path.name + ".new")
    runs, unreadable = 0, []
    try:
        remove(fresh)
        with closing(Catalog(fresh)) as catalog:
            for found in store.manifests():
                if isinstance(found, StoreError):
                    unreadable.append(found.message)
                else:
                    catalog.put(marks.report(store, found))
                    if drill := marks.drill(store, found):
                        catalog.keep_drill(drill)
                    runs += 1
        return Rebuilt(runs, lost, tuple(unreadable), exchange(fresh, path))
    except OSError as error:
        raise store_error(error, path) from error


def without_artifacts(path: Path) -> int | None:
    """How many runs only the catalog knows; None where it cannot be read."""
    if not path.exists():
        return 0
    with suppress(StoreError), closing(Catalog(path)) as catalog:
        return sum(not report.stored for report in catalog.runs(limit=-1))
    return None


def exchange(fresh: Path, path: Path) -> Path | None:
    """Move the old catalog aside and the new one in; gives where the old one is."""
    old = path.with_name(path.name + ".old")
    moved = None
    for suffix in BESIDE:
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.replace(f"{old}{suffix}")
            moved = old
    fresh.replace(path)
    return moved


def remove(path: Path) -> None:
    for suffix in BESIDE:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
