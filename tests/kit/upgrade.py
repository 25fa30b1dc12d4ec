"""The volume of a sidecar of release 0.1.0 that was killed: see tests/fixtures/volume-0.1.0/README.md."""

import json
from pathlib import Path
from typing import Any

VOLUME = Path(__file__).parents[1] / "fixtures" / "volume-0.1.0"
PROJECT = "upgrade-0-1"
TOLD: dict[str, list[dict[str, Any]]] = json.loads((VOLUME / "told.json").read_text())
"""What its API told of runs, restores and drills just before, newest first."""


def is_within(old: Any, new: Any) -> bool:
    """Whether everything that was told before is still told; more may be told beside it."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(name in new and is_within(value, new[name]) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_within, old, new))
    return bool(old == new)
