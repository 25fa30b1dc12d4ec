"""Runs on disk: partial, fsync, rename, manifest last; here alone is decided what counts as a backup.

`<root>/<project>/<service>[/<name>]/<run-id>/` holds a run's artifacts and `manifest.json`. A folder without a manifest
is no backup and is swept away at the next start. Nothing that is published is ever changed. A run that is deleted is no
backup either, since its manifest is then `deleted.json`, until that is renamed back or the run is purged. No symbolic
link is ever followed beneath the root, so that nothing outside is read, or removed, as if it were a run.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from controller.core.errors import StoreError, StoreFull, UnknownRun
from controller.core.key import RUN_ID, Key
from controller.core.manifest import SCHEMA, Manifest
from controller.storage.access import is_open
from controller.storage.draft import MANIFEST, Draft
from controller.storage.files import store_error, subfolders, sync_folder, without_links
from controller.storage.lock import StoreLock
from controller.storage.own_marks import OwnMarks
from controller.storage.room import Reserve, Room

DELETED = "deleted.json"
"""The manifest of a run that was deleted and can be brought back."""
PURGED = MANIFEST + ".deleted"
"""The manifest of a run that is on its way out."""


class Store:
    """The folder of all runs; one process owns it."""

    def __init__(
        self, root: Path, reserve: Callable[[], Reserve | None] = lambda: None, own_marks: OwnMarks | None = None
    ) -> None:
        """`reserve` gives what frees room where a run needs it."""
        self.root, self.own_marks = root, own_marks or OwnMarks()
        self._lock = StoreLock(root)
        self.room = Room(root, reserve)
        self._tree = threading.Lock()
        """Held while folders above runs come and go."""
        self._overflows: dict[Key, int] = {}
        """Bytes that a target's last run had written when there was no room for more."""

    def acquire(self) -> None:
        """Take the store for this process; raises `StoreError` when it cannot be written or another sidecar has it."""
        self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def free(self) -> int:
        """Bytes that the next runs can take. Raises `StoreError`."""
        return self.room.free()

    def sweep(self) -> list[str]:
        """Remove what a dead process left half done; gives the run ids."""
        left = [folder for folder in self._run_folders() if not (is_published(folder) or is_deleted(folder))]
        for folder in left:
            with suppress(StoreError):
                self._remove(folder)
        for folder in list(self._folders()):
            self._tidy(folder)
        return [folder.name for folder in left]

    @contextmanager
    def draft(self, key: Key, run: str) -> Iterator[Draft]:
        """A new run's folder; removed again unless it was published.

        Raises `StoreFull` where the target's newest run would not fit once more, or its last one did not, whatever may
        be given up, and for one that grows into the room of others. Raises `StoreError` for a store that cannot be
        written, or is not there any more.
        """
        folder = self.folder(key, run)
        self.demand_present()
        newest = self._newest_size(key)
        known = max(newest, self._overflows.get(key, -1))
        if known >= 0:
            self.room.demand(key, known)
        self._make(folder)
        draft = Draft(folder, self.room.give_up_one, self.room.growth(key, newest))
        try:
            self._sync_above(folder)
            yield draft
        except StoreFull:
            with suppress(OSError):
                self._overflows[key] = sum(path.stat().st_size for path in folder.iterdir())
            raise
        finally:
            if draft.published:
                self._overflows.pop(key, None)
            else:
                with suppress(StoreError):  # What led here is told; the next start tries again.
                    self._remove(folder)

    def take_in(self, key: Key, run: str, whole: Path) -> None:
        """Publish a run whose folder was put together elsewhere in the store: one rename, durable when it returns.

        Raises `StoreError`, also for a run that is there.
        """
        folder = self.folder(key, run)
        self.demand_present()
        try:
            with self._tree:
                folder.parent.mkdir(parents=True, exist_ok=True)
                whole.rename(folder)
        except OSError as error:
            self._tidy(folder.parent)
            raise store_error(error, folder) from error
        self._sync_above(folder)

    def delete(self, key: Key, run: str) -> None:
        """Let a published run be no backup any more, with nothing of it lost; durable when it returns.

        Raises `UnknownRun`, `StoreError`.
        """
        rename(self.demand_published(key, run), MANIFEST, DELETED)

    def undelete(self, key: Key, run: str) -> None:
        """Undo `delete`; durable when it returns. Raises `UnknownRun` where there is nothing to undo, `StoreError`."""
        folder = self.folder(key, run)
        if is_published(folder) or not is_deleted(folder):
            raise missing(folder)
        rename(folder, DELETED, MANIFEST)

    def purge(self, key: Key, run: str) -> None:
        """Take a run out of the store, deleted or not; when this returns, or has died half way, it is there no more.

        Raises `UnknownRun`, and `StoreError` when the run or something of it is still there.
        """
        if not self.holds(key, run):
            raise missing(self.folder(key, run))
        self._remove(self.folder(key, run))

    def holds(self, key: Key, run: str) -> bool:
        """Whether a run is there as a whole, deleted or not; raises like `folder`."""
        folder = self.folder(key, run)
        return is_published(folder) or is_deleted(folder)

    def demand_published(self, key: Key, run: str) -> Path:
        """A run's folder; raises like `folder`, and `UnknownRun` where it holds no backup."""
        folder = self.folder(key, run)
        if not is_published(folder):
            raise missing(folder)
        return folder

    def folder(self, key: Key, run: str) -> Path:
        """Where a run lies; raises `UnknownRun` for what is no run id, `StoreError` where a link leads elsewhere."""
        if not RUN_ID.fullmatch(run):
            raise UnknownRun(f"{run[:60]!r} is not a run id", hint="`backup-sidecar runs` lists them.")
        folder = self.root
        for part in (*key.folders, run):
            folder /= part
            if folder.is_symlink():
                raise StoreError(f"{folder} is a symbolic link", hint="Remove it: nothing in the store may be one.")
        return folder

    def manifest(self, key: Key, run: str) -> Manifest:
        """Raises `UnknownRun` where there is no published run, `StoreError` where its schema is a later one, and
        `Tampered` where it is not the one that was published.
        """
        return self._read(self.folder(key, run) / MANIFEST, self.own_marks)

    def artifact(self, key: Key, run: str, name: str) -> Path:
        """Path of a published artifact; only a name that the manifest lists, and no link, is found."""
        path = self.folder(key, run) / name
        listed = name in (artifact.name for artifact in self.manifest(key, run).artifacts)
        if not listed or path.is_symlink() or not path.is_file():
            raise UnknownRun(f"run {run} has no artifact {name[:80]!r}", hint="`backup-sidecar artifacts` lists them.")
        return path

    def manifests(self) -> Iterator[Manifest | StoreError]:
        """Every published run, in no order; in the place of one that cannot be read the reason."""
        for folder in self._run_folders():
            if is_published(folder):
                yield from self._told(folder / MANIFEST)

    def deleted(self) -> Iterator[Manifest | StoreError]:
        """As `manifests`, of every run that was deleted and can be brought back."""
        for folder in self._run_folders():
            if is_deleted(folder) and not is_published(folder):
                yield from self._told(folder / DELETED)

    def _told(self, path: Path) -> Iterator[Manifest | StoreError]:
        try:
            yield self._read(path)
        except StoreError as error:
            yield error

    def _read(self, path: Path, own_marks: OwnMarks | None = None) -> Manifest:
        try:
            with open(path, "rb", opener=without_links) as file:  # Path.open has no opener.
                data = file.read()
            manifest = Manifest.model_validate_json(data)
        except FileNotFoundError:
            raise missing(path.parent) from None
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {path}", hint="Restore it from a copy, or move its folder away.") from error
        if manifest.schema_ > SCHEMA:
            hint = "Run the release that wrote it, or a later one."
            raise StoreError(f"{path} has schema {manifest.schema_}, this program reads up to {SCHEMA}", hint=hint)
        if path.parent != self.root.joinpath(*manifest.target.folders, manifest.run):
            message = f"{path} is that of run {manifest.run} of {manifest.target}"
            raise StoreError(message, hint="Put its folder where it belongs, or move it out of the store.")
        if own_marks:
            own_marks.demand(path.parent, manifest, data)
        return manifest

    def demand_present(self) -> None:
        """The store is still the one that was taken: beneath a mount that is gone lies another folder."""
        if self._lock.is_lost:
            hint = "Mount its volume again, then restart the sidecar."
            raise StoreError(f"the store {self.root} is not there any more", hint=hint)

    def _newest_size(self, key: Key) -> int:
        """Stored bytes of the newest run that can be read; -1 where there is none."""
        for folder in sorted(subfolders(self.root.joinpath(*key.folders)), reverse=True):
            if RUN_ID.fullmatch(folder.name) and is_published(folder):
                with suppress(StoreError):
                    return self._read(folder / MANIFEST).size
        return -1

    def _make(self, folder: Path) -> None:
        try:
            with self._tree:
                folder.mkdir(parents=True)
        except OSError as error:
            self._tidy(folder.parent)
            raise store_error(error, folder) from error

    def _sync_above(self, folder: Path) -> None:
        """Make a run's folder durable, and those above it, which may be as new."""
        try:
            for above in folder.parents[: len(folder.relative_to(self.root).parts)]:
                sync_folder(above)
        except OSError as error:
            raise store_error(error, folder) from error

    def _remove(self, folder: Path) -> None:
        """The manifest goes first, durably, so that no crash leaves a run that is listed and not whole."""
        for name in (DELETED, MANIFEST):
            if holds(folder, name):
                rename(folder, name, PURGED)
        try:
            shutil.rmtree(folder)
            self._tidy(folder.parent)
        except OSError as error:
            raise store_error(error, folder) from error

    def _tidy(self, folder: Path) -> None:
        """Remove folders that have become empty, up to the root."""
        with self._tree:
            while folder != self.root:
                try:
                    folder.rmdir()
                except OSError:  # It is not empty.
                    return
                folder = folder.parent

    def _run_folders(self) -> Iterator[Path]:
        for above in self._folders():
            yield from (folder for folder in subfolders(above) if RUN_ID.fullmatch(folder.name) and is_open(folder))

    def _folders(self) -> Iterator[Path]:
        """Those above runs, the deepest first."""
        for project in subfolders(self.root):
            for service in subfolders(project):
                yield from (folder for folder in subfolders(service) if not RUN_ID.fullmatch(folder.name))
                yield service
            yield project


def is_published(folder: Path) -> bool:
    """Whether a run's folder has its manifest, and so is a backup."""
    return holds(folder, MANIFEST)


def is_deleted(folder: Path) -> bool:
    """Whether a run's folder has the manifest of a deleted run."""
    return holds(folder, DELETED)


def holds(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_file() and not path.is_symlink()


def rename(folder: Path, name: str, to: str) -> None:
    """Durable when it returns. Raises `StoreError`."""
    try:
        (folder / name).rename(folder / to)
        sync_folder(folder)
    except OSError as error:
        raise store_error(error, folder) from error


def missing(folder: Path) -> UnknownRun:
    """Why a folder holds no backup."""
    if is_deleted(folder):
        return UnknownRun(f"run {folder.name} is deleted", hint=f"`backup-sidecar undelete {folder.name}` undoes that.")
    return UnknownRun(f"no run {folder.name}", hint="`backup-sidecar runs` lists them.")
