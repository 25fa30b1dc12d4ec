"""The sidecar's own container: its project and its networks."""

from collections.abc import Iterable

from config.problems import Problem
from controller.app.parts import Parts


def check(parts: Parts) -> Iterable[Problem]:
    scope = parts.scope()
    return scope.problems if scope else ()
