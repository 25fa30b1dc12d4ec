"""Folders and files as a tar, read by the target's own tar, or by the engine's archive endpoint where there is none."""

import posixpath
import shlex
from collections.abc import Iterable, Mapping

from pydantic import field_validator

from config.fields import CommaList
from strategies import filesystem_restore
from strategies.base import Container, Facts, Options, Strategy, Unsuitable
from strategies.checks import count_tar, whole_tar
from strategies.filesystem_restore import PLACES, TAR_NAME, normal
from strategies.filesystem_tar import Tar, create, extract, which_tar, within
from strategies.plan import (
    Archive,
    Argv,
    Check,
    Count,
    Dump,
    Exec,
    Plan,
    Restore,
    RestoreRequest,
    file_name,
    shell_line,
)

# One line for each path: `there`, `missing`, or `link` and where it leads.
PATH_STATES = """
for path; do
    if [ -L "$path" ]; then echo "link $(readlink -f "$path" | tr '\\n' ' ')"
    elif [ -e "$path" ]; then echo there
    else echo missing; fi
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
        return tuple(map(normal, paths))


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
            "places": ("sh", "-c", PLACES),
        }

    def plan(self, container: Container, facts: Facts, options: FilesystemOptions) -> Plan:
        paths = _outermost(options.paths or container.mounts)
        if not paths:
            hint = "Name what to back up: backup.filesystem.paths=/srv/data."
            raise Unsuitable("nothing is mounted into the container, and no paths are named", hint, "no-paths")
        _demand_paths(options.paths, facts)
        if container.quiesced:
            return _quiesced(paths, container, options)
        tar = which_tar(facts)
        if options.exclude and not facts.answers["exclude"].ok:
            hint = "Use an image with GNU tar, or name the paths so that nothing has to be left out."
            raise Unsuitable("the target has no tar that can exclude files", hint, "no-exclude")
        return _archived(paths, container) if tar is None else _tarred(tar, paths, options.exclude)

    def formats(self) -> Mapping[str, Check]:
        return {"tar": whole_tar}

    def restore(
        self, container: Container, facts: Facts, options: FilesystemOptions, request: RestoreRequest
    ) -> Restore:
        return filesystem_restore.restore(container, facts, options.exclude, request)


def _tarred(tar: Tar, paths: Iterable[str], exclude: Iterable[str]) -> Plan:
    source = Exec(create(tar, "/", [f".{path}" for path in paths], exclude))
    restore, codes, count = shell_line(extract(tar, "/")), {}, Count(source, count_tar)
    if tar == "gnu":
        restore, codes = f"env TAR_OPTIONS= {restore}", {1: "files changed or vanished while they were read"}
    return Plan((Dump(TAR_NAME, "tar", source, restore, whole_tar, codes, subject=shlex.join(paths), count=count),))


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
        if any(within(path, volatile) for volatile in container.tmpfs):
            raise Unsuitable(f"{path} is on tmpfs, which only a tar in the target could read", hint, "tmpfs-path")
        restore = shell_line(("docker", "cp", "-", f"{container.name}:{posixpath.dirname(path)}"))
        source, name = Archive(path), file_name(path.strip("/"), ".tar")
        count = Count(source, count_tar)
        dumps.append(Dump(name, "tar", source, restore, whole_tar, subject=shlex.quote(path), count=count))
    return Plan(tuple(dumps))


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


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Without those that lie in another one, which tar would store twice."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(within(path, other) for other in kept):
            kept.append(path)
    return tuple(kept)
