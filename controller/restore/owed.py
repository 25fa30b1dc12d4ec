"""What restores have done and could not undo, since the sidecar died or the container did: made good once it can be.

A fact in the journal, `<folder>/<restore>.json`, is written before each step
of a restore and holds the commands that would make good everything begun by then; it goes away with the last of them.
Until then the targets in that container are not backed up, so that nobody takes half a database for a whole one.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from controller.core.errors import EngineError, SidecarError, TargetDied, TargetGone, TargetPaused
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.records import Record
from controller.core.restoration import Restoration
from controller.restore.apply import NOT_CLEARED, NOT_UNDONE, is_settled, told_by
from controller.storage import files, journal
from controller.targets.session import Session

GIVE_UP_SECONDS = 3600.0
"""Seconds after which a container that runs, but refuses, is given up."""
UNREACHABLE = (EngineError, TargetDied, TargetGone, TargetPaused)
"""What says that nothing can be run there now, for however long."""
PROVISIONAL = (NOT_UNDONE, "left-running: ", "to-be-undone: ")
"""How warnings begin that hold no longer once everything was looked at again."""
TROUBLE = (NOT_UNDONE, NOT_CLEARED, "left-running: ")
"""How warnings begin of what is not as it was."""
TO_BE_UNDONE = "to-be-undone: what could not be done just now is tried again as long as the container is there"


class OwedUndo(Record):
    """What one restore owes the container that it went into, as a fact."""

    restore: str
    target: Key
    """Whose run it was."""
    to: str = ""
    """The container as it was asked for; empty for the target's own."""
    strategy: str
    container: str
    """Id."""
    keys: tuple[Key, ...]
    """The targets that are kept from being backed up."""
    commands: tuple[tuple[str, ...], ...] = ()
    """In their order; each may have been run before."""
    settled: tuple[str, ...] = ()
    """A question: where the answer is `yes` nothing is undone, but `finish` clears up; see `Restore.settled`."""
    finish: tuple[tuple[str, ...], ...] = ()
    kept: tuple[str, ...] = ()
    """Of the first release: steps that nothing undoes."""
    leaves: tuple[str, ...] = ()
    """What was begun and nothing undoes, in words."""
    whole: bool = False
    """All was restored and compared; the commands clear up."""

    @property
    def staying(self) -> tuple[str, ...]:
        """What nothing undoes, as a report tells it."""
        old = (f"what {step} has done stays" for step in self.kept)
        return tuple(f"{NOT_UNDONE}{what}" for what in (*old, *self.leaves))


class OwedUndos:
    """Every fact in the folder."""

    def __init__(self, again: Callable[[OwedUndo], Session | None], folder: Path) -> None:
        """`again` gives the place of a restore, asked anew; see `RestorePlanner.again`."""
        self._again, self._folder = again, folder
        self._refused: dict[str, float] = {}
        """By restore: when its container refused first, of `time.monotonic()`."""

    def all(self) -> list[OwedUndo]:
        """Oldest first."""
        return list(journal.facts(self._folder, OwedUndo, "restore"))

    def of(self, restore: str) -> OwedUndo | None:
        return next((owed for owed in self.all() if owed.restore == restore), None)

    def owe(self, owed: OwedUndo) -> None:
        """Durable when it returns; raises `StoreError`."""
        journal.write(self._path(owed.restore), owed)

    def settle(self, restore: str) -> None:
        """Nothing is owed any more; raises `StoreError`."""
        files.remove(self._path(restore))
        self._refused.pop(restore, None)

    def make_good(self, owed: OwedUndo) -> tuple[OwedUndo, tuple[str, ...]] | None:
        """End what the restore left running, and run the commands. None for not yet; else what was owed, as the place
        itself tells it, and what remains to be said.
        """
        try:
            session = self._again(owed)
            if session is None:
                return owed, (f"{NOT_UNDONE}the container was removed, or another one has its place",)
            left, told = session.end(), list[str]()
            if not owed.whole and is_settled(session, owed.settled or None):
                owed = owed.model_copy(update={"whole": True, "commands": owed.finish})
            for command in owed.commands:
                told += told_by(session.ask(command))
        except UNREACHABLE:
            return None
        except SidecarError as error:
            since = self._refused.setdefault(owed.restore, time.monotonic())
            if owed.whole:  # What does not go away keeps nobody from being backed up.
                return owed, (f"{NOT_CLEARED}{error.message}",)
            given_up = time.monotonic() - since > GIVE_UP_SECONDS
            return (owed, (f"{NOT_UNDONE}{error.message}",)) if given_up else None
        return owed, (*left, *told)

    def _path(self, restore: str) -> Path:
        return self._folder / f"{restore}.json"


def interrupted(report: Restoration, owed: OwedUndo | None) -> Restoration:
    """What is told of a restore whose sidecar died, before anything is made good; nothing is owed before its first step
    was begun.
    """
    detail, hint = "", "Wait until what it had done is undone, or cleared up."
    if owed is None:
        detail, hint = "nothing had been changed", "Restore again."
    failed = Failure.interrupted(detail, hint, transient=False)
    changes = {"state": "interrupted", "finished": datetime.now(UTC), "step": "", "undone": owed is None}
    return report.model_copy(update=changes | {"failure": failed})


def way_back(report: Restoration) -> str:
    """How what was there before comes back; empty where nothing was backed up."""
    if not report.safety:
        return ""
    command = f"backup-sidecar restore {report.saved} --run {report.safety} --replace"
    return f"What was there before is in run {report.safety}: `{command}` brings it back."


def made_good(report: Restoration, owed: OwedUndo, left: tuple[str, ...]) -> Restoration:
    """The report once nothing more is done; `left` is what remains to be said of the attempt."""
    before = tuple(warning for warning in report.warnings if not warning.startswith(PROVISIONAL))
    changes: dict[str, object] = {"warnings": tuple(dict.fromkeys((*before, *owed.staying, *left)))}
    undone = not (owed.whole or owed.staying or any(line.startswith(TROUBLE) for line in left))
    if report.failure and (owed.whole or report.failure.code == "interrupted"):
        message, hint = report.failure.message, "Restore again."
        if owed.whole:
            message, hint = f"{message}, when everything had been restored and compared", "Nothing is to be done."
        elif not undone:
            hint = way_back(report) or f"Look at {report.container}, then restore again with --replace."
        changes["failure"] = report.failure.model_copy(update={"message": message, "hint": hint})
    return report.model_copy(update=changes | {"undone": undone})
