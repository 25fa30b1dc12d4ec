"""Whether there is room for a restore where it goes, looked at before its first byte."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from controller.core.errors import CommandFailed, NoRoom
from controller.core.manifest import Artifact
from controller.targets.session import Session
from strategies.plan import Argv

RESERVE_BYTES = 256 << 20
"""What stays free in any case: logs, and what the app writes meanwhile."""
GROWTH = 1.1
"""Of what the data took at the dump."""
UNKNOWN_GROWTH = 3.0
"""Of the plain dump, where nobody had asked what the data takes."""

AVAILABLE = re.compile(r"\s\d+\s+\d+\s+(\d+)\s+\d+%\s")


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes."""

    needed: int
    free: int | None
    """None where the place does not say."""

    @property
    def warnings(self) -> tuple[str, ...]:
        unknown = f"room-unknown: the container does not tell its free space; {mebibytes(self.needed)} are needed"
        return (unknown,) if self.free is None else ()

    @property
    def lacking(self) -> str:
        """What is wrong, in words; empty for nothing."""
        if self.free is None or self.free >= self.needed:
            return ""
        return f"{mebibytes(self.needed)} are needed there beside what is there, and {mebibytes(self.free)} are free"

    def demand(self, container: str) -> None:
        """Raises `NoRoom`."""
        if self.lacking:
            raise NoRoom(f"there is no room in {container}: {self.lacking}")


def look(session: Session, question: Argv, artifacts: Iterable[Artifact]) -> Room:
    """Ask the place; raises the engine's errors."""
    return Room(needed(artifacts), free(session, question))


def needed(artifacts: Iterable[Artifact]) -> int:
    sizes = (GROWTH * one.disk if one.disk else UNKNOWN_GROWTH * one.plain_size for one in artifacts)
    return round(sum(sizes)) + RESERVE_BYTES


def free(session: Session, question: Argv) -> int | None:
    """The third number of what `df -Pk` prints (POSIX), in KiB; None where there is no `df`."""
    try:
        match = AVAILABLE.search(session.ask(question, timeout=60))
    except CommandFailed:
        return None
    return int(match[1]) * 1024 if match else None


def mebibytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
