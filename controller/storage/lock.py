"""Keeps a store for one process: a lock on a file in it, and on its folder where the file system locks folders."""

import fcntl
import os
from pathlib import Path

from controller.core.errors import StoreError
from controller.storage.files import store_error

LOCK = ".lock"
FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class StoreLock:
    """Not taken until `acquire`."""

    def __init__(self, root: Path) -> None:
        self._root, self._path = root, root / LOCK
        self._file: int | None = None
        self._folder: int | None = None

    def acquire(self) -> None:
        """Raises `StoreError` when the store cannot be written or another sidecar has it."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            self._file = self._opened(is_ours=is_locked(self._folder))
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            hint = "Give each sidecar its own volume, or stop the other one."
            raise StoreError(f"another sidecar is using the store {self._root}", hint=hint) from error
        except OSError as error:
            self.release()
            raise store_error(error, self._path) from error

    def release(self) -> None:
        for descriptor in (self._file, self._folder):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._folder = None

    @property
    def is_lost(self) -> bool:
        """Whether another file lies in its place, or none: beneath a mount that is gone lies another folder."""
        try:
            return self._file is not None and not os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return True

    def _opened(self, *, is_ours: bool) -> int:
        """The lock file; one that may not be opened, since it came along, is replaced where the store `is_ours`."""
        try:
            return os.open(self._path, FLAGS, 0o600)
        except PermissionError:
            if not is_ours:
                raise
            self._path.unlink()
            return os.open(self._path, FLAGS, 0o600)


def is_locked(descriptor: int) -> bool:
    """Whether the lock could be taken; raises `BlockingIOError` while another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # A network's file system, for example, locks no folders.
        return False
    return True
