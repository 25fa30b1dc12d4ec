"""Restores files so that what fails leaves everything as it was, byte for byte, whatever moment it fails at.

The run is unpacked into a folder beside the old files, on their own mount, and counted there, while the app goes on
with the old ones. What stays gets a second name among the new. Then the old entries are set aside by rename, and the
new ones take their place; the old ones are deleted last. A folder that is a mount point, or has one below it, stays
itself, and its entries are exchanged.
"""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from strategies.checks import count_tar
from strategies.filesystem_part import Part
from strategies.filesystem_scripts import BACK, COUNT, FINISH, KEEP, LOAD, PARTS, PLACES, ROOM, SWAP
from strategies.filesystem_tar import Tar, create, extract, within
from strategies.plan import Argv, Count, Exec, Feed, RestoreRequest, Run, Step, shell_line


@dataclass(frozen=True, slots=True)
class Swap:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    tar: Tar
    root: str
    """The folder that stands for `/`; empty for `/` itself."""
    paths: Mapping[str, Sequence[str]]
    """By artifact, as the target has them, without `root`."""
    above: Mapping[str, str]
    """By artifact: the path to which its members' names are relative; empty for `/`."""
    mounts: Sequence[str]
    exclude: Sequence[str]

    def steps(self) -> Iterator[Step]:
        """What is done before the comparison: each mount gets what belongs there."""
        for artifact in self.paths:
            mounts = defaultdict[str, list[str]](list)
            for place in self._places(artifact):
                mounts[self._mount(place)].append(place)
            for places in mounts.values():
                rewrite = None if len(mounts) == 1 else self._part(artifact, places)
                yield Feed(artifact, self._load(artifact, places), undo=self._undo, rewrite=rewrite)

    def counts(self) -> dict[str, Count]:
        """Of what was unpacked."""
        tar = f'exec {shell_line(create(self.tar, "/", ()))} "$@"'
        return {artifact: Count(Exec(self._run(COUNT + tar, artifact)), count_tar) for artifact in self.paths}

    def swap(self) -> Iterator[Step]:
        yield Run(self._run(self._like + KEEP + SWAP), undo=self._undo, tells=True)

    def finish(self) -> Iterator[Argv]:
        yield self._run(FINISH)

    def room(self) -> Argv:
        return self._run(ROOM)

    @property
    def _undo(self) -> Argv:
        return self._run(self._like + BACK)

    @property
    def _like(self) -> str:
        """A function that gives one folder the owner, mode, time and whatever else tar knows of another one."""
        pipe = f"{self._tar_in('create', '$1')} --no-recursion . | {self._tar_in('extract', '$2')}"
        return f'like() {{ {{ [ -n "$only" ] || {pipe}; }} && touch -r "$1" "$2"; }} 2>/dev/null\n'

    def _tar_in(self, what: str, folder: str) -> str:
        argv = create(self.tar, "/", ()) if what == "create" else extract(self.tar, "/")
        return f'{shell_line(argv)} -C "{folder}"'

    def _load(self, artifact: str, places: Sequence[str]) -> Argv:
        above = shlex.quote(self.above[artifact])
        unpack = f'mkdir -p "$run"{above} && {self._tar_in("extract", "$run")}{above} || exit'
        return self._run(self._like + LOAD + unpack + PARTS, places=places)

    def _part(self, artifact: str, places: Sequence[str]) -> Part:
        mine, everywhere = (
            frozenset(place.removeprefix(self.root) for place in some) for some in (places, self._places(artifact))
        )
        return Part(self.above[artifact], mine, everywhere)

    def _mount(self, place: str) -> str:
        return max((mount for mount in self.mounts if within(place, mount)), key=len, default="/")

    def _places(self, artifact: str = "") -> list[str]:
        """Every path of an artifact, or of all, and each folder from it down to a mount below; the inner ones first."""
        artifacts = [artifact] if artifact else list(self.paths)
        paths = {self.root + path for artifact in artifacts for path in self.paths[artifact]}
        folders = {
            str(folder)
            for mount in map(PurePosixPath, self.mounts)
            for folder in (mount, *mount.parents)
            for path in paths
            if within(str(folder), path) and within(str(mount), path)
        }
        return sorted(paths | folders, key=lambda place: (-place.count("/"), place))

    def _run(self, text: str, artifact: str = "", *, places: Sequence[str] = ()) -> Argv:
        everywhere, request = self._places(), self.request
        chosen = places or self._places(artifact)
        numbered = (f"{everywhere.index(place)}{place}" for place in chosen)
        lists = ("\n".join(everywhere) + "\n", "yes" if request.mirror else "", "\n".join(self.exclude))
        return ("sh", "-c", PLACES + text, "tar", request.restore or request.run, self.root, *lists, *numbered)
