"""A catalog that is lost is made anew from the store, and says what cannot come back."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from controller.core.drill import Drill
from controller.core.errors import StoreError
from controller.core.run import Report
from controller.storage import journal, marks
from controller.storage.catalog import Catalog
from controller.storage.rebuild import opened, rebuild
from controller.storage.store import Store
from tests.unit.storage.test_catalog import KEY, NOW, published, report, restore


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


@pytest.fixture
def path(tmp_path: Path, store: Store) -> Path:
    """A catalog with two published runs, one of them accepted, and a failed one."""
    path = tmp_path / "catalog.sqlite"
    with closing(Catalog(path)) as catalog:
        for trigger in ("schedule", "cli"):
            done = published(store).model_copy(update={"trigger": trigger, "warnings": ("post-failed: x",)})
            marks.keep(store, done)
            catalog.put(done)
        marks.write(store, KEY, done.id, "accepted", accepted=True)
        catalog.put(done.model_copy(update={"accepted": True}))
        catalog.put(report(0, "failed"))
    return path


def succeeded(path: Path) -> list[Report]:
    with closing(Catalog(path)) as catalog:
        return catalog.runs(states=("succeeded",))


def test_every_run_that_succeeded_is_as_before_and_the_rest_is_counted(path: Path, store: Store) -> None:
    before = succeeded(path)

    made = rebuild(store, path)

    assert succeeded(path) == before
    assert (made.runs, made.lost, made.unreadable) == (2, 1, ())
    assert made.old is not None
    assert succeeded(made.old) == before


@pytest.mark.parametrize("spoilt", [True, False], ids=["spoilt", "gone"])
def test_a_catalog_that_cannot_be_read_is_made_anew(spoilt: bool, path: Path, store: Store) -> None:
    before = succeeded(path)
    path.write_bytes(b"no database" * 1000) if spoilt else path.unlink()

    made = rebuild(store, path)

    assert succeeded(path) == before
    assert made.lost == (None if spoilt else 0)
    assert (made.old is not None) == spoilt


def test_a_manifest_that_cannot_be_read_is_told(path: Path, store: Store) -> None:
    (store.folder(KEY, succeeded(path)[0].id) / "manifest.json").write_text("{")

    made = rebuild(store, path)

    assert made.runs == 1
    assert "manifest.json" in made.unreadable[0]


def test_the_last_drill_of_each_run_comes_back(path: Path, store: Store) -> None:
    (run, _) = succeeded(path)
    facts = {"target": KEY, "run": run.id, "trigger": "schedule", "created": NOW, "finished": NOW}
    older, newer = (Drill(id=f"{run.id[:-1]}{n}", state="passed", **facts) for n in "01")
    for drill in (older, newer):
        marks.keep_drill(store, drill)

    rebuild(store, path)

    with closing(Catalog(path)) as catalog:
        assert catalog.last_of(Drill, run.id) == catalog.last_drill(KEY, good=True) == newer


def test_restores_that_are_lost_are_counted(path: Path, store: Store) -> None:
    with closing(Catalog(path)) as catalog:
        for day in range(3):
            catalog.put(restore(day))

    assert rebuild(store, path).restores == 3


def a_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE runs (a); PRAGMA user_version = 1")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"no database" * 1000),
        lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 3000),
        Path.mkdir,
        lambda path: path.symlink_to("nowhere/at/all"),
        a_database,
    ],
    ids=["text", "damaged", "folder", "dangling", "other"],
)
def test_what_is_no_catalog_keeps_nothing_from_starting(spoil: Callable[[Path], object], path: Path) -> None:
    path.unlink()
    spoil(path)

    with closing(opened(path)) as catalog:
        catalog.put(report(0))
        assert len(catalog.runs()) == 1
    assert any(problem.code == "bad-fact" for problem in journal.problems(path.parent))


def test_a_catalog_of_a_later_release_is_not_set_aside(path: Path) -> None:
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 99")

    with pytest.raises(StoreError):
        opened(path)
    assert journal.problems(path.parent) == ()


@pytest.mark.parametrize("level", [1, 2, 3], ids=["project", "service", "run"])
def test_folders_that_cannot_be_read_are_counted_and_named(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    (newest, *_) = succeeded(path)
    folder = store.root.joinpath(*(*KEY.folders, newest.id)[:level])
    (store.root / "lost+found").mkdir()
    closed = {folder, store.root / "lost+found"}
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in closed)  # Root may read anywhere.

    made = rebuild(store, path)

    assert len(made.unreadable) == 1
    assert f"may not read 1 of its folders, so their runs are missing: {folder}." in made.unreadable[0]


def test_a_run_that_cannot_be_read_is_not_swept_away(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.folder(KEY, succeeded(path)[0].id)
    manifest = folder / "manifest.json"
    manifest.rename(folder / "hidden")  # As it seems to be to who may not look into the folder.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    assert store.sweep() == []
    assert folder.is_dir()
