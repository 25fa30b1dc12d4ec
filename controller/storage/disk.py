"""What the operating system tells of the disk beneath a folder."""

import os
from pathlib import Path

from config.problems import Problem

MOUNTS = Path("/proc/self/mountinfo")
PASSING = {
    "tmpfs": "in memory, and is gone when the machine, or the container, stops",
    "ramfs": "in memory, and is gone when the machine stops",
    "overlay": "in the container's own layer, and is gone when the container is re-created",
}
"""File systems that do not outlive what they belong to."""


def free(folder: Path) -> int:
    """Bytes that an unprivileged process may still write there. Raises `OSError`."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def passing(folder: Path) -> Problem | None:
    """A warning where the folder's file system does not last. Raises `OSError`."""
    kind = file_system(folder)
    if kind not in PASSING:
        return None
    message, hint = f"{folder} lies {PASSING[kind]}", "Mount a volume there."
    return Problem("passing-store", "paths.artifacts", message, hint, severity="warning")


def file_system(folder: Path) -> str:
    """The type of the folder's file system (proc(5), mountinfo, found by device number); empty for one not listed."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        mount, _, rest = line.partition(" - ")
        if mount.split()[2] == number:
            return rest.split()[0]
    return ""
