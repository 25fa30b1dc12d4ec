"""What the catalog tells when its disk takes nothing."""

from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.core.drill import Drill
from controller.core.errors import StoreError, StoreFull
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.core.run import Report, State, new_run_id
from controller.storage.catalog import Catalog

KEY = Key(project="shop", service="db")
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


def report(state: State, run: str | None = None) -> Report:
    return Report(id=run or new_run_id(NOW), target=KEY, state=state, trigger="api", created=NOW)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with closing(Catalog(tmp_path / "catalog.sqlite")) as opened:
        yield opened


def full(catalog: Catalog, *, yes: bool = True) -> None:
    """Let SQLite find no further page, as on a full disk, or find one again."""
    pages = catalog._connection.execute("PRAGMA page_count").fetchone()[0]
    catalog._connection.execute(f"PRAGMA max_page_count = {pages if yes else pages + 1000}")


def fill(catalog: Catalog) -> None:
    """Use up what is left in the last page."""
    full(catalog)
    with suppress(StoreFull):
        for _ in range(1000):
            catalog.put(report("succeeded"))


def test_a_report_that_the_disk_does_not_take_is_told_all_the_same(catalog: Catalog) -> None:
    queued = report("queued")
    catalog.put(queued)
    fill(catalog)

    failed = report("failed", queued.id).model_copy(update={"reason": "so long that it needs a page" * 500})
    with pytest.raises(StoreFull):
        catalog.put(failed)

    assert catalog.get(queued.id) == failed
    assert catalog.runs(KEY, states=("queued",)) == []
    assert catalog.runs(KEY, states=("failed",)) == [failed]
    everything = catalog.runs(KEY, limit=10_000)
    assert len(everything) == len({run.id for run in everything}) > 1
    assert [run.id for run in everything] == sorted((run.id for run in everything), reverse=True)


def test_what_was_kept_in_memory_goes_to_the_disk_once_there_is_room(catalog: Catalog, tmp_path: Path) -> None:
    fill(catalog)
    late = report("failed").model_copy(update={"reason": "so long that it needs a page" * 500})
    with pytest.raises(StoreFull):
        catalog.put(late)

    full(catalog, yes=False)
    catalog.put(report("succeeded"))

    with closing(Catalog(tmp_path / "catalog.sqlite")) as again:
        assert again.get(late.id) == late
        assert again.runs(limit=10_000) == catalog.runs(limit=10_000)


FACTS = {"id": new_run_id(NOW), "target": KEY, "run": "r", "state": "running", "created": NOW}
DRILL = Drill(trigger="api", **FACTS)
RESTORE = Restoration(container="c", where="w", strategy="s", total=1, **FACTS)


@pytest.mark.parametrize("running", [DRILL, RESTORE], ids=["drill", "restore"])
def test_a_drill_or_restore_that_the_disk_does_not_take_is_told_all_the_same_and_kept_once_there_is_room(
    running: Drill | Restoration, catalog: Catalog, tmp_path: Path
) -> None:
    kind = type(running)
    catalog.put(running)
    fill(catalog)
    failure = Failure(code="x", message="so long that it needs a page" * 500)
    ended = running.model_copy(update={"state": "failed", "failure": failure})
    with pytest.raises(StoreFull):
        catalog.put(ended)
    catalog.keep(ended)

    assert catalog.last_of(kind, "r") == ended
    assert catalog.unfinished(kind) == []
    full(catalog, yes=False)
    other = ended.model_copy(update={"id": new_run_id(NOW)})
    catalog.put(other)
    with closing(Catalog(tmp_path / "catalog.sqlite")) as again:
        assert {one.id: one for one in again.page(kind)} == {one.id: one for one in (ended, other)}


def test_a_catalog_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"not SQLite" * 1000)
    with pytest.raises(StoreError, match="catalog") as failed:
        Catalog(tmp_path / "catalog.sqlite")
    assert failed.value.hint
