"""The engine's socket: whether this user may use it."""

from collections.abc import Iterable

from config.problems import Problem
from controller.app import privileges
from controller.app.parts import Parts


def check(parts: Parts) -> Iterable[Problem]:
    return privileges.problems()
