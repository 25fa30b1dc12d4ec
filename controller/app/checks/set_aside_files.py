"""The work folder: files that could not be used and were set aside."""

from collections.abc import Iterable

from config.problems import Problem
from controller.app.parts import Parts
from controller.storage import journal


def check(parts: Parts) -> Iterable[Problem]:
    return journal.problems(parts.loaded.settings.paths.workdir)
