"""What the contract suite needs to know of a strategy: a target where it works, one where it does not, real streams."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strategies.base import Answer, Container, Facts

FOLDER = Path(__file__).parent / "samples"
NOT_FOUND = Answer(127, "", "sh: tool: not found")


@dataclass(frozen=True)
class Stream:
    """A whole stream as a real tool wrote it."""

    whole: bytes
    needed: int
    """Bytes without which it is not whole; what follows only fills up the last record."""
    witnesses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """`streams` by the format of the dump that they could be of."""

    container: Container
    options: Mapping[str, object]
    facts: Facts
    unsuitable: Facts | None
    """A target that lacks what the strategy needs; None where nothing is needed."""
    streams: Mapping[str, tuple[Stream, ...]] = field(default_factory=dict)


def target(**changes: object) -> Container:
    values: dict[str, object] = {
        "id": "1f",
        "name": "shop-db-1",
        "image": "shop:1",
        "mounts": ("/data", "/etc/shop.conf"),
    }
    return Container(**(values | changes))  # type: ignore[arg-type]
