"""Which folders of the store this process may not enter: what lies there is not listed, and never touched."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from config.problems import Problem
from controller.core.key import RUN_ID
from controller.storage.files import subfolders

OF_THE_DISK = "lost+found"
"""What a file system keeps for itself at its root."""
FOLDERS_NAMED = 5


def is_open(folder: Path) -> bool:
    """Whether this process may list and enter a folder."""
    return os.access(folder, os.R_OK | os.X_OK)


def unreadable(folder: Path) -> Iterator[Path]:
    """The folders beneath one, down to those of runs, that this process may not enter. Raises `StoreError`."""
    for below in sorted(subfolders(folder)):
        if below.name == OF_THE_DISK:
            continue
        if not is_open(below):
            yield below
        elif not RUN_ID.fullmatch(below.name):
            yield from unreadable(below)


def problem(root: Path, folders: Sequence[Path]) -> Problem | None:
    """What is said of folders that cannot be entered; None where there are none."""
    if not folders:
        return None
    named = ", ".join(map(str, folders[:FOLDERS_NAMED]))
    more = f" and {len(folders) - FOLDERS_NAMED} more" if len(folders) > FOLDERS_NAMED else ""
    message = f"uid {os.getuid()} may not read {len(folders)} of its folders, so their runs are missing: {named}{more}"
    hint = f"Run `chown -R {os.getuid()} {root}` as root, then restart the sidecar."
    return Problem("unreadable-store", "paths.artifacts", message, hint)
