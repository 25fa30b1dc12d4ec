"""Writes a run's plain dumps into a folder, for people who restore by hand; needs nothing but the store."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from controller.core.errors import StoreError, StoreFull
from controller.core.manifest import Manifest
from controller.storage import capture
from controller.storage.files import FULL, sync_folder
from controller.storage.source import Source
from controller.storage.store import Store


def write(store: Store, manifest: Manifest, folder: Path) -> Path:
    """A new folder, named after the run, with the plain dump of each artifact; gives its path.

    It appears only when everything in it has its digest. Raises `Damaged`, `StoreError`; also for one that is there.
    """
    whole, partial = folder / manifest.run, folder / f".{manifest.run}.partial"
    if whole.exists():
        raise StoreError(f"{whole} is already there", hint="Nothing is overwritten: remove it, or name another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for artifact in manifest.artifacts:
            source = Source(artifact, store.artifact(manifest.target, manifest.run, artifact.name))
            _write(source, partial / source.stored.name)
        sync_folder(partial)
        partial.rename(whole)
        sync_folder(folder)
    except OSError as error:
        kind = StoreFull if error.errno in FULL else StoreError
        hint = "Look at its permissions and its room."
        raise kind(f"cannot write {folder}: {error.strerror or error}", hint=hint) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(partial)
    return whole


def how(manifest: Manifest) -> list[str]:
    """For each plain dump the line that restores it, as the manifest has it but without decompressing."""
    lines = []
    for artifact in manifest.artifacts:
        name = Source(artifact, Path(artifact.name)).stored.name
        _, _, restore = artifact.restore.partition(" | ")
        lines.append(f"cat {name} | {restore}" if restore else f"{name}: nobody knows how")
    return lines


def _write(source: Source, path: Path) -> None:
    with path.open("xb") as file:
        source.verify(_copying(file.write))
        file.flush()


def _copying(write: Callable[[bytes], int]) -> capture.Consume:
    def consume(stream: BinaryIO) -> tuple[str, ...]:
        while chunk := stream.read(1 << 20):
            write(chunk)
        return ()

    return consume
