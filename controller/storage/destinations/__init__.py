"""Places elsewhere that copies of runs go to: one file for each kind, behind one protocol.

A destination only moves bytes. What a copy consists of, when it counts and when it may go is decided above it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it."""

    name: str
    size: int
    """Bytes."""
    version: str = ""
    """What names exactly this content, where the destination keeps versions."""


class Destination(Protocol):
    """Every method raises `SidecarError`; none lists an answer as complete that was cut."""

    def probe(self) -> None:
        """Whether it answers and lets us in; writes nothing."""
        ...

    def put(self, name: str, content: BinaryIO, size: int) -> None:
        """Write an object once and whole; returns when the destination has it durably."""
        ...

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        """The bytes of an object, of a version where one is named."""
        ...

    def list(self, prefix: str, as_of: datetime | None = None) -> Iterator[StoredObject]:
        """Every object below a prefix, as it was at a time where one is given."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is fine."""
        ...
