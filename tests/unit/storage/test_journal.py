"""A small fact is there whole, or as it was before."""

from pathlib import Path

import pytest

from controller.core.errors import StoreError
from controller.storage import journal


def test_a_fact_is_read_as_it_was_written_and_a_later_one_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "quiesced" / "c1.json"
    journal.write(path, {"state": "running"})
    journal.write(path, {"state": "paused", "by": "run"})

    assert journal.read(path) == {"state": "paused", "by": "run"}
    assert [file.name for file in path.parent.iterdir()] == ["c1.json"]


def test_a_fact_that_was_removed_or_never_written_is_none(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    assert journal.read(path) is None
    journal.write(path, {})
    journal.remove(path)
    journal.remove(path)

    assert journal.read(path) is None


def test_a_fact_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    journal.write(path, {"old": True})
    (tmp_path / "fact.json.partial").mkdir()

    with pytest.raises(StoreError):
        journal.write(path, {"old": False})
    assert journal.read(path) == {"old": True}


def test_a_spoilt_fact_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    path.write_text("{")

    with pytest.raises(StoreError, match=r"fact\.json is no JSON"):
        journal.read(path)
