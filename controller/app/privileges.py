"""Takes what limits leave, and gives up root first thing, before anything is opened.

The socket belongs to root and a group whose number differs from host to host, so only a look at it tells which group is
needed. An operator who sets `user:` is left alone.
"""

import os
import resource
import stat
from collections.abc import Iterable, Iterator
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


def drop(folders: tuple[Path, ...], places: Iterable[Path] = ()) -> None:
    """As root: mend the folders, join the socket's group, become the unprivileged user. Else do nothing.

    `places` are not ours alone: only one that is there and empty, as a new volume is, is given to that user.
    """
    if os.getuid() != 0:
        return
    for folder in folders:
        with suppress(OSError):  # What cannot be used is told by `controller.app.folders`.
            folder.mkdir(parents=True, exist_ok=True)
            let_through(folder.resolve())
            mend(folder.resolve())
    for place in places:
        with suppress(OSError):
            if {entry.name for entry in place.iterdir()} <= {access.OF_THE_DISK}:
                mend_entry(str(place), None)
    socket = socket_path()
    groups = [socket.stat().st_gid] if socket and socket.exists() and stat.S_ISSOCK(socket.stat().st_mode) else []
    os.setgroups(groups)
    os.setgid(GID)
    os.setuid(UID)
    os.umask(0o027)
    os.environ["HOME"] = str(folders[0])


def take_descriptors() -> None:
    """Raise the limit of open files as far as everybody may, since many engines begin with 1,024."""
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def let_through(folder: Path) -> None:
    """Let the unprivileged user pass the folders above one that lie in the same volume; they stay their owner's."""
    volume = folder.stat().st_dev
    for above in reversed([above for above in folder.parents if above.stat().st_dev == volume]):
        status = above.stat()
        if not granted(status) & 0o1:
            mend_mode(str(above), None, 0o1, (status.st_uid, status.st_gid))


def granted(status: os.stat_result) -> int:
    """What the unprivileged user may do: the last three bits of a mode."""
    return status.st_mode >> (6 if status.st_uid == UID else 3 if status.st_gid == GID else 0) & 0o7


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
        mode = status.st_mode
        needed = 0o7 if stat.S_ISDIR(mode) else 0o6
        if granted(status) & needed == needed or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return
        if mode >> 6 & needed == needed:
            os.chown(name, UID, GID, dir_fd=within, follow_symlinks=False)
        else:
            mend_mode(name, within, needed << 6, (UID, GID))


def mend_mode(name: str, within: int | None, needed: int, owner: tuple[int, int]) -> None:
    """Add to a mode and set the owner; as root's own, since the container was not given FOWNER."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
    try:
        os.fchown(descriptor, os.getuid(), -1)
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | needed)
    finally:
        os.fchown(descriptor, *owner)
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
