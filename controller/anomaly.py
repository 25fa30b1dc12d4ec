"""Whether a run that succeeded looks like those before it; pure. One that does not is `suspicious`, and no good run."""

from collections.abc import Sequence
from statistics import median

from config.target import Expect
from controller.report import Manifest, Report

HISTORY = 5
"""Good runs that a new one is compared with."""
ENOUGH = 3
"""Good runs without which a duration says nothing."""
BRISK = 10.0
"""Seconds below which a duration says nothing."""
SUDDEN = 0.1
"""Share of the usual duration below which something was left out."""


def reasons(manifest: Manifest, good: Sequence[Report], expect: Expect) -> tuple[str, ...]:
    """What is odd about a run; `good` are its target's last good ones, newest first. Empty without `max-shrink`."""
    if expect.max_shrink is None or not good:
        return ()
    return (*shrunk(manifest, good[0], expect.max_shrink), *hasty(manifest, good))


def shrunk(manifest: Manifest, last: Report, most: float) -> Sequence[str]:
    """Dumps are compared before compression, in bytes."""
    size = sum(artifact.plain_size for artifact in manifest.artifacts)
    if last.bytes <= 0 or 1 - size / last.bytes <= most:
        return ()
    less = f"{1 - size / last.bytes:.0%}"
    return (f"shrunk: {size} bytes are {less} less than the {last.bytes} of run {last.id}, {most:.0%} are allowed",)


def hasty(manifest: Manifest, good: Sequence[Report]) -> Sequence[str]:
    """By the median, since a single run may have been slow."""
    usual = median(run.seconds or 0.0 for run in good)
    seconds = (manifest.finished - manifest.started).total_seconds()
    if len(good) < ENOUGH or usual < BRISK or seconds >= usual * SUDDEN:
        return ()
    return (f"hasty: it took {seconds:.1f} s, where {usual:.0f} s are usual",)
