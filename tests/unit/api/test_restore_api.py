"""How the routes of restores say no, and what becomes of a restore whose sidecar died."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from controller.core.errors import RestoreUnderWay
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.core.run import SAFETY
from controller.restore.owed import OwedUndo
from controller.restore.plan import RestoreOrder
from controller.storage import journal
from tests.kit.world import TOKENS, World, client, is_problem, serving

DB = "/v1/targets/shop/db"
UNDER_WAY = Restoration(
    id="20260301T030000Z-1a2b3c4d",
    run="20260301T020000Z-1a2b3c4d",
    target=Key(project="shop", service="db"),
    container="shop-db-1",
    where="databases shop",
    strategy="postgres",
    state="running",
    created=datetime(2026, 3, 1, 3, tzinfo=UTC),
    total=1,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def http(world: World) -> Iterator[httpx.Client]:
    with serving(world) as server, client(server, token=TOKENS["admin"]) as connection:
        yield connection


@pytest.fixture
def run(world: World, http: httpx.Client) -> str:
    """A run in the store."""
    return str(world.start(Key(project="shop", service="db"), "api").future.result(10).id)


def test_a_target_without_a_run_cannot_be_restored(http: httpx.Client) -> None:
    assert is_problem(http.post(f"{DB}/restore"), 404, "unknown-run")


def test_a_run_that_began_later_is_none_of_an_earlier_time(http: httpx.Client, run: str) -> None:
    assert is_problem(http.post(f"{DB}/restore", params={"at": "2020-01-01T00:00:00Z"}), 404, "unknown-run")


def test_without_a_word_it_is_the_newest_good_run_and_never_a_safety_backup(
    world: World, http: httpx.Client, run: str
) -> None:
    key = Key(project="shop", service="db")
    newer = world.jobs.start(key, "api").future.result(10).id
    safety = world.jobs.start(key, SAFETY).future.result(10).id
    assert world.planner.choose(RestoreOrder(key))[0].run == newer
    assert world.planner.choose(RestoreOrder(key, run=safety))[0].run == safety


def test_the_run_of_another_target_is_refused(world: World, http: httpx.Client, run: str) -> None:
    assert is_problem(http.post("/v1/targets/shop/web/restore", params={"run": run}), 404, "unknown-run")


def test_a_key_without_runs_is_told_which_keys_have_some(http: httpx.Client, run: str) -> None:
    answer = http.post("/v1/targets/old-shop/db/restore", params={"to": "shop/db"})
    assert is_problem(answer, 404, "unknown-run")
    assert answer.json()["hint"] == "The store has runs of shop/db."


def test_a_key_whose_runs_are_all_younger_or_in_doubt_is_told_how_to_see_them(
    world: World, http: httpx.Client, run: str
) -> None:
    listed = "`backup-sidecar runs shop/db` lists those that it has; --run restores one of them."
    answer = http.post("/v1/targets/shop/db/restore", params={"at": "2020-01-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["hint"]) == (404, listed)
    for report in world.catalog.stored(Key(project="shop", service="db")):
        world.catalog.amend(report.id, suspicious=("small",))
    assert http.post("/v1/targets/shop/db/restore").json()["hint"] == listed


@pytest.mark.parametrize(
    "query",
    [
        {"in_place": "true", "into": "/x"},
        {"mirror": "true", "into": "/x"},
        {"at": "2026-03-01T03:00:00Z", "run": "20260301T030000Z-1a2b3c4d"},
        {"at": "2026-03-01T03:00:00"},
        {"replace": "perhaps"},
        {"overwrite": "true"},
        {"to": "x" * 301},
    ],
)
def test_what_contradicts_itself_or_is_no_word_of_ours_is_refused(http: httpx.Client, query: dict[str, str]) -> None:
    assert is_problem(http.post(f"{DB}/restore", params=query), 422, "bad-value")


@pytest.mark.parametrize("more", [{}, {"dry_run": "true"}])
def test_an_engine_that_is_away_leaves_the_target_free(
    world: World, http: httpx.Client, run: str, more: dict[str, str]
) -> None:
    assert is_problem(http.post(f"/v1/runs/{run}/restore", params=more), 503, "engine-unreachable")
    assert is_problem(http.post(f"{DB}/restore", params={"to": "other", **more}), 503, "engine-unreachable")
    assert http.get("/v1/restores").json() == {"restores": [], "next": None}
    assert http.post(f"{DB}/runs").status_code == 202
    with world.leases.deleting(run):
        pass


@pytest.mark.parametrize("path", ["app; drop table x", "app,", "a'b", 'x" y', "a\nb"])
def test_a_search_path_is_names_of_schemas_and_nothing_else(http: httpx.Client, run: str, path: str) -> None:
    assert http.post(f"{DB}/restore", params={"search_path": path}).status_code == 422


def test_a_search_path_may_name_a_users_own_schema(http: httpx.Client, run: str) -> None:
    answer = http.post(f"{DB}/restore", params={"search_path": 'app, "$user"'})
    assert is_problem(answer, 503, "engine-unreachable")


@pytest.mark.parametrize("more", [{"into": "/x"}, {"in_place": "true"}, {"mirror": "true"}])
def test_a_database_goes_into_no_folder(http: httpx.Client, run: str, more: dict[str, str]) -> None:
    assert is_problem(http.post(f"{DB}/restore", params=more), 409, "no-folder")
    assert http.post(f"{DB}/runs").status_code == 202


def test_no_restore_begins_while_the_target_runs(world: World, http: httpx.Client, run: str) -> None:
    world.go.clear()
    world.start(Key(project="shop", service="db"), "api")
    assert is_problem(http.post(f"{DB}/restore"), 409, "run-in-progress")


def test_a_run_that_is_being_deleted_is_not_restored(world: World, http: httpx.Client, run: str) -> None:
    with world.leases.deleting(run):
        assert is_problem(http.post(f"{DB}/restore"), 404, "unknown-run")
    assert http.post(f"{DB}/runs").status_code == 202


@pytest.mark.parametrize("name", ["20260301T030000Z-1a2b3c4d", "%2e%2e", "%00", "x" * 300])
def test_a_restore_that_nobody_knows_is_not_found(http: httpx.Client, name: str) -> None:
    assert is_problem(http.get(f"/v1/restores/{name}"), 404, "unknown-restore")
    assert is_problem(http.post(f"/v1/restores/{name}/cancel"), 404, "unknown-restore")


def test_a_restore_whose_sidecar_died_is_interrupted_and_stays_so(world: World, http: httpx.Client) -> None:
    world.catalog.keep(UNDER_WAY)
    assert http.get(f"/v1/restores/{UNDER_WAY.id}").json()["state"] == "running"

    world.restores.recover()

    report = http.get(f"/v1/restores/{UNDER_WAY.id}").json()
    assert (report["state"], report["failure"]["code"], report["key"]) == ("interrupted", "interrupted", "shop/db")
    assert http.get("/v1/restores").json()["restores"] == [report]
    assert is_problem(http.post(f"/v1/restores/{UNDER_WAY.id}/cancel"), 409, "restore-has-ended")


def owed(**more: object) -> OwedUndo:
    facts = {"restore": UNDER_WAY.id, "target": UNDER_WAY.target, "strategy": "postgres", "container": "c1"}
    return OwedUndo.model_validate({**facts, "keys": (UNDER_WAY.target,), "commands": (("psql", "undo"),), **more})


def test_what_nothing_had_been_done_for_is_undone_already(world: World) -> None:
    world.catalog.keep(UNDER_WAY)
    world.restores.recover()
    report = world.restores.report(UNDER_WAY.id)
    assert report.undone
    assert report.failure
    assert "nothing had been changed" in report.failure.message


def test_what_a_dead_sidecar_left_half_done_keeps_its_target_from_being_backed_up_while_the_engine_is_away(
    world: World, http: httpx.Client, run: str
) -> None:
    world.catalog.keep(UNDER_WAY)
    journal.write(world.folder / "work" / "restores" / "owed" / f"{UNDER_WAY.id}.json", owed())

    world.restores.recover()
    world.restores.look()

    assert is_problem(http.post(f"{DB}/runs"), 409, "restore-in-progress")
    assert is_problem(http.post(f"{DB}/restore"), 409, "restore-in-progress")
    report = world.restores.report(UNDER_WAY.id)
    assert (report.state, report.undone) == ("interrupted", False)


def test_what_an_earlier_release_kept_beside_the_catalog_is_taken_into_it_and_goes(
    world: World, http: httpx.Client
) -> None:
    ended = UNDER_WAY.model_copy(update={"id": "20260301T020000Z-1a2b3c4d", "state": "succeeded"})
    folder = world.folder / "work" / "restores"
    for report in (UNDER_WAY, ended):
        journal.write(folder / f"{report.id}.json", report)
    journal.write(world.folder / "work" / "restores" / "owed" / f"{UNDER_WAY.id}.json", owed())

    world.restores.recover()

    first, second = http.get("/v1/restores").json()["restores"]
    assert (first["id"], first["state"], second["id"]) == (UNDER_WAY.id, "interrupted", ended.id)
    assert world.catalog.last_of(Restoration, ended.run) == world.restores.report(UNDER_WAY.id)
    assert [path.name for path in folder.iterdir()] == ["owed"]


def test_a_restore_that_is_owed_something_is_settled_though_its_report_was_lost_with_the_catalog(
    tmp_path: Path,
) -> None:
    owing = owed()
    journal.write(tmp_path / "work" / "restores" / "owed" / f"{owing.restore}.json", owing)
    with closing(World(tmp_path)) as world:
        world.planner.again = lambda *_: None  # The container is no more.
        world.restores.recover()
        with pytest.raises(RestoreUnderWay):
            world.start(UNDER_WAY.target, "api")
        world.restores.look()
        assert world.start(UNDER_WAY.target, "api").future.result(10).stored
