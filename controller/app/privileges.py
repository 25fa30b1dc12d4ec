"""Gives up root first thing, before anything is opened.

The socket belongs to root and a group whose number differs from host to host, so only a look at it tells which group is
needed. An operator who sets `user:` is left alone.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from config.problems import Problem
from controller.storage import access

UID = GID = 10001
"""The image's user `sidecar`."""
SOCKET = "/var/run/docker.sock"
GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP


def socket_path() -> Path | None:
    """The engine's socket as a path; None for an engine on the network."""
    address = os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
    return Path(address.removeprefix("unix://")) if address.startswith("unix://") else None


def drop(folders: tuple[Path, ...]) -> None:
    """As root: mend the folders, join the socket's group, become the unprivileged user. Else do nothing."""
    if os.getuid() != 0:
        return
    for folder in folders:
        with suppress(OSError):  # What cannot be used is told by `controller.app.folders`.
            folder.mkdir(parents=True, exist_ok=True)
            mend(folder.resolve())
    socket = socket_path()
    groups = [socket.stat().st_gid] if socket and socket.exists() and stat.S_ISSOCK(socket.stat().st_mode) else []
    os.setgroups(groups)
    os.setgid(GID)
    os.setuid(UID)
    os.umask(0o027)
    os.environ["HOME"] = str(folders[0])


def mend(folder: Path) -> None:
    """Let the unprivileged user read and write everything in a folder, as far as root may: no link is followed.

    A volume that was copied, or unpacked by root, belongs to others in part.
    """
    mend_entry(str(folder), None)
    for path, folders, files, descriptor in os.fwalk(folder, follow_symlinks=False):
        if path == str(folder) and access.OF_THE_DISK in folders:
            folders.remove(access.OF_THE_DISK)
        for name in (*folders, *files):
            mend_entry(name, descriptor)


def mend_entry(name: str, within: int | None) -> None:
    """The same for one entry of an open folder; it costs a single lstat where nothing is to be mended."""
    with suppress(OSError):  # What stays as it is is told by `controller.storage.access`, or by whoever uses it.
        status = os.stat(name, dir_fd=within, follow_symlinks=False)
        mode, own = status.st_mode, status.st_uid == UID
        needed = 0o7 if stat.S_ISDIR(mode) else 0o6
        granted = mode >> (6 if own else 3 if status.st_gid == GID else 0)
        if granted & needed == needed or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return
        if mode >> 6 & needed == needed:
            os.chown(name, UID, GID, dir_fd=within, follow_symlinks=False)
        else:
            mend_mode(name, within, needed << 6)


def mend_mode(name: str, within: int | None, needed: int) -> None:
    """Own an entry and add what its owner lacks; as root's own, since the container was not given FOWNER."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
    try:
        os.fchown(descriptor, os.getuid(), -1)
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | needed)
    finally:
        os.fchown(descriptor, UID, GID)
        os.close(descriptor)


def problems() -> Iterator[Problem]:
    """Why the engine's socket cannot be used by this user."""
    socket, user = socket_path(), f"uid {os.getuid()}"
    if socket is None or os.access(socket, os.R_OK | os.W_OK):
        return
    try:
        facts = socket.stat()
        message = f"{user} may not use it"
        hint = f'Add `group_add: ["{facts.st_gid}"]` to the service, or remove its `user:`.'
        if facts.st_mode & GROUP_MAY != GROUP_MAY:
            message = f"its mode {stat.S_IMODE(facts.st_mode):04o} lets only its owner use it"
            hint = "Let its group use it: `chmod 0660` on the host, and for Podman `SocketMode=0660` in podman.socket."
    except FileNotFoundError:
        message, hint = "it is not there", "Mount the engine's socket there, or set DOCKER_HOST."
    except PermissionError:
        message, hint = f"{user} may not enter {socket.parent}", "Run `chmod o+x` on that folder."
    yield Problem("engine-refused", f"the engine's socket {socket}", message, hint)
