"""Whether a run that succeeded looks like those before it; pure. One that does not is `suspicious`, and no good run."""

from collections.abc import Iterator, Sequence
from statistics import median

from config.target import Expect
from controller.core.manifest import Artifact, Manifest
from controller.core.run import Report
from controller.storage.codecs import SUFFIX

HISTORY = 5
"""Good runs that a new one is compared with."""
RUNS_COMPARED_AT_LEAST = 3
"""Good runs without which a duration says nothing."""
SHORTEST_TELLING_SECONDS = 10.0
"""Seconds below which a duration says nothing."""
HASTY_SHARE = 0.1
"""Share of the usual duration below which something was left out."""
TELLING_ROWS = 100
"""Rows below which a table says nothing: a queue, open sessions or a list of settings is emptied, moved and dropped in
ordinary work, and a handful of rows more or less is a large share of it."""
TABLES_NAMED = 5
"""Tables that are named, those that lost most first; a schema that is gone may have thousands."""


def reasons(manifest: Manifest, good: Sequence[Report], expect: Expect) -> tuple[str, ...]:
    """What is odd about a run; `good` are its target's last good ones, newest first. Empty without `max-shrink`."""
    if expect.max_shrink is None or not good:
        return ()
    most = expect.max_shrink
    return (*shrunk(manifest, good[0], most), *fewer(manifest, good[0], most), *hasty(manifest, good))


def shrunk(manifest: Manifest, last: Report, most: float) -> Sequence[str]:
    """Dumps are compared before compression, in bytes."""
    size = sum(artifact.plain_size for artifact in manifest.artifacts)
    if not is_below(size, last.bytes, most):
        return ()
    less = f"{1 - size / last.bytes:.0%}"
    return (f"shrunk: {size} bytes are {less} less than the {last.bytes} of run {last.id}, {most:.0%} are allowed",)


def fewer(manifest: Manifest, last: Report, most: float) -> Sequence[str]:
    """What was counted beside each dump: rows of tables, keys, files. What is no longer there has none."""
    before = {plain_name(artifact): artifact for artifact in last.artifacts}
    pairs = [(before[name], now) for now in manifest.artifacts if (name := plain_name(now)) in before]
    lost = sorted((loss for then, now in pairs for loss in losses(then, now, most)), reverse=True)
    named = [f"fewer: {what}, {most:.0%} are allowed since run {last.id}" for _, what in lost[:TABLES_NAMED]]
    return (*named, f"fewer: {len(lost) - TABLES_NAMED} more like these") if len(lost) > TABLES_NAMED else named


def losses(then: Artifact, now: Artifact, most: float) -> Iterator[tuple[int, str]]:
    """How many are lost of what, in words. A dump of which nothing was counted says nothing.

    A number that changed while its dump was made tells only about how many there are, so that half of what is left may
    be missing as well: 75 % where 50 % are allowed.
    """
    for what, number in then.counts.items() if now.counts else ():
        left = now.counts.get(what, 0)
        is_rough = what in then.approximate or what in now.approximate
        allowed = (1 + most) / 2 if is_rough else most
        if number >= TELLING_ROWS and is_below(left, number, allowed):
            yield number - left, f"{what} in {now.name}: {left} of {number}"


def is_below(now: int, then: int, most: float) -> bool:
    """Whether a larger share is gone than may be; rounded, because 1 - 0.7 is a little more than 0.3."""
    return then > 0 and round(1 - now / then, 9) > most


def plain_name(artifact: Artifact) -> str:
    """The dump's name, whatever it was compressed with."""
    return artifact.name.removesuffix(SUFFIX[artifact.compression])


def hasty(manifest: Manifest, good: Sequence[Report]) -> Sequence[str]:
    """By the median, since a single run may have been slow."""
    usual = median(run.seconds or 0.0 for run in good)
    seconds = (manifest.finished - manifest.started).total_seconds()
    if len(good) < RUNS_COMPARED_AT_LEAST or usual < SHORTEST_TELLING_SECONDS or seconds >= usual * HASTY_SHARE:
        return ()
    return (f"hasty: it took {seconds:.1f} s, where {usual:.0f} s are usual",)
