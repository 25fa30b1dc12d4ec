"""Whether there is room for a restore where it goes, looked at before its first byte."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from controller.core.errors import CommandFailed, NoRoom
from controller.core.manifest import Artifact
from controller.targets.session import Session
from strategies.plan import Argv, Restore

GROWTH = 1.1
"""Of what the data took at the dump."""

AVAILABLE = re.compile(r"\s\d+\s+\d+\s+(\d{1,15})\s+\d+%\s", re.ASCII)


DROP_FIRST = "Give --drop-first, which drops what is there before it loads; it needs a run that was drilled."


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes."""

    needed: int
    free: int | None
    """None where the place does not say."""
    freed: int = 0
    """By what can be dropped first."""
    drops: bool = False
    """It is."""

    @property
    def warnings(self) -> tuple[str, ...]:
        unknown = f"room-unknown: the container does not tell its free space; {mebibytes(self.needed)} are needed"
        return (unknown,) if self.free is None else ()

    @property
    def lacking(self) -> str:
        """What is wrong, in words; empty for nothing."""
        if self.free is None or self.free + self.drops * self.freed >= self.needed:
            return ""
        beside = "" if self.drops else " beside what is there"
        gain = f" once {mebibytes(self.freed)} are dropped" if self.drops else ""
        return f"{mebibytes(self.needed)} are needed{beside}, and {mebibytes(self.free)} are free{gain}"

    def demand(self, container: str) -> None:
        """Raises `NoRoom`."""
        if self.lacking:
            hint = DROP_FIRST if replace(self, drops=True).lacking == "" else ""
            raise NoRoom(f"there is no room in {container}: {self.lacking}", hint=hint)


def look(session: Session, restore: Restore, artifacts: Iterable[Artifact], *, drops: bool = False) -> Room | None:
    """Ask the place; None where nobody knows. Raises the engine's errors."""
    if restore.room is None:
        return None
    return Room(needed(artifacts, restore), free(session, restore.room), freed(session, restore.frees), drops)


def needed(artifacts: Iterable[Artifact], restore: Restore) -> int:
    sizes = (GROWTH * one.disk if one.disk else restore.growth * one.plain_size for one in artifacts)
    return round(sum(sizes)) + restore.reserve


def free(session: Session, question: Argv) -> int | None:
    """The third number of what `df -Pk` prints (POSIX), in KiB; None where there is no `df`."""
    try:
        match = AVAILABLE.search(session.ask(question, timeout=60))
    except CommandFailed:
        return None
    return int(match[1]) * 1024 if match else None


def freed(session: Session, question: Argv | None) -> int:
    """0 where the place does not say."""
    try:
        return int(session.ask(question, timeout=60)) if question else 0
    except (CommandFailed, ValueError):
        return 0


def mebibytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
