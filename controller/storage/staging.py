"""A place in the store where runs that come from elsewhere are put together; whatever lies there is no backup.

A run leaves it whole, by one rename, and what is left goes away with it: so a crash leaves nothing half.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from controller.core.errors import StoreFull
from controller.core.manifest import Manifest
from controller.storage import disk, journal, marks
from controller.storage.draft import MANIFEST
from controller.storage.files import MAKE_ROOM, store_error, sync_folder
from controller.storage.store import Store

FOLDER = ".adopt"
"""Beneath the store's root; no part of a key begins with a dot there."""
RESERVE_BYTES = 64 << 20
"""That stay free for the catalog, and for what runs meanwhile."""
LOOK_BYTES = 64 << 20
"""After so many it is looked again whether there is room."""


class Staging:
    """One such place; see `staging`."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder, self._runs = store, folder, 0

    def run(self) -> Path:
        """A new folder for the files of one run."""
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        return folder

    def write(self, path: Path, pieces: Iterable[bytes], size: int = 0) -> None:
        """A new file of `size` bytes, as far as that is known; durable when it returns.

        Raises `StoreFull` before the room that others need is used up, `StoreError`.
        """
        self._demand_room(path, size)
        written = 0
        try:
            with path.open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                    if written // LOOK_BYTES < (written := written + len(piece)) // LOOK_BYTES:
                        self._demand_room(path, 0)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise store_error(error, path) from error

    def publish(self, folder: Path, manifest: Manifest, found: Mapping[str, Mapping[str, object]]) -> None:
        """Make a run of a folder that holds its artifacts and its manifest; `found` are its marks by their names.

        Whatever else lies in the folder goes. Raises `StoreError`.
        """
        own = {MANIFEST, *(artifact.name for artifact in manifest.artifacts)}
        try:
            for path in folder.iterdir():
                if path.name not in own:
                    path.unlink()
            for name, fields in found.items():
                journal.write(folder / marks.FOLDER / (name + marks.SUFFIX), fields)
            sync_folder(folder)
        except OSError as error:
            raise store_error(error, folder) from error
        self._store.take_in(manifest.target, manifest.run, folder)

    def _demand_room(self, path: Path, size: int) -> None:
        try:
            free = disk.free(self._store.root) - RESERVE_BYTES
        except OSError as error:
            raise store_error(error, path) from error
        if size > free:
            message = f"no room for what comes from elsewhere: {max(size, 1)} bytes, and {max(free, 0)} may be used"
            raise StoreFull(message, hint=MAKE_ROOM)


@contextmanager
def staging(store: Store) -> Iterator[Staging]:
    """A new one, which goes away with everything that was not published. Raises `StoreError`."""
    store.demand_present()
    folder = store.root / FOLDER / token_hex(8)
    try:
        folder.mkdir(parents=True)
        yield Staging(store, folder)
    except OSError as error:
        raise store_error(error, folder) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()


def clear(store: Store) -> None:
    """Remove what a process left that died."""
    shutil.rmtree(store.root / FOLDER, ignore_errors=True)
