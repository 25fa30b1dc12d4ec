"""Small facts that must survive a crash, one JSON file each: written whole, fsynced, renamed; apart from the catalog,
which can be lost and rebuilt.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller.core.errors import StoreError
from controller.storage.store import store_error, sync_folder


def write(path: Path, fact: Mapping[str, Any]) -> None:
    """Durable when it returns; an older fact at the same path is replaced whole. Raises `StoreError`."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            json.dump(fact, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise store_error(error, path) from error


def read(path: Path) -> dict[str, Any] | None:
    """None where there is no such fact. Raises `StoreError` for a file that cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(error, path) from error
    except ValueError as error:
        raise StoreError(f"{path} is no JSON", hint="Look at it, then remove it.") from error
    return found if isinstance(found, dict) else {}


def remove(path: Path) -> None:
    """Durable when it returns; nothing happens where there is no such fact. Raises `StoreError`."""
    try:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)
    except OSError as error:
        raise store_error(error, path) from error
