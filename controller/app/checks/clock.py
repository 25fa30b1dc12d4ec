"""The clock: whether it was set while somebody looked."""

from collections.abc import Iterator

from config.problems import Problem
from controller.app.parts import Parts
from controller.core.records import rfc3339


def check(parts: Parts) -> Iterator[Problem]:
    if jump := parts.clock_watch.jump:
        message = f"showed {rfc3339(jump.shown)} when it should have shown {rfc3339(jump.expected)}"
        hint = (
            "Let NTP set it, and look at the runs of that time; for a day nothing is deleted by its age, "
            "and then this goes away."
        )
        yield Problem("clock-jumped", "clock", message, hint)
