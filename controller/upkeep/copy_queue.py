"""Decides which run is copied next; pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from controller.core.copy import Copy
from controller.core.run import Report

AGAIN = timedelta(hours=1)
"""After that a run is tried again that is wrong in itself."""


def queue(targets: Iterable[Sequence[Report]], copies: Mapping[str, Copy], now: datetime) -> list[Report]:
    """The runs that a destination lacks, in their order; `copies` are those there, by run.

    `targets` has the stored runs of each target, the newest first. What was begun is finished first, or a run that
    takes longer than a night would never arrive. Then comes the newest good run of each target, then the second newest
    of each, so that the history of one keeps no other waiting; then what is suspicious.
    """
    ranked: list[tuple[tuple[bool, bool, int, str], Report]] = []
    for runs in targets:
        rank = 0
        for run in runs:
            copy = copies.get(run.id)
            if not run.stored or run.damaged or run.is_future(now) or (copy and is_done(copy, now)):
                rank += run.good
                continue
            begun = copy is not None and copy.state == "running"
            ranked.append(((not begun, not run.good, rank, run.id), run))
            rank += run.good
    return [run for _, run in sorted(ranked, key=lambda each: each[0])]


def is_done(copy: Copy, now: datetime) -> bool:
    """Whether there is nothing to do for a run at the moment."""
    if copy.state == "failed":
        return copy.finished is not None and now - copy.finished < AGAIN
    return copy.state in ("read-back", "gone")
