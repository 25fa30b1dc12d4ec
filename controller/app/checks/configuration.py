"""The operator's words: those that hold, and those that were refused."""

from collections.abc import Iterable

from config.problems import Problem
from controller.app.parts import Parts


def check(parts: Parts) -> Iterable[Problem]:
    return parts.reloader.problems
