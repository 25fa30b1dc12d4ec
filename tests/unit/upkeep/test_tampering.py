"""A run that is not the one that was published is `tampered`, wherever it is read; what nobody marked is `unmarked`."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from controller.app.recovery import enter_manifests
from controller.core.errors import Tampered
from controller.core.run import Report
from controller.storage import marks
from controller.storage.own_marks import FILE, MARK_FILE, OwnMarks
from controller.storage.rebuild import rebuild
from controller.storage.store import Store
from tests.unit.upkeep.test_verifier import KEY, Kept

NAME = "rows.sql"


class Marked(Kept):
    """A stored run with its own mark, which somebody may forge."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        marks.keep(self.store, self.runs[0])
        self.place = self.store.folder(KEY, self.runs[0].id)

    def change(self, **changes: Any) -> None:
        """Of the manifest's only artifact."""
        document = json.loads((self.place / "manifest.json").read_text())
        document["artifacts"][0] |= changes
        (self.place / "manifest.json").write_text(json.dumps(document))

    def forge(self) -> None:
        """Other bytes, whose digests the manifest tells rightly."""
        data = b"a row that nobody wrote"
        (self.place / NAME).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        self.change(size=len(data), plain_size=len(data), sha256=digest, plain_sha256=digest)

    def mark(self, mark: str | None) -> None:
        """In the store; None takes it away."""
        fields = json.loads((self.place / MARK_FILE).read_text())
        fields = {name: value for name, value in fields.items() if name != "mark"} | ({"mark": mark} if mark else {})
        (self.place / MARK_FILE).write_text(json.dumps(fields))

    def rebuilt(self) -> Report:
        """As a catalog knows the run that was made anew of what lies in the store."""
        self.catalog.close()
        rebuild(self.store, self.folder / "work" / "catalog.sqlite")
        vars(self).pop("catalog")
        self.restart()
        return self.report()


@pytest.fixture
def world(tmp_path: Path) -> Marked:
    return Marked(tmp_path)


def demand_tampered(world: Marked) -> None:
    """Wherever the run is read, and in the one verdict, before all else."""
    with pytest.raises(Tampered):
        world.store.manifest(KEY, world.runs[0].id)
    report = world.verifier.verify(world.report())
    assert (report.tampered, report.doubt, report.good) == (True, "tampered", False)
    first = world.situation.status().reasons[0]
    assert (first.code, first.message[:8]) == ("tampered", "TAMPERED")


def test_a_run_as_it_was_published_is_marked_and_right(world: Marked) -> None:
    report = world.verifier.verify(world.report())
    assert report.mark
    assert (report.damaged, report.tampered) == ("", False)
    assert (world.folder / "work" / FILE).stat().st_mode & 0o077 == 0


def test_other_bytes_with_their_digests_are_tampering(world: Marked) -> None:
    world.forge()
    demand_tampered(world)


@pytest.mark.parametrize("change", [{"restore": "cat x | sh"}, {"counts": {"rows of x": 1}}, {"format": "tar"}])
def test_whatever_else_the_manifest_tells_otherwise_is_tampering(world: Marked, change: dict[str, Any]) -> None:
    world.change(**change)
    demand_tampered(world)


def test_a_catalog_that_was_made_anew_knows_it_by_the_runs_own_mark(world: Marked) -> None:
    world.forge()
    assert world.rebuilt().mark
    demand_tampered(world)


def test_a_restart_takes_no_forged_manifest_for_what_the_catalog_knows(world: Marked) -> None:
    world.forge()
    world.mark(None)
    enter_manifests(world)
    assert world.report().tampered
    demand_tampered(world)


@pytest.mark.parametrize("mark", [None, "0a1b2c3d:" + "0" * 64])
def test_a_mark_that_is_taken_away_or_another_keys_hides_nothing_from_the_catalog(
    world: Marked, mark: str | None
) -> None:
    path = world.place / "manifest.json"
    path.write_text(path.read_text().replace('"image": "postgres:17"', '"image": "postgres:16"'))
    world.mark(mark)
    demand_tampered(world)


def test_the_mark_of_another_run_is_tampering(world: Marked) -> None:
    other = world.start(KEY, "api").future.result(timeout=20)
    world.mark(other.mark)
    demand_tampered(world)


def test_a_manifest_that_is_again_what_was_published_heals_the_run(world: Marked) -> None:
    whole = {path: path.read_bytes() for path in (world.place / "manifest.json", world.place / NAME)}
    world.forge()
    demand_tampered(world)
    for path, data in whole.items():
        path.write_bytes(data)
    report = world.verifier.verify(world.report())
    assert (report.damaged, report.tampered) == ("", False)


def test_rotten_bytes_are_damage_and_no_tampering(world: Marked) -> None:
    world.rot(world.runs[0])
    report = world.verifier.verify(world.report())
    assert (bool(report.damaged), report.tampered) == (True, False)


def test_a_run_of_before_or_of_another_key_is_unmarked_and_right(world: Marked) -> None:
    world.mark(None)
    assert world.rebuilt().mark == ""
    assert not world.verifier.verify(world.report()).damaged
    (world.folder / "work" / FILE).unlink()
    world.mark(world.runs[0].mark)
    assert world.start(KEY, "api").future.result(timeout=20).mark[:8] != world.rebuilt().mark[:8]
    assert not world.verifier.verify(world.report()).damaged


def test_of_an_unmarked_run_the_catalog_still_knows_the_artifacts(world: Marked) -> None:
    world.catalog.amend(world.runs[0].id, mark="")
    world.mark(None)
    world.forge()
    demand_tampered(world)


def test_runs_that_end_at_once_make_one_key(tmp_path: Path, world: Marked) -> None:
    manifest, own_marks = world.store.manifest(KEY, world.runs[0].id), OwnMarks(tmp_path / "new")
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(own_marks.of, [manifest] * 8))) == 1


def test_who_reads_the_store_alone_knows_it_by_the_mark_and_makes_no_key(world: Marked, tmp_path: Path) -> None:
    world.forge()
    alone = Store(world.store.root, own_marks=OwnMarks(world.folder / "work"))
    with closing(world.catalog), pytest.raises(Tampered):
        alone.manifest(KEY, world.runs[0].id)
    keyless = Store(world.store.root, own_marks=OwnMarks(tmp_path / "none"))
    assert keyless.manifest(KEY, world.runs[0].id)
    assert not (tmp_path / "none").exists()
