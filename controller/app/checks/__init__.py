"""What may be wrong with the sidecar itself: one file for each check, found by being there.

To add one, put a file beside these with a function `check`, from the parts to problems. It is asked often and from any
thread, so it waits for nothing.
"""

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from config.problems import Problem

if TYPE_CHECKING:
    from controller.app.parts import Parts

Check = Callable[["Parts"], Iterable[Problem]]


@cache
def discover() -> Mapping[str, Check]:
    """All checks by the names of their files."""
    return {file.name: import_module(f"{__name__}.{file.name}").check for file in pkgutil.iter_modules(__path__)}


def problems(parts: "Parts") -> tuple[Problem, ...]:
    """What the checks find, in the order of their names; never raises."""
    return tuple(problem for name, check in discover().items() for problem in found_by(name, check, parts))


def found_by(name: str, check: Check, parts: "Parts") -> Iterator[Problem]:
    """A check's own defect is a problem like another."""
    try:
        yield from check(parts)
    except Exception as error:  # noqa: BLE001  # The others still have something to say.
        yield Problem("internal-error", f"check {name}", f"{type(error).__name__}: {error}", "Please report it.")
