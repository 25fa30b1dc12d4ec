"""Looks at the operator's folders before anything is opened there, so that what is wrong is said in plain words."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from config.loading import Loaded
from config.problems import Problem

VOLATILE = {"tmpfs", "ramfs"}
MOUNT = re.compile(r"^\d+ \d+ \S+ \S+ (\S+) .*? - (\S+) ", re.MULTILINE)
"""Where a file system is mounted, and its kind (proc_pid_mountinfo(5))."""


def problems(loaded: Loaded) -> Iterator[Problem]:
    """What keeps the folders from being used, and a warning for one that does not outlive the container."""
    for key in ("artifacts", "workdir", "tmp"):
        folder: Path = getattr(loaded.settings.paths, key)
        place = loaded.places.of(("paths", key))
        if (message := unusable(folder)) is not None:
            hint = f"Mount a volume there that uid {os.getuid()} may write to."
            yield Problem("bad-folder", place, message, hint)
        elif key != "tmp" and (kind := file_system(folder)) in VOLATILE:
            message = f"{folder} is on {kind}, so what lies there is gone when the container ends"
            yield Problem("volatile-folder", place, message, "Mount a volume there.", "warning")


def unusable(folder: Path) -> str | None:
    """Why a folder cannot be used by this process; None when it can, or can be made."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is not a folder"
    if os.access(there, os.W_OK | os.X_OK):
        return None
    found = there.stat()
    missing = f"{folder} is not there, and " if there != folder else ""
    readonly = ", on a read-only file system" if os.statvfs(there).f_flag & os.ST_RDONLY else ""
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    return f"{missing}uid {os.getuid()} may not write to {there} (mode {mode}, uid {found.st_uid}{readonly})"


def file_system(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """Kind of the file system on which a folder lies, such as `ext4`; empty where that cannot be told."""
    if not mountinfo.exists():
        return ""
    # Of several mounts at one place the last is on top.
    kinds = dict(MOUNT.findall(mountinfo.read_text("utf-8", "replace")))
    resolved = folder.resolve()
    return next((kinds[str(one)] for one in (resolved, *resolved.parents) if str(one) in kinds), "")
