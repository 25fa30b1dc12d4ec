"""Folders and files as a tar, read by the target's own tar, or by the engine's archive endpoint where there is none."""

import posixpath
import shlex
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from pydantic import field_validator

from config.fields import CommaList, absolute, invalid
from strategies.base import Container, Facts, Options, Strategy, Unsuitable
from strategies.checks import count_tar, safe_tar, safe_tar_without_holes, whole_tar
from strategies.plan import (
    Archive,
    Argv,
    Check,
    Count,
    Dump,
    Exec,
    Feed,
    Plan,
    Put,
    Restore,
    RestoreRequest,
    Run,
    Step,
    StoredDump,
    file_name,
)

Tar = Literal["gnu", "other"]
KERNEL_FOLDERS = ("/proc", "/sys")
NO_UNDO = "no-undo: without tar in the container a restore that fails leaves what it has put"
OLD_FILES_STAY = "not-compared: what was there before and is not in the backup lies beside it now"
TAR_NAME = "files.tar"
"""The one artifact of a target with a tar of its own."""

# One line for each path: `there`, `missing`, or `link` and where it leads.
PATH_STATES = """
for path; do
    if [ -L "$path" ]; then echo "link $(readlink -f "$path" | tr '\\n' ' ')"
    elif [ -e "$path" ]; then echo there
    else echo missing; fi
done
"""

# One line for each thing that lies at the paths already; an empty folder is no obstacle.
OCCUPIED = """
for path; do
    if [ -d "$path" ]; then ls -A "$path" | head -n 20 | while IFS= read -r name; do echo "$path/$name"; done
    elif [ -e "$path" ] || [ -L "$path" ]; then echo "$path"; fi
done
"""


class FilesystemOptions(Options):
    """`backup.filesystem.*`."""

    paths: CommaList = ()
    """Absolute paths of folders and files in the target. Default: everything mounted into it, except tmpfs."""

    exclude: CommaList = ()
    """Glob patterns of files and folders to leave out. `*` matches within one name. A pattern with a leading slash
    matches the whole path; any other matches at any depth. Default: nothing."""

    @field_validator("paths")
    @classmethod
    def _normal(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_normal, paths))


class Filesystem(Strategy[FilesystemOptions]):
    """One tar of all paths, with names relative to `/`, so that it is unpacked there."""

    names = ("filesystem", "files")
    options = FilesystemOptions
    into_folders = True
    reads_paused = True
    serves = False

    def probes(self, options: FilesystemOptions) -> Mapping[str, Argv]:
        return {
            "tar": ("tar", "--version"),
            "exclude": ("tar", "-c", "-f", "/dev/null", "--exclude=null", "-C", "/dev", "null"),
            "paths": ("sh", "-c", PATH_STATES, "sh", *options.paths),
        }

    def plan(self, container: Container, facts: Facts, options: FilesystemOptions) -> Plan:
        paths = _outermost(options.paths or container.mounts)
        if not paths:
            hint = "Name what to back up: backup.filesystem.paths=/srv/data."
            raise Unsuitable("nothing is mounted into the container, and no paths are named", hint, "no-paths")
        _demand_paths(options.paths, facts)
        if container.quiesced:
            return _quiesced(paths, container, options)
        tar = _which_tar(facts)
        if options.exclude and not facts.answers["exclude"].ok:
            hint = "Use an image with GNU tar, or name the paths so that nothing has to be left out."
            raise Unsuitable("the target has no tar that can exclude files", hint, "no-exclude")
        return _archived(paths, container) if tar is None else _tarred(tar, paths, options.exclude)

    def formats(self) -> Mapping[str, Check]:
        return {"tar": whole_tar}

    def restore(
        self, container: Container, facts: Facts, options: FilesystemOptions, request: RestoreRequest
    ) -> Restore:
        folder, tar = _destination(request), _which_tar(facts)
        parts = [_part(stored, folder) for stored in request.artifacts]
        there = tuple(path for part in parts for path in part.paths) if request.in_place else (folder,)
        # Unless something may have been there before, a folder goes again when the restore fails.
        undo = None if request.replace or request.in_place else ("rm", "-rf", folder)
        steps: list[Step] = [] if tar is None or request.in_place else [Run(("mkdir", "-p", folder), undo)]
        for part in parts:
            steps += [Put(part.name, part.folder)] if tar is None else _unpack_steps(tar, part, undo)
        counting = [] if request.replace else [part for part in parts if tar or len(part.members) == 1]
        return Restore(
            where=f"the {'paths' if request.in_place else 'folder'} {' '.join(there)}",
            guards={part.name: safe_tar_without_holes if tar == "other" else safe_tar for part in parts},
            occupied=tuple(map(Archive, there)) if tar is None else (Exec(("sh", "-c", OCCUPIED, "sh", *there)),),
            steps=tuple(steps),
            counts={part.name: _count(tar, part) for part in counting},
            warnings=((NO_UNDO,) if tar is None else ()) + ((OLD_FILES_STAY,) if request.replace else ()),
        )


def _tarred(tar: Tar, paths: Iterable[str], exclude: Iterable[str]) -> Plan:
    source = Exec(_create(tar, "/", [f".{path}" for path in paths], exclude))
    restore, codes, count = shlex.join(_extract(tar, "/")), {}, Count(source, count_tar)
    if tar == "gnu":
        restore, codes = f"env TAR_OPTIONS= {restore}", {1: "files changed or vanished while they were read"}
    return Plan((Dump(TAR_NAME, "tar", source, restore, whole_tar, codes, subject=shlex.join(paths), count=count),))


def _create(tar: Tar, folder: str, names: Iterable[str], exclude: Iterable[str]) -> Argv:
    """Names and patterns are relative to the folder, which is written into the archive nowhere."""
    patterns = [f"--exclude={'.' if pattern.startswith('/') else ''}{pattern}" for pattern in exclude]
    if tar == "other":
        return ("tar", "-c", "-f", "-", "-C", folder, *patterns, *names)
    return ("tar", "--create", "--file=-", f"--directory={folder}", *GNU_CREATE, *patterns, *names)


def _extract(tar: Tar, folder: str) -> Argv:
    if tar == "other":
        return ("tar", "-x", "-p", "-f", "-", "-C", folder)
    return ("tar", "--extract", "--file=-", f"--directory={folder}", *GNU_EXTRACT)


GNU_CREATE = (
    "--format=posix",
    "--pax-option=delete=atime,delete=ctime",
    "--numeric-owner",
    "--acls",
    "--xattrs",
    "--sparse",
    "--wildcards",
    "--no-wildcards-match-slash",
)
"""pax headers, for times below a second and names of any length, without the two times that no restore can set."""

GNU_EXTRACT = ("--preserve-permissions", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*")


def _quiesced(paths: Iterable[str], container: Container, options: FilesystemOptions) -> Plan:
    """Nothing can be run in a container that is paused or stopped; refuse what only a tar in it could do."""
    if options.exclude:
        hint = "Remove backup.quiesce, or name the paths so that nothing has to be left out."
        raise Unsuitable("backup.quiesce reads whole paths, and cannot exclude files", hint, "no-exclude")
    return _archived(paths, container, "Remove backup.quiesce, or store the data in a volume.")


def _archived(
    paths: Iterable[str], container: Container, hint: str = "Use an image with tar, or store the data in a volume."
) -> Plan:
    """One archive for each path, whose members are named from the path's last part on."""
    dumps = []
    for path in paths:
        if any(_within(path, volatile) for volatile in container.tmpfs):
            raise Unsuitable(f"{path} is on tmpfs, which only a tar in the target could read", hint, "tmpfs-path")
        restore = f"docker cp - {shlex.quote(f'{container.name}:{posixpath.dirname(path)}')}"
        source, name = Archive(path), file_name(path.strip("/"), ".tar")
        count = Count(source, count_tar)
        dumps.append(Dump(name, "tar", source, restore, whole_tar, subject=shlex.quote(path), count=count))
    return Plan(tuple(dumps))


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


def _destination(request: RestoreRequest) -> str:
    """The folder that is unpacked in; raises `Unsuitable` for a bad `into`, and for a run of an older release."""
    if not all(stored.subject for stored in request.artifacts):
        hint = "Write the dump to a file with --to-file, and follow the line `restore` of its manifest."
        raise Unsuitable("the run does not tell of which paths it is", hint, "no-subject")
    if request.in_place:
        return "/"
    try:
        return _normal(request.into or f"/restore-{request.run}")
    except ValueError as error:
        raise Unsuitable(
            f"cannot restore into {request.into}: {error}", "Name another folder.", "bad-folder"
        ) from error


def _unpack_steps(tar: Tar, part: _Part, undo: Argv | None) -> Iterable[Step]:
    if part.name != TAR_NAME:
        yield Run(("mkdir", "-p", part.folder), undo)
    yield Feed(part.name, _extract(tar, part.folder), undo)


def _count(tar: Tar | None, part: _Part) -> Count:
    """What was restored is read again, as it was for the backup."""
    if tar is None:
        (path,) = part.paths
        return Count(Archive(path), count_tar)
    return Count(Exec(_create(tar, part.folder, part.members, ())), count_tar)


def _which_tar(facts: Facts) -> Tar | None:
    answer = facts.answers["tar"]
    if answer.code in (126, 127):
        return None
    return "gnu" if "GNU tar" in answer.stdout else "other"


def _demand_paths(paths: tuple[str, ...], facts: Facts) -> None:
    """Refuse a path that is not there, and a symbolic link, of which tar would store only the link."""
    answer = facts.answers["paths"]
    if not answer.ok:
        return
    for path, state in zip(paths, answer.stdout.split("\n"), strict=False):
        if state == "missing":
            hint = "Check backup.filesystem.paths, and what backup.user may see."
            raise Unsuitable(f"{path} is not there", hint, "missing-path")
        if state.startswith("link"):
            hint = f"Name the path that it leads to: {state[5:].strip()}."
            raise Unsuitable(f"{path} is a symbolic link", hint, "symlink-path")


def _normal(path: str) -> str:
    path = "/" + posixpath.normpath(absolute(path)).lstrip("/")
    if path == "/" or any(_within(path, folder) for folder in KERNEL_FOLDERS):
        raise invalid("is the whole container, or lies under /proc or /sys", "Name the folders with data.")
    return path


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Without those that lie in another one, which tar would store twice."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(_within(path, other) for other in kept):
            kept.append(path)
    return tuple(kept)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
