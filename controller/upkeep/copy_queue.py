"""Decides which run is copied next; pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from controller.core.copy import Copy
from controller.core.run import SAFETY, Report

AGAIN = timedelta(hours=1)
"""After that a run is tried again that is wrong in itself."""


def queue(targets: Iterable[Sequence[Report]], copies: Mapping[str, Copy], now: datetime) -> list[Report]:
    """The runs that a destination lacks, in their order; `copies` are those there, by run.

    `targets` has the stored runs of each target, the newest first. What was begun is finished first, or a run that
    takes longer than a night would never arrive. Then comes the newest good run of each target, then the second newest
    of each, so that the history of one keeps no other waiting; then what is suspicious. A safety backup, of what a
    restore has replaced, comes behind the newest good run.
    """
    ranked: list[tuple[tuple[bool, bool, int, str], Report]] = []
    for runs in targets:
        rank = 0
        for run in runs:
            copy = copies.get(run.id)
            if not run.stored or run.damaged or run.is_future(now) or (copy and is_done(copy, now)):
                rank += run.good and run.trigger != SAFETY
                continue
            begun = copy is not None and copy.state == "running"
            is_safety = run.trigger == SAFETY
            ranked.append(((not begun, not run.good, max(rank, is_safety), run.id), run))
            rank += run.good and not is_safety
    return [run for _, run in sorted(ranked, key=lambda each: each[0])]


def is_done(copy: Copy, now: datetime) -> bool:
    """Whether there is nothing to do for a run at the moment."""
    if copy.state == "failed":
        return copy.finished is not None and timedelta(0) <= now - copy.finished < AGAIN
    return copy.state in ("read-back", "gone")
