"""The sidecar's name for life: a ULID, made once and kept in the work folder."""

from pathlib import Path

from controller.core.ulid import ULID, new_ulid
from controller.storage import files, journal

FILE = "identity"


def identity(folder: Path) -> str:
    """The ULID in `folder`, a new one where there is none. Raises `StoreError` when it cannot be kept."""
    path = folder / FILE
    known = journal.parsed(path, ulid)
    if known is None:
        known = new_ulid()
        files.write(path, known.encode() + b"\n")
    return known


def ulid(data: bytes) -> str:
    """Raises ValueError for what is none."""
    text = data.decode("ascii").strip()
    if not ULID.fullmatch(text):
        raise ValueError("no ULID")
    return text
