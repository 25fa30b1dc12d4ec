"""The containers that were held still for a run and could not be let go."""

from collections.abc import Iterable

from config.problems import Problem
from controller.app.parts import Parts


def check(parts: Parts) -> Iterable[Problem]:
    return parts.quiescing.problems
