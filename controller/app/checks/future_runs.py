"""The runs of the future: a clock was wrong when they were made, or is wrong now."""

from collections import defaultdict
from collections.abc import Iterator

from config.problems import Problem
from controller.app.parts import Parts
from controller.core.records import rfc3339


def check(parts: Parts) -> Iterator[Problem]:
    """One for each target, since a clock that is behind makes all of its runs such ones."""
    future = defaultdict(list)
    for run in parts.catalog.future():
        future[str(run.target)].append(run)
    for key, runs in future.items():
        more = f", and {len(runs) - 1} more" if len(runs) > 1 else ""
        message = f"run {runs[0].id} is of {rfc3339(runs[0].time)}, which is to come{more}: it counts as no backup"
        hint = f"Set the clock if it is behind; else delete the run: `backup-sidecar delete {runs[0].id}`."
        yield Problem("future-run", f"target {key}", message, hint)
