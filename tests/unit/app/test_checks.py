"""What may be wrong with the sidecar itself is looked for by files that are found by being there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.app import checks
from tests.kit.world import World

FOUND = """
from config.problems import Problem

def check(parts):
    yield Problem("too-late", parts.redact("sidecar"), "is out of time", "Hurry.")
"""
BROKEN = "def check(parts): 1 / 0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One more folder in which checks are found."""
    folder = tmp_path / "more"
    folder.mkdir()
    monkeypatch.setattr(checks, "__path__", [*checks.__path__, str(folder)])
    checks.discover.cache_clear()
    yield folder
    checks.discover.cache_clear()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def codes(world: World) -> list[str]:
    return [problem.code for problem in checks.problems(world)]


def test_a_check_is_added_by_adding_a_file(folder: Path, world: World) -> None:
    (folder / "time.py").write_text(FOUND)
    assert "too-late" in codes(world)


def test_a_defect_of_a_check_is_a_problem_and_the_others_still_tell_theirs(folder: Path, world: World) -> None:
    (folder / "a_broken_one.py").write_text(BROKEN)
    (folder / "time.py").write_text(FOUND)
    assert {"internal-error", "too-late"} <= set(codes(world))


def test_what_is_wrong_with_the_work_folder_and_the_disks_is_found(world: World) -> None:
    (world.folder / "work" / "clock.json.bad-20260101T000000Z").touch()
    (world.folder / "artifacts").rename(world.folder / "elsewhere")
    (world.folder / "artifacts").touch()
    assert {"bad-fact", "bad-folder"} <= set(codes(world))
