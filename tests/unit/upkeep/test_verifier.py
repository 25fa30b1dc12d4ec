"""What was stored is read again: damage is found, told with both digests, and healed when the bytes are back."""

import hashlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from loguru import logger

from config.settings import Verify
from controller.core.errors import StoreError, UnknownRun
from controller.core.key import Key
from controller.core.run import Report
from controller.upkeep.verifier import Verifier
from tests.kit.world import World, client, is_problem, serving

KEY = Key(project="shop", service="db")
PLAIN = {"rows.sql": b"all rows of the shop" * 5000}


class Kept(World):
    """A world with stored runs and a scrub that may read one run's bytes a day."""

    def __init__(self, folder: Path, runs: int = 1) -> None:
        super().__init__(folder)
        self.content = PLAIN
        self.now, self.interrupted = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30), 0
        self.runs = [self.start(KEY, "api").future.result(timeout=20) for _ in range(runs)]
        self.size = self.runs[0].size or 0
        self.policy = Verify.model_construct(budget=self.size, every=timedelta(days=7))
        self.restart()

    def restart(self) -> None:
        self.verifier = Verifier(
            self.store,
            self.catalog,
            self.leases,
            self.folder / "work",
            settings=lambda: self.policy,
            give_way=self.give_way,
            clock=lambda: self.now,
        )

    def give_way(self) -> None:
        self.interrupted += 1

    def rot(self, report: Report) -> None:
        """Flip one bit in the middle."""
        path = self.artifact(report.id, "rows.sql")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    def restore(self, report: Report) -> None:
        self.artifact(report.id, "rows.sql").write_bytes(PLAIN["rows.sql"])

    def report(self, number: int = 0) -> Report:
        return self.catalog.get(self.runs[number].id)


@pytest.fixture
def world(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lines.append, format="{level} {message}", level=logging.WARNING)
    yield lines
    logger.remove(handler)


def test_a_flipped_bit_makes_the_run_damaged_with_both_digests(world: Kept, log: list[str]) -> None:
    world.rot(world.runs[0])
    found = hashlib.sha256(world.artifact(world.runs[0].id, "rows.sql").read_bytes()).hexdigest()

    report = world.verifier.verify(world.report())

    assert found in report.damaged
    assert world.runs[0].artifacts[0].sha256 in report.damaged
    assert report == world.report()
    assert world.catalog.last_good(KEY) is None
    assert [one.id for one in world.situation.status().damaged] == [report.id]
    assert any("ERROR" in line and found in line for line in log)


def test_a_run_whose_bytes_are_right_again_is_healed(world: Kept, log: list[str]) -> None:
    world.rot(world.runs[0])
    world.verifier.verify(world.report())
    world.restore(world.runs[0])

    report = world.verifier.verify(world.report())

    assert (report.damaged, report.verified) == ("", world.now)
    assert world.catalog.last_good(KEY) == world.report()
    assert not (world.store.folder(KEY, report.id) / "marks" / "damaged.json").exists()
    assert any("healed" in line for line in log)


@pytest.mark.parametrize("what", ["rows.sql", "manifest.json", ""])
def test_what_is_not_there_any_more_is_damage(what: str, world: Kept) -> None:
    path = world.store.folder(KEY, world.runs[0].id)
    (path / what).rename(world.folder / "away")

    assert "not" in world.verifier.verify(world.report()).damaged
    assert world.report().damaged


def test_a_store_that_is_gone_damages_nothing(world: Kept) -> None:
    world.store.root.rename(world.folder / "elsewhere")

    with pytest.raises(StoreError, match="not there any more"):
        world.verifier.verify(world.report())
    assert not world.report().damaged


def test_a_run_that_was_pruned_is_not_verified(world: Kept) -> None:
    world.pruner.delete(world.report(), force=True)

    with pytest.raises(UnknownRun):
        world.verifier.verify(world.runs[0])
    assert not world.report().damaged


# --- the scrub ------------------------------------------------------------------------------------------------------


def test_the_scrub_reads_within_its_budget_oldest_first_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    world = Kept(tmp_path, runs=3)
    read = []
    for hour in range(24 * 3):
        world.now += timedelta(hours=1)
        if hour % 5 == 0:
            world.restart()
        world.verifier.look()
        read.append(sum(world.report(number).verified is not None for number in range(3)))

    assert [read.count(done) for done in (1, 2)] == [24, 24]
    assert read[-1] == 3
    assert world.report(0).verified < world.report(1).verified < world.report(2).verified  # type: ignore[operator]
    assert world.interrupted > 3


def test_what_was_read_lately_or_by_a_budget_of_nothing_is_not_read(world: Kept) -> None:
    world.policy = Verify.model_construct(budget=0, every=timedelta(days=7))
    world.verifier.look()
    assert world.report().verified is None

    world.policy = Verify.model_construct(budget=1 << 40, every=timedelta(days=60))
    world.verifier.look()
    assert world.report().verified is None


def test_a_clock_that_went_back_does_not_hold_the_scrub_up(world: Kept) -> None:
    world.verifier.look()
    first = world.report().verified
    world.catalog.put(world.report().model_copy(update={"verified": None}))
    world.now -= timedelta(days=10)

    world.verifier.look()

    assert first is not None
    assert world.report().verified == world.now


def test_the_scrub_finds_rot_by_itself(world: Kept) -> None:
    world.rot(world.runs[0])

    world.verifier.look()

    assert world.report().damaged


# --- over HTTP ------------------------------------------------------------------------------------------------------


def test_a_damaged_run_is_refused_for_download_and_loud_everywhere(world: Kept) -> None:
    run = world.runs[0].id
    with serving(world) as server, client(server) as api:
        assert api.get(f"/v1/runs/{run}/artifacts").content == PLAIN["rows.sql"]
        world.rot(world.runs[0])

        assert api.post(f"/v1/runs/{run}/verify").json()["damaged"]

        for place in ("runs/{}/artifacts", "runs/{}/artifacts/rows.sql", "exports/{}/artifacts"):
            assert is_problem(api.get(f"/v1/{place.format(run)}"), 500, "damaged")
        assert api.get("/v1/status").json()["damaged"][0]["run"] == run
        assert 'backup_damaged_runs{target="shop/db"} 1.0' in api.get("/metrics").text
        assert is_problem(api.post("/v1/runs/nonsense/verify"), 404, "unknown-run")
