"""Gives up root first thing; apart, because it has to happen before anything else is imported or opened.

The socket belongs to root and a group whose number differs from host to host, so only a look at it tells which group is
needed. An operator who sets `user:` is left alone.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

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
        with suppress(OSError):  # What cannot be used is told by `controller.app.sidecar.folders`.
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


def closed_socket() -> str | None:
    """Why the engine's socket cannot be used by this user, with the remedy; None when it can."""
    socket = socket_path()
    if socket is None or os.access(socket, os.R_OK | os.W_OK):
        return None
    try:
        found = socket.stat()
    except FileNotFoundError:
        return f"there is no socket {socket}: mount the engine's socket there, or set DOCKER_HOST."
    except PermissionError:
        return f"uid {os.getuid()} may not enter {socket.parent}: run `chmod o+x` on that folder."
    group = found.st_gid
    return (
        f"uid {os.getuid()} may not use the engine's socket {socket}: "
        f'add `group_add: ["{group}"]` to the service, or remove its `user:`.'
    )
