"""What to run inside a container: one file for each kind of data, found by being there.

To add one, read `base.py` and `plan.py`, then `postgres.py`, and put a file beside them.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

from strategies import base
from strategies.base import Strategy


@cache
def discover() -> Mapping[str, Strategy[Any]]:
    """All strategies by each of their names, in the order of the files; a name that two of them claim is an error."""
    by_name: dict[str, Strategy[Any]] = {}
    for file in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = import_module(file.name)
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, Strategy) and kind.__module__ == file.name != base.__name__:
                _register(kind(), by_name)
    return MappingProxyType(by_name)


def _register(strategy: Strategy[Any], by_name: dict[str, Strategy[Any]]) -> None:
    for name in strategy.names:
        if (other := by_name.setdefault(name, strategy)) is not strategy:
            raise TypeError(f"{type(other).__name__} and {type(strategy).__name__} are both called {name!r}")
