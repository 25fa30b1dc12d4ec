"""Destinations of copies that refuse, are full, foreign or lie, and keys that were never tried.

A destination that is only away is told by the copies' age.
"""

from collections.abc import Iterator

from config.problems import Problem, Severity
from controller.app.copying import Copying


def check(parts: Copying) -> Iterator[Problem]:
    for name, failure in parts.copier.failures().items():
        place = parts.loaded.places.of(("copies", "destinations", name))
        severity: Severity = "warning" if failure.transient else "error"
        yield Problem(failure.code, place, failure.message, failure.hint, severity)
    if (copies := parts.loaded.settings.copies) and copies.destinations:
        yield from parts.copier.tried.problems(copies)
