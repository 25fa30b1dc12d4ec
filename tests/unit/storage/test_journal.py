"""A small fact is there whole, or as it was before."""

import errno
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.core.errors import StoreError
from controller.core.records import Time, Versioned
from controller.storage import files, journal


def test_a_fact_is_read_as_it_was_written_and_a_later_one_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "quiesced" / "c1.json"
    journal.write(path, {"state": "running"})
    journal.write(path, {"state": "paused", "by": "run"})

    assert journal.load(path) == {"state": "paused", "by": "run"}
    assert [file.name for file in path.parent.iterdir()] == ["c1.json"]


def test_a_fact_that_was_removed_or_never_written_is_none(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    assert journal.load(path) is None
    journal.write(path, {})
    files.remove(path)
    files.remove(path)

    assert journal.load(path) is None


def test_a_fact_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    journal.write(path, {"old": True})
    (tmp_path / "fact.json.partial").mkdir()

    with pytest.raises(StoreError):
        journal.write(path, {"old": False})
    assert journal.load(path) == {"old": True}


def test_a_spoilt_fact_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    path.write_text("{")

    with pytest.raises(StoreError, match=r"fact\.json is no JSON"):
        journal.load(path)


# --- what is no fact ------------------------------------------------------------------------------------------------


class Fact(Versioned):
    name: str
    at: Time
    size: int = 0


GOOD = Fact(name="fact", at=datetime(2026, 3, 1, 3, tzinfo=UTC))
BAD = {
    "nothing": b"",
    "an empty object": b"{}",
    "another object": b'{"x": 1}',
    "a list": b"[]",
    "null": b"null",
    "no JSON": b"{",
    "nested too deep": b"[" * 10_000,
    "objects nested too deep": b'{"name":' * 10_000,
    "no text": b"\xff\xfe\x00",
    "a lone surrogate": b'{"name": "\\ud800", "at": "2026-03-01T03:00:00Z"}',
    "wrong types": b'{"name": 7, "at": "2026-03-01T03:00:00Z"}',
    "a number as text": b'{"name": "fact", "at": "2026-03-01T03:00:00Z", "size": "7"}',
    "a number that is none": b'{"name": "fact", "at": "2026-03-01T03:00:00Z", "size": NaN}',
    "a time without a zone": b'{"name": "fact", "at": "2026-03-01T03:00:00"}',
    "a time as a number": b'{"name": "fact", "at": 7}',
    "a later schema": b'{"schema": 2, "name": "fact", "at": "2026-03-01T03:00:00Z"}',
}
"""Contents that nobody of ours has written."""


def folder(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def link(path: Path) -> None:
    other = path.with_name("other")
    journal.write(other, GOOD)
    path.symlink_to(other)


def loop(path: Path) -> None:
    path.symlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def named_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_is_no_fact_is_set_aside_and_told_until_it_is_removed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    path.write_bytes(content)

    assert journal.read(path, Fact) is None
    assert not path.exists()
    (problem,) = journal.problems(tmp_path)
    assert problem.code == "bad-fact"
    assert Path(problem.place).read_bytes() == content
    assert journal.read(path, Fact) is None

    Path(problem.place).unlink()
    assert journal.problems(tmp_path) == ()


@pytest.mark.parametrize("plant", [folder, dangling, link, loop, pipe, named_socket])
def test_what_is_no_file_is_set_aside_too(plant: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    plant(path)

    assert journal.read(path, Fact) is None
    assert not os.path.lexists(path)
    assert len(journal.problems(tmp_path)) == 1
    journal.write(path, GOOD)
    assert journal.read(path, Fact) == GOOD


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "fact.json"
    journal.write(path, GOOD)
    path.chmod(0)

    assert journal.read(path, Fact) is None
    assert not path.exists()


def test_a_fact_is_no_worse_for_our_own_lack_of_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fact.json"
    journal.write(path, GOOD)

    def none_left(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", none_left)
        with pytest.raises(StoreError):
            journal.read(path, Fact)
    assert journal.read(path, Fact) == GOOD


@pytest.mark.parametrize(
    "name",
    [
        b"fact",
        b"\xff\xfe.json",
        b"a\nb.json",
        b"\x1b[31m.json",
        b"n" * 250 + b".json",
        "ñ".encode() * 120 + b".json",
        b".json",
    ],
)
def test_a_fact_under_a_strange_name_hides_no_other(name: bytes, tmp_path: Path) -> None:
    journal.write(tmp_path / "fact.json", GOOD)
    (tmp_path / os.fsdecode(name)).write_bytes(b'{"name": "other", "at": "2026-03-01T03:00:00Z"}')

    assert list(journal.facts(tmp_path, Fact, "name")) == [GOOD]
    assert list(journal.facts(tmp_path, Fact, "name")) == [GOOD]
    for problem in journal.problems(tmp_path):
        assert problem.place.isprintable()
        problem.place.encode()


def test_a_folder_of_facts_that_is_none_holds_none(tmp_path: Path) -> None:
    (tmp_path / "facts").write_text("no folder")
    assert list(journal.facts(tmp_path / "facts", Fact, "name")) == []
    assert list(journal.facts(tmp_path / "missing", Fact, "name")) == []
