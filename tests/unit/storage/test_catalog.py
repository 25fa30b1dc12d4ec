"""What the index of runs answers, how it moves to a later schema, and the marks that it shares with the store."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from controller.core.drill import Drill
from controller.core.errors import StoreError, UnknownRun
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.core.restoration import Restoration
from controller.core.run import SAFETY, Report, State, new_run_id
from controller.storage import catalog as catalogs
from controller.storage import journal, marks
from controller.storage.catalog import Catalog
from controller.storage.catalog_schema import MIGRATIONS
from controller.storage.store import Store

KEY = Key(project="shop", service="db")
OTHER = Key(project="shop", service="web")
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
RELEASED = Path(__file__).parents[2] / "fixtures" / "store-0.1.0"
"""A store and a catalog as release 0.1.0 left them: three good runs and a failed one."""


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with closing(Catalog(tmp_path / "catalog.sqlite")) as opened:
        yield opened


@pytest.fixture
def released(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RELEASED, tmp_path / "store"))


def drill(days: int, **more: object) -> Drill:
    at = NOW + timedelta(days=days)
    found = Drill(id=new_run_id(at), target=KEY, run="r", state="passed", trigger="api", created=at)
    return found.model_copy(update=more)


def restore(days: int, **more: object) -> Restoration:
    at = NOW + timedelta(days=days)
    words = dict.fromkeys(("container", "where", "strategy"), "x")
    found = Restoration(id=new_run_id(at), target=KEY, run="r", state="succeeded", created=at, total=1, **words)
    return found.model_copy(update=more)


def report(days: int, state: State = "succeeded", **more: object) -> Report:
    """A run so many days after `NOW`."""
    at = NOW + timedelta(days=days)
    found = Report(id=new_run_id(at), target=KEY, state=state, trigger="api", created=at, started=at, finished=at)
    return found.model_copy(update=more)


def published(store: Store, **more: object) -> Report:
    """A run in the store whose only artifact holds five bytes; the report is what the manifest tells."""
    artifact = Artifact(
        name="data", format="raw", compression="none", size=5, sha256="0", plain_size=5, plain_sha256="0", proof="full"
    )
    facts = dict.fromkeys(("strategy", "container", "container_id", "image", "image_id", "engine", "sidecar"), "x")
    manifest = Manifest.model_validate(
        facts
        | {"run": new_run_id(NOW), "target": KEY, "started": NOW, "finished": NOW, "proof": "full"}
        | {"artifacts": (artifact,), **more}
    )
    with store.draft(KEY, manifest.run) as draft:
        with draft.open("data") as file:
            file.write(b"bytes")
        draft.publish(manifest)
    return marks.report(store, manifest)


# --- what counts as good --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ({}, True),
        ({"suspicious": ("far smaller",)}, False),
        ({"suspicious": ("far smaller",), "accepted": True}, True),
        ({"damaged": "another digest"}, False),
        ({"damaged": "another digest", "accepted": True}, False),
    ],
)
def test_the_last_good_run_is_neither_suspicious_nor_damaged(
    more: dict[str, object], good: bool, catalog: Catalog
) -> None:
    first, second = report(0), report(1, **more)
    for run in (first, second, report(2, "failed")):
        catalog.put(run)

    assert catalog.last_good(KEY) == (second if good else first)
    assert catalog.good(KEY, limit=9) == ([second, first] if good else [first])


def test_a_safety_backup_is_good_and_not_the_last_good_run_since_no_restore_takes_it_by_itself(
    catalog: Catalog,
) -> None:
    night, safety = report(0), report(1, trigger="restore")
    catalog.put(night)
    catalog.put(safety)

    assert (catalog.last_good(KEY), catalog.last_begun(KEY)) == (night, night)
    assert catalog.good(KEY, limit=9) == [safety, night]


def test_a_mark_set_later_changes_what_is_the_last_good_run(catalog: Catalog) -> None:
    first, second = report(0), report(1)
    catalog.put(first)
    catalog.put(second)
    catalog.put(second.model_copy(update={"damaged": "another digest"}))

    assert catalog.last_good(KEY) == first


def test_the_run_that_was_read_longest_ago_is_verified_next(catalog: Catalog) -> None:
    old, new = report(0), report(1)
    for run in (new, old, report(-1, "failed")):
        catalog.put(run)
    later = NOW + timedelta(days=9)
    assert catalog.longest_unproved(later) == old

    catalog.put(old.model_copy(update={"verified": NOW + timedelta(days=2)}))

    assert catalog.longest_unproved(later) == new
    assert catalog.longest_unproved(NOW) is None
    catalog.put(new.model_copy(update={"damaged": "another digest"}))
    assert catalog.longest_unproved(NOW + timedelta(days=2)) is None


def test_the_run_that_began_last_is_found_by_its_time_and_is_neither_a_safety_backup_nor_a_bad_one(
    catalog: Catalog,
) -> None:
    first, last = report(0), report(2)
    late_id = report(1, started=NOW - timedelta(days=1))  # Its id says later than it began.
    others = (report(3, trigger=SAFETY), report(4, damaged="x"), report(5, "failed"), report(6, pruned=NOW))
    for one in (first, late_id, last, *others):
        catalog.put(one)

    assert catalog.last_begun(KEY) == last
    assert catalog.last_begun(KEY, NOW + timedelta(days=1)) == first
    assert catalog.last_begun(KEY, NOW) == first
    assert catalog.last_begun(KEY, NOW - timedelta(hours=1)) == late_id
    assert catalog.last_begun(KEY, NOW - timedelta(days=2)) is None
    assert catalog.last_begun(OTHER) is None


def test_the_first_run_that_succeeded_is_known_also_when_it_was_pruned(catalog: Catalog) -> None:
    pruned = report(1, pruned=NOW)
    for one in (report(0, "failed"), pruned, report(2)):
        catalog.put(one)

    assert catalog.first(KEY) == pruned
    assert catalog.first(OTHER) is None


@pytest.mark.parametrize(("kind", "one"), [(Drill, drill), (Restoration, restore)])
def test_drills_and_restores_are_listed_and_found_by_run_as_runs_are(
    kind: type[Drill], one: Callable[..., Drill], catalog: Catalog
) -> None:
    ended, under_way, other = one(0), one(1, state="running"), one(2, target=OTHER, run="s")
    for report_ in (ended, under_way, other):
        catalog.put(report_)

    assert catalog.page(kind) == [other, under_way, ended]
    assert catalog.page(kind, KEY, limit=1) == [under_way]
    assert catalog.page(kind, KEY, before=under_way.id) == [ended]
    assert catalog.unfinished(kind) == [under_way]
    assert (catalog.last_of(kind, "r"), catalog.last_of(kind, "s"), catalog.last_of(kind, "t")) == (ended, other, None)


def test_pages_follow_each_other_without_gap_or_repetition(catalog: Catalog) -> None:
    for day in range(10):
        catalog.put(report(day, "failed" if day % 3 else "succeeded"))
    whole = catalog.runs(KEY)

    pages, last = [], ""
    while page := catalog.runs(KEY, before=last, limit=3):
        pages += page
        last = page[-1].id

    assert len(whole) == 10
    assert pages == whole
    assert catalog.runs(states=("succeeded",), before=whole[5].id) == [
        run for run in whole[6:] if run.state == "succeeded"
    ]


def test_no_question_of_every_day_reads_the_whole_history(catalog: Catalog) -> None:
    history = [report(day, "failed" if day % 100 == 0 else "succeeded", pruned=NOW) for day in range(300)]
    others = [one.model_copy(update={"id": one.id[:-1] + "x", "target": OTHER, "state": "failed"}) for one in history]
    for one in (*history, *others, *(report(day) for day in range(-3, 0))):
        catalog.put(one)
    for day in range(300):
        for one in (drill(day), restore(day)):
            catalog.put(one)
    steps: list[None] = []
    catalog._connection.set_progress_handler(lambda: steps.append(None), 10)
    middle = history[150].id

    for ask in (
        lambda: catalog.runs(limit=5),
        lambda: catalog.runs(limit=5, before=middle),
        lambda: catalog.runs(KEY, limit=5, before=middle),
        lambda: catalog.runs(states=("failed",), limit=5),
        lambda: catalog.runs(KEY, states=("failed",), limit=5),
        lambda: catalog.unfinished(Report),
        lambda: catalog.first(KEY),
        lambda: catalog.last_begun(KEY),
        *(partial(catalog.page, kind, KEY, limit=5) for kind in (Drill, Restoration)),
        *(partial(catalog.unfinished, kind) for kind in (Drill, Restoration)),
        *(partial(catalog.last_of, kind, "r") for kind in (Drill, Restoration)),
        lambda: catalog.last_drill(KEY),
        lambda: catalog.good(KEY, limit=5),
        lambda: list(catalog.stored(KEY)),
        catalog.damaged,
        lambda: catalog.longest_unproved(NOW),
    ):
        steps.clear()
        ask()
        assert len(steps) < 60, "tens of steps for each of some rows, not for each of 300"


# --- schemas --------------------------------------------------------------------------------------------------------


def test_a_store_of_release_0_1_0_is_read(released: Path) -> None:
    store = Store(released / "artifacts")
    with closing(Catalog(released / "work" / "catalog.sqlite")) as catalog:
        runs = catalog.runs()
        last = catalog.last_good(Key(project="shop", service="notes"))
        stored = [manifest for manifest in store.manifests() if isinstance(manifest, Manifest)]

    assert sorted(run.state for run in runs) == ["failed", "succeeded", "succeeded", "succeeded"]
    assert last is not None
    assert last.id == max(run.id for run in runs if run.target.service == "notes")
    assert {run.id: run.artifacts for run in runs if run.good} == {one.run: one.artifacts for one in stored}
    with closing(sqlite3.connect(released / "work" / "catalog.v1")) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
        assert copy.execute("SELECT count(*) FROM runs").fetchone() == (4,)


def test_drills_of_the_release_before_are_read(tmp_path: Path) -> None:
    path, passed = tmp_path / "catalog.sqlite", drill(0)
    with closing(sqlite3.connect(path)) as before:
        before.executescript(f"{';'.join(catalogs.MIGRATIONS[:4])};PRAGMA user_version = 4")
        row = (passed.id, str(KEY), passed.run, passed.state, passed.model_dump_json())
        before.execute("INSERT INTO drills (id, target, run, state, drill) VALUES (?, ?, ?, ?, ?)", row)
        before.commit()

    with closing(Catalog(path)) as catalog:
        assert catalog.page(Drill) == [passed]
        assert catalog.page(Restoration) == []


def test_a_report_that_cannot_be_read_hides_no_other(catalog: Catalog) -> None:
    bad, good = report(1), report(0)
    for one in (bad, good):
        catalog.put(one)
    catalog._connection.execute("UPDATE runs SET report = '[]' WHERE id = ?", (bad.id,))

    assert catalog.runs() == [good]


def test_a_migration_that_fails_leaves_the_catalog_as_it_was(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = released / "work" / "catalog.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(catalogs, "MIGRATIONS", (*catalogs.MIGRATIONS, "CREATE TABLE t (a); SELECT nonsense"))
        with pytest.raises(StoreError):
            Catalog(path)

    with closing(sqlite3.connect(path)) as left:
        assert left.execute("PRAGMA user_version").fetchone() == (1,)
        assert left.execute("SELECT count(*) FROM pragma_table_info('runs') WHERE name = 'good'").fetchone() == (0,)
    with closing(Catalog(path)) as again:
        assert len(again.runs()) == 4


def test_a_catalog_of_a_later_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 99")

    with pytest.raises(StoreError, match=rf"schema 99.*up to {len(MIGRATIONS)}"):
        Catalog(path)

    with closing(sqlite3.connect(path)) as left:
        assert left.execute("PRAGMA user_version").fetchone() == (99,)


# --- marks ----------------------------------------------------------------------------------------------------------


def test_marks_lie_beside_the_manifest_and_make_the_report_again(tmp_path: Path, catalog: Catalog) -> None:
    store = Store(tmp_path / "artifacts")
    plain = published(store, suspicious=("far smaller",))
    ended = plain.model_copy(
        update={"trigger": "schedule", "seconds": 7.5, "attempts": 2, "warnings": ("post-failed: x",)}
    )
    marks.keep(store, ended)
    marks.write(store, KEY, ended.id, "accepted", accepted=True)
    marks.write(store, KEY, ended.id, "verified", verified=NOW + timedelta(days=1))

    found = marks.report(store, store.manifest(KEY, ended.id))
    catalog.adopt(found)

    marked = {"accepted": True, "verified": NOW + timedelta(days=1)}
    assert found == catalog.get(ended.id) == ended.model_copy(update=marked)
    assert found.good


def test_a_mark_that_the_catalog_missed_is_adopted_and_what_it_knows_stays(tmp_path: Path, catalog: Catalog) -> None:
    store = Store(tmp_path / "artifacts")
    plain = published(store)
    catalog.put(plain.model_copy(update={"trigger": "api", "accepted": True}))
    marks.write(store, KEY, plain.id, "damaged", damaged="another digest")

    catalog.adopt(marks.report(store, store.manifest(KEY, plain.id)))

    known = catalog.get(plain.id)
    assert (known.trigger, known.accepted, known.damaged) == ("api", True, "another digest")


def test_a_run_that_the_store_does_not_hold_is_no_backup_until_it_does_again(catalog: Catalog) -> None:
    lost, kept = report(0), report(-1)
    for one in (lost, kept, report(1, "failed")):
        catalog.put(one)

    assert catalog.reconcile({kept.id}) == [lost.id]
    assert catalog.last_good(KEY) == kept
    assert [one.id for one in catalog.damaged()] == [lost.id]
    assert catalog.reconcile({kept.id}) == []

    assert catalog.reconcile({kept.id, lost.id}) == []
    assert catalog.last_good(KEY) == lost


def test_a_mark_that_is_removed_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "artifacts")
    plain = published(store)
    marks.write(store, KEY, plain.id, "damaged", damaged="another digest")
    marks.remove(store, KEY, plain.id, "damaged")

    assert marks.report(store, store.manifest(KEY, plain.id)) == plain


@pytest.mark.parametrize("spoilt", ["{", '{"verified": "yesterday"}'])
def test_a_run_whose_marks_cannot_be_read_counts_as_damaged(spoilt: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "artifacts")
    plain = published(store)
    marks.write(store, KEY, plain.id, "verified", verified=NOW)
    (store.folder(KEY, plain.id) / "marks" / "verified.json").write_text(spoilt)

    found = marks.report(store, store.manifest(KEY, plain.id))

    assert "marks cannot be read" in found.damaged
    assert found.pinned, "somebody may have kept it"
    assert not found.good


def test_no_mark_brings_back_a_run_that_was_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path / "artifacts")
    plain = published(store)
    store.delete(KEY, plain.id)

    with pytest.raises(UnknownRun, match="deleted"):
        marks.write(store, KEY, plain.id, "verified", verified=NOW)
    store.purge(KEY, plain.id)
    with pytest.raises(UnknownRun):
        marks.write(store, KEY, plain.id, "verified", verified=NOW)
    assert not store.folder(KEY, plain.id).exists()


def test_a_link_in_the_place_of_marks_is_not_followed(tmp_path: Path) -> None:
    store = Store(tmp_path / "artifacts")
    plain = published(store)
    journal.write(tmp_path / "elsewhere" / "accepted.json", {"accepted": True})
    (store.folder(KEY, plain.id) / "marks").symlink_to(tmp_path / "elsewhere")

    found = marks.report(store, store.manifest(KEY, plain.id))

    assert not found.accepted
    assert "symbolic link" in found.damaged
