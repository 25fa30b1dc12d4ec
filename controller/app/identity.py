"""The sidecar's name for life: a ULID, made once and kept in the work folder; apart, as it outlives every process."""

import os
from pathlib import Path

from controller.core.errors import StoreError
from controller.core.ulid import ULID, new_ulid
from controller.storage.store import store_error, sync_folder

FILE = "identity"


def identity(folder: Path) -> str:
    """The ULID in `folder`, made at the first call. Raises `StoreError` when it cannot be kept, or is none."""
    path = folder / FILE
    try:
        found = path.read_text("ascii").strip() if path.exists() else keep(path, new_ulid())
    except (OSError, UnicodeDecodeError) as error:
        raise store_error(error, path) if isinstance(error, OSError) else broken(path) from error
    if not ULID.fullmatch(found):
        raise broken(path)
    return found


def keep(path: Path, text: str) -> str:
    """Write durably, so that no half of it is ever read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_folder(path.parent)
    return text


def broken(path: Path) -> StoreError:
    return StoreError(
        f"{path} holds no ULID", hint="Restore it, or remove it to get a new identity at the orchestrator."
    )
