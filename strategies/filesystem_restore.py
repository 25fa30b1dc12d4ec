"""Restoring files: into a new folder beside, or in the place of what is there."""

import posixpath
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO, NamedTuple

from config.fields import absolute, invalid
from strategies.base import Container, Facts, Unsuitable
from strategies.checks import count_tar, safe_tar, safe_tar_without_holes
from strategies.filesystem_swap import Swap
from strategies.filesystem_tar import Tar, create, extract, which_tar, within
from strategies.plan import Archive, Argv, Count, Exec, Feed, Put, Restore, RestoreRequest, Run, Step, StoredDump

KERNEL_FOLDERS = ("/proc", "/sys")
TAR_NAME = "files.tar"
"""The one artifact of a target with a tar of its own."""
GROWTH = 1.1
"""What files take on a disk, of what they take in a tar."""
NO_UNDO = "no-undo: without sh and tar in the container a restore that fails leaves what it has put"
OLD_FILES_STAY = "not-compared: what was there before and is not in the backup lies beside it now"
CLIENTS = "who has a file open keeps the old one until it is opened again"
MIRRORED = "mirror: what is there and not in the run goes, but for what backup.filesystem.exclude names"

# One line for each thing that lies at the paths already. An empty folder is no obstacle, one that the user may not look
# into is.
OCCUPIED = """
there() { [ -e "$1" ] || [ -L "$1" ]; }
for path; do
    if [ ! -d "$path" ] || [ ! -r "$path" ] || [ ! -x "$path" ]; then
        ! there "$path" || echo "$path"
        continue
    fi
    number=0
    for entry in "$path"/* "$path"/.[!.]* "$path"/..?*; do
        if there "$entry" && [ "${entry##*/}" != lost+found ]; then echo "$entry" && number=$((number + 1)); fi
        [ "$number" -lt 20 ] || break
    done
done
"""
# Folders that a new one can be made in, the best first, and the id of the user.
PLACES = """
for folder in / /var/tmp /tmp; do [ ! -w "$folder" ] || echo "$folder"; done
id -u 2>/dev/null || :
"""


def restore(container: Container, facts: Facts, exclude: Sequence[str], request: RestoreRequest) -> Restore:
    """The whole of it; raises `Unsuitable`."""
    folder, tar = _destination(container, facts, request), which_tar(facts) if facts.shell else None
    parts = [_part(stored, folder) for stored in request.artifacts]
    if tar and (request.in_place or request.into or request.replace):
        root, mounts = folder.rstrip("/"), (*container.mounts, *container.tmpfs)
        above = {part.name: part.folder.rstrip("/").removeprefix(root) for part in parts}
        paths = {part.name: [path.removeprefix(root) for path in part.paths] for part in parts}
        swapped = _exchanged(Swap(request, tar, root, paths, above, mounts, exclude), parts)
        return replace(swapped, guards=_guards(tar, parts, facts))
    if request.mirror:
        hint = "Remove by hand what has to go, and restore with --in-place."
        raise Unsuitable("without sh and tar in the container nothing can be removed there", hint, "no-mirror")
    return replace(_unpacked(tar, parts, folder, request), guards=_guards(tar, parts, facts))


class _Part(NamedTuple):
    """One artifact on its way back."""

    name: str
    folder: str
    """Where it is unpacked."""
    members: tuple[str, ...]
    """The members that it begins with, as the archive names them."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Where they come to lie."""
        return tuple(posixpath.normpath(posixpath.join(self.folder, member)) for member in self.members)


def _part(stored: StoredDump, folder: str) -> _Part:
    """The target's own tar names members from `/` on, the engine's archive from the last part of the path on."""
    paths = shlex.split(stored.subject)
    if stored.name == TAR_NAME:
        return _Part(stored.name, folder, tuple(f".{path}" for path in paths))
    above, name = posixpath.split(paths[0])
    return _Part(stored.name, posixpath.join(folder, above.lstrip("/")) if above != "/" else folder, (f"./{name}",))


def _destination(container: Container, facts: Facts, request: RestoreRequest) -> str:
    """The folder that is unpacked in; raises `Unsuitable` for a bad `into`, and for a run of an older release."""
    if not all(stored.subject for stored in request.artifacts):
        hint = "Write the dump to a file with --to-file, and follow the line `restore` of its manifest."
        raise Unsuitable("the run does not tell of which paths it is", hint, "no-subject")
    if request.in_place:
        return "/"
    try:
        return normal(request.into or posixpath.join(_beside(container, facts), f"restore-{request.run}"))
    except ValueError as error:
        raise Unsuitable(
            f"cannot restore into {request.into}: {error}", "Name another folder.", "bad-folder"
        ) from error


def _beside(container: Container, facts: Facts) -> str:
    """A folder on a disk in which the user may make one; raises `Unsuitable`."""
    for folder in _places(facts):
        if folder.startswith("/") and not any(within(folder, volatile) for volatile in container.tmpfs):
            return folder
    hint = "Name a folder on a volume with --into, or restore with --in-place."
    raise Unsuitable("nowhere beside the data can the container's user make a folder", hint, "no-place")


def _exchanged(swap: Swap, parts: Sequence[_Part]) -> Restore:
    """In the place of what is there."""
    request, tar, there = swap.request, swap.tar, [path for part in parts for path in part.paths]
    return Restore(
        where=f"the paths {' '.join(there)}" if request.in_place else f"the folder {swap.root}",
        clients=CLIENTS if request.in_place else "",
        occupied=(Exec(("sh", "-c", OCCUPIED, "sh", *there)),),
        steps=tuple(swap.steps()),
        counts=swap.counts(),
        present={part.name: _count(tar, part) for part in parts},
        swap=tuple(swap.swap()),
        finish=tuple(swap.finish()),
        warnings=(MIRRORED,) if request.mirror else (),
        room=swap.room(),
        growth=GROWTH,
    )


def _unpacked(tar: Tar | None, parts: Sequence[_Part], folder: str, request: RestoreRequest) -> Restore:
    """Into a folder of its own, or by the engine, which can neither set anything aside nor remove it."""
    there = tuple(path for part in parts for path in part.paths) if request.in_place else (folder,)
    undo = ("rm", "-rf", folder)
    steps: list[Step] = [] if tar is None else [Run(("mkdir", "-p", folder), undo)]
    for part in parts:
        steps += [Put(part.name, part.folder)] if tar is None else _unpack_steps(tar, part, undo)
    counting = [] if request.replace else [part for part in parts if tar or len(part.members) == 1]
    return Restore(
        where=f"the {'paths' if request.in_place else 'folder'} {' '.join(there)}",
        occupied=tuple(map(Archive, there)) if tar is None else (Exec(("sh", "-c", OCCUPIED, "sh", *there)),),
        steps=tuple(steps),
        counts={part.name: _count(tar, part) for part in counting},
        warnings=((NO_UNDO,) if tar is None else ()) + ((OLD_FILES_STAY,) if request.replace else ()),
        room=None if tar is None else ("df", "-Pk", posixpath.dirname(folder)),
        growth=GROWTH,
    )


def _guards(tar: Tar | None, parts: Sequence[_Part], facts: Facts) -> dict[str, Callable[[BinaryIO], Sequence[str]]]:
    safe = safe_tar_without_holes if tar == "other" else safe_tar
    user = next((int(line) for line in _places(facts) if line.isdigit()), 0) if tar else 0
    return {part.name: partial(safe, owner=user) if user else safe for part in parts}


def _places(facts: Facts) -> list[str]:
    """What `PLACES` has answered; `/` where nobody could ask."""
    answer = facts.answers.get("places")
    return answer.stdout.splitlines() if answer and answer.ok else ["/"]


def _unpack_steps(tar: Tar, part: _Part, undo: Argv) -> Iterable[Step]:
    if part.name != TAR_NAME:
        yield Run(("mkdir", "-p", part.folder), undo)
    yield Feed(part.name, extract(tar, part.folder), undo)


def _count(tar: Tar | None, part: _Part) -> Count:
    """What was restored is read again, as it was for the backup."""
    if tar is None:
        (path,) = part.paths
        return Count(Archive(path), count_tar)
    return Count(Exec(create(tar, part.folder, part.members)), count_tar)


def normal(path: str) -> str:
    """An absolute path without empty parts; raises `ValueError` for one that is not for data."""
    path = "/" + posixpath.normpath(absolute(path)).lstrip("/")
    if path == "/" or any(within(path, folder) for folder in KERNEL_FOLDERS):
        raise invalid("is the whole container, or lies under /proc or /sys", "Name the folders with data.")
    return path
