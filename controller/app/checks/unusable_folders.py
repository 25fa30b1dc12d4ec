"""The operator's folders: a disk may become read-only while the sidecar runs."""

from collections.abc import Iterable

from config.problems import Problem
from controller.app import folders
from controller.app.parts import Parts


def check(parts: Parts) -> Iterable[Problem]:
    return folders.problems(parts.loaded)
