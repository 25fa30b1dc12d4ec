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

UID = GID = 10001
"""The image's user `sidecar`."""
SOCKET = "/var/run/docker.sock"


def socket_path() -> Path | None:
    """The engine's socket as a path; None for an engine on the network."""
    address = os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
    return Path(address.removeprefix("unix://")) if address.startswith("unix://") else None


def drop(folders: tuple[Path, ...]) -> None:
    """As root: own the folders, join the socket's group, become the unprivileged user. Else do nothing."""
    if os.getuid() != 0:
        return
    for folder in folders:
        with suppress(OSError):  # What cannot be used is told by `controller.app.folders`.
            folder.mkdir(parents=True, exist_ok=True)
            own(folder)
    socket = socket_path()
    groups = [socket.stat().st_gid] if socket and socket.exists() and stat.S_ISSOCK(socket.stat().st_mode) else []
    os.setgroups(groups)
    os.setgid(GID)
    os.setuid(UID)
    os.umask(0o027)
    os.environ["HOME"] = str(folders[0])


def own(folder: Path) -> None:
    """Give the folder to the unprivileged user; what lies beneath only if the folder was not theirs before."""
    if folder.stat().st_uid == UID:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, UID, GID, follow_symlinks=False)


def problems() -> Iterator[Problem]:
    """Why the engine's socket cannot be used by this user."""
    socket, user = socket_path(), f"uid {os.getuid()}"
    if socket is None or os.access(socket, os.R_OK | os.W_OK):
        return
    try:
        group = socket.stat().st_gid
        message = f"{user} may not use it"
        hint = f'Add `group_add: ["{group}"]` to the service, or remove its `user:`.'
    except FileNotFoundError:
        message, hint = "it is not there", "Mount the engine's socket there, or set DOCKER_HOST."
    except PermissionError:
        message, hint = f"{user} may not enter {socket.parent}", "Run `chmod o+x` on that folder."
    yield Problem("engine-refused", f"the engine's socket {socket}", message, hint)
