"""The sidecar's name for life: a ULID, made once and kept in the work folder; apart, as it outlives every process."""

import os
import re
import secrets
import time
from pathlib import Path

from controller.errors import StoreError
from controller.store import store_error, sync_folder

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U."""
ULID = re.compile(f"[0-7][{ALPHABET}]{{25}}")
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


def new_ulid() -> str:
    """48 bits of time in milliseconds, 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
