"""The disk beneath the store: it has to outlive the container."""

from collections.abc import Iterator
from contextlib import suppress

from config.problems import Problem
from controller.app.parts import Parts
from controller.storage import disk


def check(parts: Parts) -> Iterator[Problem]:
    with suppress(OSError):  # A folder that cannot be reached is told of by another check.
        if problem := disk.passing(parts.loaded.settings.paths.artifacts):
            yield problem
