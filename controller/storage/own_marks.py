"""A run's own mark: its manifest under a key that is not in the store, so that nobody who writes there can make one."""

import hmac
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from loguru import logger

from controller.core.errors import StoreError, Tampered
from controller.core.manifest import Manifest
from controller.core.run import Report
from controller.storage import files, journal
from controller.storage.catalog import Catalog
from controller.storage.draft import document

FILE, KEY_BYTES = "run-marks.key", 32
MARK_FILE = "marks/report.json"
"""Where a run's own mark lies beside its manifest."""

Known = Callable[[str], Report | None]
"""What the catalog knows of a run."""
Told = Callable[[Tampered, str], None]
"""Is called with what is wrong with a run."""


class OwnMarks:
    """Makes and demands them; without a folder for the key every run is unmarked."""

    def __init__(
        self, folder: Path | None = None, known: Known = lambda run: None, told: Told = lambda error, run: None
    ) -> None:
        self._path, self._known, self._told = folder / FILE if folder else None, known, told
        self._lock = threading.Lock()

    def of(self, manifest: Manifest) -> str:
        """The mark of a manifest that is published; the first one makes the key. Raises `StoreError`."""
        if self._path is None:
            return ""
        with self._lock:
            key = journal.parsed(self._path, parsed)
            if key is None:
                key = secrets.token_bytes(KEY_BYTES)
                files.write(self._path, key.hex().encode() + b"\n", private=True)
        return signed(key, document(manifest))

    def demand(self, folder: Path, manifest: Manifest, data: bytes) -> None:
        """Compare a run's manifest, its own mark and the catalog; raises `Tampered` where they differ.

        A mark by another key says nothing here: it is a run of another sidecar, or of one whose key is lost.
        """
        report = self._known(manifest.run)
        listed = report.artifacts if report else ()
        marks = {report.mark if report else "", mark_in(folder)} - {""}
        if listed and listed != manifest.artifacts:
            why = "the catalog knows its artifacts otherwise"
        elif self._path and marks and self._differs(marks, data):
            why = "its mark is that of another one"
        else:
            return
        error = Tampered(f"the manifest of run {manifest.run} is not the one that was published: {why}")
        self._told(error, manifest.run)
        raise error

    def _differs(self, marks: set[str], data: bytes) -> bool:
        if self._path is None or not self._path.exists() or (key := journal.parsed(self._path, parsed)) is None:
            return False
        right = signed(key, data)
        name, _, _ = right.partition(":")
        ours = [mark.encode() for mark in marks if mark.startswith(f"{name}:")]
        return not all(hmac.compare_digest(mark, right.encode()) for mark in ours)


def told(catalog: Catalog, error: Tampered, run: str) -> None:
    """Keep that a run is not what was published, and log it when that is new."""
    known = catalog.known(run)
    if known and known.stored and not known.tampered:
        catalog.amend(run, damaged=error.message, tampered=True)
        logger.bind(target=str(known.target), run=run, code=error.code).error("{}", error)


def parsed(data: bytes) -> bytes:
    """Raises ValueError for what is no key."""
    key = bytes.fromhex(data.decode("ascii"))
    if len(key) != KEY_BYTES:
        raise ValueError("no key")
    return key


def signed(key: bytes, data: bytes) -> str:
    """The key's name, which tells nothing of it, and HMAC-SHA256 of the data."""
    return f"{sha256(key).hexdigest()[:8]}:{hmac.digest(key, data, 'sha256').hex()}"


def mark_in(folder: Path) -> str:
    """What lies in the store, whoever put it there."""
    with suppress(StoreError):
        return str((journal.load(folder / MARK_FILE) or {}).get("mark", ""))
    return ""
