"""A folder of this machine: a mounted share, or a disk that is not the store's."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from controller.core.copy_errors import DestinationDown, DestinationFull, DestinationRefused, UnknownObject
from controller.core.errors import SidecarError
from controller.storage.destinations import StoredObject, Traits, parts_of
from controller.storage.files import FULL, PARTIAL, sync_folder, without_links

CHUNK_BYTES = 1 << 20
GONE = {errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN, errno.ENODEV}
"""What a share answers that went away, and may come back."""


def opened(options: dict[str, Any], store: Path | None) -> "PathDestination":
    return PathDestination(Path(options["path"]), None if options.get("same_disk") else store)


class PathDestination:
    """One folder."""

    prefix, lock = "", timedelta(0)

    def __init__(self, root: Path, store: Path | None = None) -> None:
        """`store`: the folder on whose disk it must not lie."""
        self._root, self._store = root, store

    def probe(self) -> None:
        with self._translated(""):
            here = self._root.stat().st_dev
            if self._store and here == self._store.stat().st_dev:
                raise DestinationRefused(
                    f"{self._root} lies on the disk of the store itself, which it would be lost with",
                    hint="Mount another disk or a share there, or set `same-disk: true` for what is only history.",
                )
            if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
                uid = os.getuid()
                raise DestinationRefused(f"uid {uid} may not write to {self._root}", hint=f"Give it to uid {uid}.")

    def put(self, name: str, content: bytes) -> None:
        """By a new file that takes the place of the old one."""
        path = self._path(name)
        partial = path.with_name(f"{path.name}.{token_hex(4)}{PARTIAL}")
        with self._translated(name):
            missing = [folder for folder in (path.parent, *path.parents) if not folder.exists()]
            if self._root in missing:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                    # What is read back must come from the disk.
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                partial.rename(path)
            except BaseException:
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise
            for folder in (path.parent, *(new.parent for new in missing)):
                sync_folder(folder)

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        self._demand_no_versions(version)
        with self._translated(name), open(self._path(name), "rb", buffering=0, opener=without_links) as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    def list(self, prefix: str, as_of: datetime | None = None) -> Iterator[StoredObject]:
        self._demand_no_versions(as_of)
        folder, _, _ = prefix.rpartition("/")
        with self._translated(folder):
            self._root.stat()  # A folder in it may be missing, it itself not.
            yield from (found for found in self._below(folder) if found.name.startswith(prefix))

    def delete(self, name: str) -> None:
        path = self._path(name)
        with self._translated(name):
            path.unlink(missing_ok=True)
            folder = path.parent
            with suppress(OSError):  # It is not empty, or not there.
                while folder != self._root:
                    folder.rmdir()
                    folder = folder.parent
            sync_folder(folder if folder.is_dir() else self._root)

    def keep(self, name: str) -> None:
        """Nothing is kept against anybody's will."""

    def traits(self, name: str) -> Traits:
        return Traits()

    def close(self) -> None:
        """It holds nothing."""

    def _below(self, folder: str) -> Iterator[StoredObject]:
        path = self._path(folder) if folder else self._root
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(name)
            elif entry.is_file(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                yield StoredObject(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _path(self, name: str) -> Path:
        """Where an object lies; raises `DestinationRefused` for a name that leads elsewhere."""
        path = self._root
        for part in parts_of(name):
            path /= part
            if path.is_symlink():
                raise DestinationRefused(f"{path} is a symbolic link", hint="Remove it: no copy may lead elsewhere.")
        return path

    def _demand_no_versions(self, wanted: object) -> None:
        if wanted:
            raise DestinationRefused(f"{self._root} keeps no versions", hint="Mount a snapshot of it as `path`.")

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        """The operating system's errors in our words."""
        path = self._root / name if name else self._root
        try:
            yield
        except SidecarError:
            raise
        except FileNotFoundError as error:
            if self._root.is_dir():
                raise UnknownObject(f"there is no {path}") from error
            raise DestinationDown(f"{self._root} is not there", hint="Mount it, then wait or restart.") from error
        except OSError as error:
            raise translated(error, path) from error


def translated(error: OSError, path: Path) -> SidecarError:
    """What an error of the operating system means."""
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return DestinationFull(f"no room left at {path}: {reason}")
    if error.errno in GONE:
        return DestinationDown(f"cannot use {path}: {reason}", hint="Look at the share or disk.")
    return DestinationRefused(f"cannot use {path}: {reason}", hint=f"Let uid {os.getuid()} read and write there.")
