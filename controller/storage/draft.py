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
    """A new file of a draft that, where the disk is full, lets something be given up and goes on."""

    def __init__(self, path: Path, draft: "Draft") -> None:
        super().__init__(path, "xb")
        self._draft = draft

    def write(self, data: Any, /) -> int:
        self._draft.demand(self._draft.written, memoryview(data).nbytes)
        while True:
            try:
                count = super().write(data)
            except OSError as error:
                if error.errno not in FULL or not self._draft.give_up_one():
                    raise
            else:
                self._draft.written += count
                return count


class Draft:
    """A run that is being written; becomes a backup only by `publish`."""

    def __init__(
        self,
        folder: Path,
        give_up_one: Callable[[], bool] = lambda: False,
        demand: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """`give_up_one` frees some room, where there is any to free; `demand` is asked before so many bytes are
        written behind so many, and may raise `StoreFull`.
        """
        self.folder, self.give_up_one, self.demand = folder, give_up_one, demand
        self.published, self.written = False, 0
        self._names: list[str] = []

    def partial(self, name: str) -> Path:
        """Where the artifact `name` lies until it is published."""
        return self.folder / (name + PARTIAL)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A new file for the artifact `name`, unbuffered; on leaving without an error it is on the disk (fsync)."""
        path = self.partial(name)
        try:
            with Growing(path, self) as file:
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
        files.write(path, document(manifest))
        self.published = True


def document(manifest: Manifest) -> bytes:
    """A manifest as it lies in the store."""
    return manifest.model_dump_json(indent=2).encode() + b"\n"
