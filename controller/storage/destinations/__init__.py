"""Places elsewhere that copies of runs go to: one file for each kind, behind one protocol.

A destination only moves bytes. What a copy consists of, when it counts and when it may go is decided above it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from controller.core.copy_errors import DestinationRefused


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it."""

    name: str
    size: int
    """Bytes."""
    modified: datetime
    """By the destination's clock, which need not be ours."""
    version: str = ""
    """What names exactly this content, where the destination keeps versions."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a destination tells of itself; None for what it does not."""

    versions: bool | None = None
    """Whether what is overwritten or deleted stays there, to be read as of before."""
    locked_until: datetime | None = None
    """Until when an object that was put just now is kept."""
    rules_read: bool | None = None
    """Whether its own rules by which objects go could be read."""
    warnings: tuple[str, ...] = ()


class Destination(Protocol):
    """Names are relative, of ASCII, with `/` between their parts.

    Every method raises `DestinationDown` for what may pass, `DestinationRefused` for what a person has to mend, and
    `DestinationFull`; none lists an answer as complete that was cut.
    """

    prefix: str
    """What stands before every name, where it is a part of something larger; empty for a folder."""
    lock: timedelta
    """How long it keeps at least what is put there, whoever wants it gone; zero where it does not."""

    def probe(self) -> None:
        """Whether it answers and lets us in; writes nothing."""
        ...

    def put(self, name: str, content: bytes) -> datetime | None:
        """Write an object whole, in place of an older one; returns when the destination has it durably.

        Gives until when it is kept in any case, or None.
        """
        ...

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        """The bytes of an object, of a version where one is named; raises `UnknownObject`."""
        ...

    def list(self, prefix: str, as_of: datetime | None = None) -> Iterator[StoredObject]:
        """Every object whose name begins so, as it was at a time where one is given, in no order.

        What a `put` left that was cut off is listed under a name of its own.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is fine. Raises `ObjectKept` where it may not go."""
        ...

    def keep(self, name: str) -> datetime | None:
        """Have an object kept as long as one that is put now; until when, or None. Raises `UnknownObject`."""
        ...

    def traits(self, name: str) -> Traits:
        """What it tells of itself, and of an object that was put just now; what it does not let us know is left out."""
        ...

    def close(self) -> None:
        """Let go of what it holds; never raises."""
        ...


def parts_of(name: str) -> list[str]:
    """Of an object's name; raises `DestinationRefused` for one that leads elsewhere."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise DestinationRefused(f"{name[:200]!r} is no name of an object")
    return parts


def opened(kind: str, options: dict[str, Any], store: Path | None = None) -> Destination:
    """The destination of a kind, which is the name of a file of this folder; `store` is what it must not lie beside."""
    destination: Destination = import_module(f"{__name__}.{kind}").opened(options, store)
    return destination
