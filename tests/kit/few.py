"""What is tested by each of several kinds: by a few in the normal tests, by all of them in `make faults`."""

from collections.abc import Iterable
from typing import Any

import pytest


def few(kinds: Iterable[Any], *chosen: Any) -> list[Any]:
    """Parameters, of which those that are not chosen are `slow`."""
    kinds = list(kinds)
    assert set(chosen) <= set(kinds), "what is chosen is none of them"
    return [pytest.param(kind, marks=() if kind in chosen else pytest.mark.slow) for kind in kinds]
