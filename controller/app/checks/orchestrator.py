"""The orchestrator: it has to come where targets are backed up only when it asks."""

from collections.abc import Iterable

from config.problems import Problem
from controller.app.parts import Parts


def check(parts: Parts) -> Iterable[Problem]:
    return parts.attendance.problems(parts.targets(), parts.loaded.places.of(("orchestrator",)))
