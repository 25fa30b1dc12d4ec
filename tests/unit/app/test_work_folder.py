"""No file in the work folder, whatever it holds, keeps the sidecar from starting or from its work."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.backup.quiesce import Quiescing
from controller.core.key import Key
from controller.engine.client import Engine
from controller.storage import journal
from controller.upkeep.scheduler import Scheduler
from tests.kit.world import World

DB = Key(project="shop", service="db")
ID = "20260301T030000Z-1a2b3c4d"
FILES = (
    *("identity", "schedule.json", "clock.json", "promises.json", "scrub.json", "catalog.sqlite"),
    *("quiesced/c1.json", f"restores/{ID}.json", f"restores/owed/{ID}.json"),
)
BAD = {
    "an empty object": b"{}",
    "another object": b'{"x": 1}',
    "a list": b"[]",
    "null": b"null",
    "no JSON": b"{",
    "nested too deep": b"[" * 10_000,
    "no text": b"\xff\xfe\x00",
    "wrong types": b'{"targets": {"shop/db": 7}, "seen": 7, "written": [], "container": 7, "restore": {}, "id": null}',
    "a key that is none": b'{"targets": {"..": {"rule": "", "decided": "2026-03-01T03:00:00Z"}}}',
    "a folder": None,
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_fact_is_set_aside_and_everything_goes_on(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "work" / name
    if content is None:
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    assert works(tmp_path)

    places = [problem.place for problem in journal.problems(tmp_path / "work")]
    assert len(places) == (0 if says_nothing(name, content) else 1)
    assert all(place.startswith(f"{path}.bad-") for place in places)


def says_nothing(name: str, content: bytes | None) -> bool:
    """Whether it is a fact about no target, or a catalog without tables."""
    if name == "catalog.sqlite":
        return content is not None and len(content) == 1  # SQLite takes one byte for none.
    return name in ("schedule.json", "promises.json") and content in (b"{}", b'{"x": 1}')


def works(folder: Path) -> bool:
    """Start, look at everything that is looked at, and back up."""
    world = World(folder)
    try:
        scheduler = Scheduler(
            world.targets,
            world.start,
            world.jobs.record,
            folder / "work",
            orchestrated=lambda: False,
            clock=lambda: datetime.now(UTC),
        )
        Quiescing(Engine(f"unix://{folder}/no-engine.sock"), folder / "work" / "quiesced").recover()
        world.restores.recover()
        world.drills.recover()
        for look in (scheduler.look, world.pruner.look, world.expectations.look, world.verifier.look):
            look()
        world.restores.look()
        world.situation.status()
        return world.start(DB, "api").future.result(10).stored
    finally:
        world.close()
