"""What lies at a destination, decrypted and handed to the running `serve`: the identity stays in this process."""

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache, partial
from typing import NamedTuple

from config.copies import DestinationSettings
from config.loading import Loaded
from controller.app import startup
from controller.cli.adopt import Wanted
from controller.cli.terminal import Failed, err
from controller.core.copy_errors import NotACopy
from controller.core.key import Key
from controller.storage.copies import kit
from controller.storage.copies.layout import CopiedRun
from controller.storage.copies.reading import Copies, tar_of
from controller.storage.copies.signing import Signer
from controller.storage.copies.then import Then
from controller.storage.destinations import Destination, opened

MOST_KIT_BYTES = 1 << 20


class Offered(NamedTuple):
    """A copy, and what reads it as a tar."""

    run: CopiedRun
    tar: Callable[[], Iterator[bytes]]


def is_destination(name: str) -> bool:
    copies = startup.configuration().settings.copies
    return copies is not None and name in copies.destinations


def taken(name: str, identity: str | None, wanted: Wanted) -> Iterator[tuple[Key, Sequence[Offered]]]:
    """The copies that are wanted, as choices of which the first that is right is enough.

    A target that lies there, and of which nothing can be believed, has no choices. Raises `Failed`, `SidecarError`.
    """
    found, opener = entered(name, identity, wanted.as_of)
    keys = wanted.keys or sorted({key for key in map(key_of, found.names()) if key}, key=str)
    for key in keys:
        for choices in chosen(found, key, wanted):
            yield key, [Offered(run, partial(tar_of, found.destination, run, opener)) for run in choices]


@cache
def given() -> str:
    """The recovery kit, which several steps of one command need, and standard input gives once."""
    return sys.stdin.read(MOST_KIT_BYTES)


def entered(name: str, identity: str | None, as_of: datetime | None = None) -> tuple[Copies, kit.Kit]:
    """What lies at a destination, or lay there at a time, and what opens it; raises `Failed`, `SidecarError`."""
    loaded, settings = startup.configuration(), settings_of(name)
    if identity != "-":
        raise Failed("the copies are encrypted", "Add `--identity -`, and give the recovery kit on standard input.")
    opener = kit.read(given(), *signers(loaded))
    return Copies(place(loaded, name, settings, as_of), opener.verifier), opener


def settings_of(name: str) -> DestinationSettings:
    """Raises `Failed`."""
    copies = startup.configuration().settings.copies
    if copies is None or name not in copies.destinations:
        known = ", ".join(copies.destinations) if copies else "none"
        raise Failed(f"there is no destination {name}", f"`copies.destinations` in config.yaml names {known}.")
    return copies.destinations[name]


def signers(loaded: Loaded) -> list[str]:
    """Public keys that are believed without a kit."""
    written = loaded.settings.copies.signers if loaded.settings.copies else ()
    return [*written, *([Signer(loaded.signing_key).public] if loaded.signing_key else [])]


def place(loaded: Loaded, name: str, settings: DestinationSettings, as_of: datetime | None) -> Destination:
    destination = opened(settings.kind, settings.options(loaded.destination_secrets.get(name, {})))
    return Then(destination, as_of) if as_of else destination


def key_of(name: str) -> Key | None:
    """By the name of a `run.json`."""
    try:
        return Key.parse("/".join(name.split("/")[1:-2]))
    except ValueError:
        return None


def chosen(found: Copies, key: Key, wanted: Wanted) -> Iterator[Sequence[CopiedRun]]:
    """Of one target; safety backups and suspicious runs only where they are asked for, or there is nothing else.

    Where the newest is wanted, those before it are choices, too: a copy that is not whole may not be the end.
    """
    runs = list[CopiedRun]()
    for run in found.runs(key):
        if isinstance(run, NotACopy):
            err.print(f"warning: {run}", style="yellow")
        elif (not wanted.run or run.run == wanted.run) and (wanted.at is None or run.started <= wanted.at):
            runs.append(run)
    if not runs and wanted.keys:
        raise Failed(f"there is no such copy of {key}", "`backup-sidecar copies` shows what is there.")
    if not runs:
        yield ()
        return
    if wanted.all or wanted.run:
        yield from ([run] for run in runs)
        return
    usual = [run for run in runs if run.series in ("scheduled", "by-hand") or run.accepted]
    yield usual or runs
