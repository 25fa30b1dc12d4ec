"""Files and folders that are whole or not there, however the process or the machine ends."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from controller.core.errors import StoreError, StoreFull

PARTIAL = ".partial"
FULL = {errno.ENOSPC, errno.EDQUOT}
MAKE_ROOM = "Free space there, enlarge the store's volume, or purge runs: `backup-sidecar delete RUN --purge`."


def store_error(error: OSError, path: Path) -> StoreError:
    """The one translation of the operating system's errors about store and work folder."""
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return StoreFull(f"no room left at {path}: {reason}", hint=MAKE_ROOM)
    hint = f"Check that uid {os.getuid()} may write to {path.parent} and that its disk is healthy."
    return StoreError(f"cannot use {path}: {reason}", hint=hint)


def write(path: Path, data: bytes, *, private: bool = False) -> None:
    """Durable when it returns; an older file of that name is replaced as a whole. Raises `StoreError`.

    Of a `private` one no other user ever reads a byte.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            if private:
                os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise store_error(error, path) from error


def remove(path: Path) -> None:
    """Durable when it returns; nothing happens where there is no such file. Raises `StoreError`."""
    try:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)
    except OSError as error:
        raise store_error(error, path) from error


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable (fsync(2) of a file does not)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def subfolders(folder: Path) -> list[Path]:
    """Without symbolic links, and without what is not for us, as a disk's `lost+found`. Raises `StoreError`."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, PermissionError):
        return []
    except OSError as error:
        raise store_error(error, folder) from error


def without_links(path: str, flags: int) -> int:
    """For `open`: refuse a symbolic link that was put in a file's place, and wait for nobody, as a pipe would."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
