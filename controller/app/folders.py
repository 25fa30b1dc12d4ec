"""Looks at the operator's folders before anything is opened there, so that what is wrong is said in plain words."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from config.loading import Loaded
from config.problems import Problem


def problems(loaded: Loaded) -> Iterator[Problem]:
    """What keeps the folders from being used."""
    for key in ("artifacts", "workdir", "tmp"):
        folder: Path = getattr(loaded.settings.paths, key)
        if (message := unusable(folder)) is not None:
            hint = f"Mount a volume there that uid {os.getuid()} may write to."
            yield Problem("bad-folder", loaded.places.of(("paths", key)), message, hint)


def unusable(folder: Path) -> str | None:
    """Why a folder cannot be used by this process; None when it can, or can be made."""
    there = folder
    try:
        while not there.exists():
            there = there.parent
        status = there.stat()
    except OSError as error:
        return f"uid {os.getuid()} cannot reach {folder}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{there} is not a folder"
    if os.access(there, os.W_OK | os.X_OK):
        return None
    missing = f"{folder} is not there, and " if there != folder else ""
    readonly = ", on a read-only file system" if os.statvfs(there).f_flag & os.ST_RDONLY else ""
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    return f"{missing}uid {os.getuid()} may not write to {there} (mode {mode}, uid {status.st_uid}{readonly})"
