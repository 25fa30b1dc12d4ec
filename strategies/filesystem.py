"""Folders and files as a tar, read by the target's own tar, or by the engine's archive endpoint where there is none."""

import posixpath
import shlex
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import field_validator

from strategies.base import (
    Archive,
    Argv,
    CommaList,
    Container,
    Dump,
    Exec,
    Facts,
    Options,
    Plan,
    Strategy,
    Unsuitable,
    file_name,
)
from strategies.checks import whole_tar

Tar = Literal["gnu", "other"]
KERNEL = ("/proc", "/sys")

# One line for each path: `there`, `missing`, or `link` and where it leads.
LOOK = """
for path; do
    if [ -L "$path" ]; then echo "link $(readlink -f "$path" | tr '\\n' ' ')"
    elif [ -e "$path" ]; then echo there
    else echo missing; fi
done
"""


class FilesystemOptions(Options):
    """`backup.filesystem.*`."""

    paths: CommaList = ()
    """Absolute paths of folders and files in the target. Default: everything that is mounted into it, without tmpfs."""

    exclude: CommaList = ()
    """Glob patterns of what to leave out, with all below it; `*` stays within one name. A pattern with a leading slash
    is the whole path, any other may begin at each name of a path. Default: nothing."""

    @field_validator("paths")
    @classmethod
    def _sensible(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_absolute(path) for path in paths)


class Filesystem(Strategy[FilesystemOptions]):
    """One tar of all paths, with names relative to `/`, so that it is unpacked there."""

    names = ("filesystem", "files")
    options = FilesystemOptions

    def probes(self, options: FilesystemOptions) -> Mapping[str, Argv]:
        return {
            "tar": ("tar", "--version"),
            "exclude": ("tar", "-c", "-f", "/dev/null", "--exclude=null", "-C", "/dev", "null"),
            "paths": ("sh", "-c", LOOK, "sh", *options.paths),
        }

    def plan(self, container: Container, facts: Facts, options: FilesystemOptions) -> Plan:
        paths = _outermost(options.paths or container.mounts)
        if not paths:
            hint = "Name what to back up: backup.filesystem.paths=/srv/data."
            raise Unsuitable("nothing is mounted into the container, and no paths are named", hint, "no-paths")
        _look(options.paths, facts)
        tar = _which_tar(facts)
        if options.exclude and not facts.answers["exclude"].ok:
            hint = "Use an image with GNU tar, or name the paths so that nothing has to be left out."
            raise Unsuitable("the target has no tar that can exclude files", hint, "no-exclude")
        return _archived(paths, container) if tar is None else _tarred(tar, paths, options.exclude)


def _tarred(tar: Tar, paths: Iterable[str], exclude: Iterable[str]) -> Plan:
    members = [f".{path}" for path in paths]
    patterns = [f"--exclude={'.' if pattern.startswith('/') else ''}{pattern}" for pattern in exclude]
    if tar == "other":
        argv = ("tar", "-c", "-f", "-", "-C", "/", *patterns, *members)
        return Plan((Dump("files.tar", "tar", Exec(argv), "tar -x -p -f - -C /", whole_tar),))
    argv = ("tar", "--create", "--file=-", "--directory=/", *GNU_CREATE, *patterns, *members)
    restore = f"tar --extract --file=- --directory=/ {shlex.join(GNU_EXTRACT)}"
    changed = {1: "files changed or vanished while they were read"}
    return Plan((Dump("files.tar", "tar", Exec(argv), restore, whole_tar, warning_codes=changed),))


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


def _archived(paths: Iterable[str], container: Container) -> Plan:
    """One archive for each path, whose members are named from the path's last part on."""
    dumps = []
    for path in paths:
        if any(_within(path, volatile) for volatile in container.tmpfs):
            hint = "Use an image with tar, or store the data in a volume."
            raise Unsuitable(f"{path} is on tmpfs, which only a tar in the target could read", hint, "tmpfs-path")
        restore = f"docker cp - {shlex.quote(f'{container.name}:{posixpath.dirname(path)}')}"
        dumps.append(Dump(file_name(path.strip("/"), ".tar"), "tar", Archive(path), restore, whole_tar))
    return Plan(tuple(dumps))


def _which_tar(facts: Facts) -> Tar | None:
    answer = facts.answers["tar"]
    if answer.code in (126, 127):
        return None
    return "gnu" if "GNU tar" in answer.stdout else "other"


def _look(paths: tuple[str, ...], facts: Facts) -> None:
    """Refuse a path that is not there, and a symbolic link, of which tar would store only the link."""
    answer = facts.answers["paths"]
    if not answer.ok:
        return
    for path, found in zip(paths, answer.stdout.split("\n"), strict=False):
        if found == "missing":
            hint = "Check backup.filesystem.paths, and what backup.user may see."
            raise Unsuitable(f"{path} is not there", hint, "missing-path")
        if found.startswith("link"):
            hint = f"Name the path that it leads to: {found[5:].strip()}."
            raise Unsuitable(f"{path} is a symbolic link", hint, "symlink-path")


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError("a path is not absolute; it begins with a slash and has no '..'")
    path = "/" + posixpath.normpath(path).lstrip("/")
    if path == "/" or any(_within(path, folder) for folder in KERNEL):
        raise ValueError("the whole container, /proc and /sys cannot be backed up; name the folders with data")
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
