"""A run that is being written."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from controller.core.manifest import Manifest
from controller.storage import files
from controller.storage.files import FULL, PARTIAL, store_error, sync_folder

MANIFEST = "manifest.json"


class Growing(FileIO):
    """A new file that, where the disk is full, lets something be given up and goes on."""

    def __init__(self, path: Path, give_up_one: Callable[[], bool]) -> None:
        super().__init__(path, "xb")
        self._give_up_one = give_up_one

    def write(self, data: Any, /) -> int:
        while True:
            try:
                return super().write(data)
            except OSError as error:
                if error.errno not in FULL or not self._give_up_one():
                    raise


class Draft:
    """A run that is being written; becomes a backup only by `publish`."""

    def __init__(self, folder: Path, give_up_one: Callable[[], bool] = lambda: False) -> None:
        """`give_up_one` frees some room, where there is any to free."""
        self.folder, self._give_up_one = folder, give_up_one
        self.published = False
        self._names: list[str] = []

    def partial(self, name: str) -> Path:
        """Where the artifact `name` lies until it is published."""
        return self.folder / (name + PARTIAL)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A new file for the artifact `name`, unbuffered; on leaving without an error it is on the disk (fsync)."""
        path = self.partial(name)
        try:
            with Growing(path, self._give_up_one) as file:
                yield file
                os.fsync(file.fileno())
        except OSError as error:
            raise store_error(error, path) from error
        self._names.append(name)

    def publish(self, manifest: Manifest) -> None:
        """Give every artifact its name, then write the manifest; from then on, and not before, the run is a backup."""
        path = self.folder / MANIFEST
        try:
            for name in self._names:
                self.partial(name).rename(self.folder / name)
            sync_folder(self.folder)
        except OSError as error:
            raise store_error(error, path) from error
        files.write(path, manifest.model_dump_json(indent=2).encode() + b"\n")
        self.published = True
