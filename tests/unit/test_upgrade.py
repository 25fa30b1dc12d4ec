"""The volume that release 0.1.0 left is read: every run, drill and restore, the marks, and what is owed."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.core.manifest import Manifest
from controller.restore.owed import OwedUndos
from controller.storage.catalog import Catalog
from controller.storage.rebuild import rebuild
from controller.storage.store import Store
from tests.kit.upgrade import TOLD, VOLUME, is_within

DAMAGED = "20261128T192702Z-e266d2eb"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return Path(shutil.copytree(VOLUME, tmp_path / "volume"))


@pytest.fixture
def store(volume: Path) -> Store:
    return Store(volume / "artifacts")


@pytest.fixture
def catalog(volume: Path) -> Iterator[Catalog]:
    with closing(Catalog(volume / "work" / "catalog.sqlite")) as opened:
        yield opened


def test_every_run_is_listed_with_the_same_facts(catalog: Catalog) -> None:
    runs = [run.model_dump(mode="json") | {"key": str(run.target)} for run in catalog.runs()]

    assert [run["id"] for run in runs] == [told["id"] for told in TOLD["runs"]]
    for told, run in zip(TOLD["runs"], runs, strict=True):
        if told["finished"]:
            assert is_within(told, run)
        else:  # How far it had come is told live only.
            assert (run["key"], run["created"], run["finished"]) == (told["key"], told["created"], None)


def test_every_drill_is_known(catalog: Catalog) -> None:
    for told in TOLD["drills"]:
        assert is_within(told, catalog.drill(told["id"]).model_dump(mode="json"))


def test_what_restores_owe_is_known(volume: Path) -> None:
    owed = OwedUndos(lambda _: None, volume / "work" / "restores" / "owed").all()

    assert [one.restore for one in owed] == [told["id"] for told in reversed(TOLD["restores"]) if not told["finished"]]
    assert [(str(one.target), one.commands[0][0], one.kept, one.whole) for one in owed] == [
        ("upgrade-0-1/db", "sh", ("globals.sql",), False),
        ("upgrade-0-1/pages", "rm", (), False),
    ]


def test_every_artifact_is_whole_but_the_damaged_one(store: Store) -> None:
    manifests = [found for found in store.manifests() if isinstance(found, Manifest)]
    wrong = {
        manifest.run
        for manifest in manifests
        for artifact in manifest.artifacts
        if hashlib.sha256(store.artifact(manifest.target, manifest.run, artifact.name).read_bytes()).hexdigest()
        != artifact.sha256
    }

    told = [run for run in TOLD["runs"] if run["state"] == "succeeded" and not run["pruned"]]
    assert sorted(manifest.run for manifest in manifests) == sorted(run["id"] for run in told)
    assert wrong == {run["id"] for run in told if run["damaged"]} == {DAMAGED}


def test_runs_that_were_under_way_leave_nothing_in_the_store(store: Store) -> None:
    assert sorted(store.sweep()) == sorted(run["id"] for run in TOLD["runs"] if run["state"] == "running")


def test_a_rebuilt_catalog_holds_the_same_runs_and_drills(volume: Path, store: Store, catalog: Catalog) -> None:
    before = [run for run in catalog.runs(states=("succeeded",)) if run.stored]
    catalog.close()

    made = rebuild(store, volume / "work" / "catalog.sqlite")

    with closing(Catalog(volume / "work" / "catalog.sqlite")) as fresh:
        assert fresh.runs() == before
        for told in TOLD["drills"]:
            assert told["state"] == "running" or is_within(told, fresh.drill(told["id"]).model_dump(mode="json"))
    assert (made.runs, made.lost, made.unreadable) == (len(before), len(TOLD["runs"]) - len(before), ())
