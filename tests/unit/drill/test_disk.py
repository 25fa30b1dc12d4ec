"""How much a drill may write, and how much it leaves free on the engine's disk."""

from types import SimpleNamespace
from typing import Any

import pytest

from controller.core.errors import EngineLost
from controller.drill.disk import DiskWatch, allowance

MEBIBYTE = 1 << 20


class Writing:
    """An engine whose container has written so much into its layer, and as `du` says into its volumes."""

    def __init__(self, layer: int, told: str | None = None) -> None:
        self.layer, self.told, self.removed = layer, told, list[str]()

    def written(self, container: str) -> int:
        return self.layer

    def inspect(self, container: str) -> Any:
        mounts = [SimpleNamespace(kind="volume", path="/data"), SimpleNamespace(kind="tmpfs", path="/run")]
        return SimpleNamespace(mounts=mounts if self.told is not None else [])

    def ask(self, context: object, argv: tuple[str, ...], timeout: float) -> Any:
        assert argv[-2:] == ("--", "/data")
        return SimpleNamespace(stdout=self.told)

    def remove_own_container(self, container: str) -> None:
        self.removed.append(container)


def looked(engine: Any, *, free: list[int]) -> DiskWatch:
    """After one look, where so much was free at the start and then."""
    watch = DiskWatch(engine, "c", 100 * MEBIBYTE, lambda: free.pop(0))
    assert watch.look() >= 1
    return watch


@pytest.mark.parametrize(
    ("layer", "told", "is_excess"),
    [
        (100 * MEBIBYTE, None, False),
        (100 * MEBIBYTE + 1, None, True),
        (60 * MEBIBYTE, "40000\t/data\n", False),
        (60 * MEBIBYTE, "41000\t/data\n", True),
        (1, "du: not found", False),
        (1, "9999999\nx\t/data\n", False),
    ],
)
def test_what_is_written_into_layer_and_volumes_counts_together(layer: int, told: str | None, is_excess: bool) -> None:
    engine = Writing(layer, told)
    watch = looked(engine, free=[1 << 40, 1 << 40])
    assert (watch.excess is not None, bool(engine.removed)) == (is_excess, is_excess)
    assert watch.excess is None or watch.excess.code == "disk-limit"


@pytest.mark.parametrize(
    ("free", "is_excess"),
    [([4096, 1024], False), ([4096, 1023], True), ([1000, 501], False), ([1000, 499], True)],
    ids=["a gibibyte", "less", "half of little", "less than half"],
)
def test_it_leaves_a_gibibyte_or_half_of_what_was_free(free: list[int], is_excess: bool) -> None:
    engine = Writing(0)
    watch = looked(engine, free=[mebibytes * MEBIBYTE for mebibytes in free])
    assert (watch.excess is not None, bool(engine.removed)) == (is_excess, is_excess)
    assert watch.excess is None or watch.excess.code == "disk-full"


def test_an_engine_that_cannot_be_asked_ends_no_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(container: str) -> int:
        raise EngineLost("gone")

    engine = Writing(1 << 40)
    monkeypatch.setattr(engine, "written", lost)
    assert looked(engine, free=[1 << 40, 1 << 40]).excess is None


def test_three_times_of_what_is_larger_dump_or_data_is_allowed() -> None:
    artifacts = [SimpleNamespace(plain_size=10, disk=0), SimpleNamespace(plain_size=10, disk=30)]
    assert allowance(SimpleNamespace(artifacts=artifacts), 7) == 3 * (10 + 30) + 7  # type: ignore[arg-type]
