"""The queue of drills, what is remembered of them, and how they are told."""

import contextlib
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.core.activity import Activity
from controller.core.drill import Drill
from controller.core.errors import Busy, ContainersForbidden, Stopping, UnknownRun
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.run import new_run_id
from controller.drill.drills import Drills
from controller.upkeep.drill_schedule import DrillSchedule
from tests.kit.world import POSTGRES, TOKENS, World, client, is_problem, local, serving

KEY = Key(project="shop", service="db")


class Rehearsals:
    """Executes drills by waiting for `go`; they pass unless `failure` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.failure: Failure | None = None
        self.cancelled = False

    def __call__(self, activity: Activity[Drill]) -> Drill:
        while not self.go.wait(0.02) and not activity.cancelled:
            pass
        self.cancelled = activity.cancelled
        ended = {"state": "failed" if self.failure else "passed", "failure": self.failure}
        return activity.report.model_copy(update=ended | {"finished": datetime.now(UTC), "seconds": 0.1})


@pytest.fixture
def world(tmp_path: Path) -> Any:
    found = World(tmp_path)
    found.run = found.jobs.start(KEY, "cli").future.result(10).id
    yield found
    found.close()


def drills(world: Any, execute: Rehearsals, *, allowed: bool = True) -> Drills:
    return Drills(execute, world.catalog, world.store, world.events, allowed=allowed)


def ended(queue: Drills, drill: Drill) -> Drill:
    if activity := queue.active(drill.id):
        activity.future.result(10)
    return queue.report(drill.id)


def test_without_the_operators_leave_there_is_no_drill(world):
    with pytest.raises(ContainersForbidden) as refused:
        drills(world, Rehearsals(), allowed=False).start(KEY, "cli")
    assert "policy.create-containers" in refused.value.hint


def test_the_last_good_run_is_rehearsed_and_the_outcome_lies_beside_its_manifest(world):
    queue = drills(world, Rehearsals())
    outcome = ended(queue, queue.start(KEY, "cli"))
    assert (outcome.state, outcome.run) == ("passed", world.run)
    written = json.loads((world.store.folder(KEY, world.run) / "drill.json").read_text())
    assert (written["id"], written["state"]) == (outcome.id, "passed")


def test_a_target_without_a_good_run_has_nothing_to_rehearse(world):
    with pytest.raises(UnknownRun):
        drills(world, Rehearsals()).start(Key(project="shop", service="other"), "cli")


def test_a_run_that_is_not_there_is_refused_at_once(world):
    with pytest.raises(UnknownRun):
        drills(world, Rehearsals()).start(KEY, "cli", "20260101T000000Z-00000000")


def test_a_target_has_one_drill_at_a_time(world):
    execute = Rehearsals()
    execute.go.clear()
    queue = drills(world, execute)
    first = queue.start(KEY, "cli")
    with pytest.raises(Busy) as refused:
        queue.start(KEY, "cli")
    assert refused.value.run == first.id
    execute.go.set()
    queue.stop()


def test_at_the_end_a_drill_is_cancelled_and_no_other_is_taken(world):
    execute = Rehearsals()
    execute.go.clear()
    queue = drills(world, execute)
    queue.start(KEY, "cli")
    queue.stop()
    assert execute.cancelled
    with pytest.raises(Stopping):
        queue.start(KEY, "cli")


def test_the_last_good_drill_is_remembered_beyond_a_failure_a_restart_and_its_run(world):
    execute = Rehearsals()
    queue = drills(world, execute)
    good = ended(queue, queue.start(KEY, "cli"))
    execute.failure = Failure(code="check-failed", message="the check ended with exit code 1")
    again = drills(world, execute)
    bad = ended(again, again.start(KEY, "schedule"))
    world.store.purge(KEY, world.run)
    last, last_good = world.catalog.last_drill(KEY), world.catalog.last_drill(KEY, good=True)
    assert last
    assert last_good
    assert (last.id, last_good.id) == (bad.id, good.id)
    assert last.failure == execute.failure
    assert not world.store.folder(KEY, world.run).exists()


def test_every_drill_is_known_by_its_id_and_each_target_s_last_one_by_the_catalog(world):
    queue = drills(world, Rehearsals())
    first, second = queue.start(KEY, "cli"), None
    while second is None:
        with contextlib.suppress(Busy):
            second = queue.start(KEY, "api")
    queue.stop()
    assert queue.report(first.id).passed
    assert queue.report(second.id).trigger == "api"
    assert world.catalog.last_drill(KEY) == world.catalog.last_of(Drill, world.run) == queue.report(second.id)


def test_a_drill_whose_sidecar_died_is_interrupted_and_the_last_good_one_stays(world):
    good = ended(queue := drills(world, Rehearsals()), queue.start(KEY, "cli"))
    dying = good.model_copy(update={"id": new_run_id(datetime.now(UTC)), "state": "running", "finished": None})
    world.catalog.keep(dying)
    assert world.catalog.last_drill(KEY) == good, "one that is under way has no outcome"

    later = drills(world, Rehearsals())
    later.recover()

    assert (world.catalog.last_drill(KEY).id, world.catalog.last_drill(KEY).state) == (dying.id, "interrupted")
    assert world.catalog.last_drill(KEY).failure.hint
    assert world.catalog.last_drill(KEY, good=True) == good


def test_nothing_is_remembered_of_a_target_that_was_never_drilled(world):
    assert (world.catalog.last_drill(KEY), world.catalog.last_drill(KEY, good=True)) == (None, None)


def test_an_outcome_does_not_bring_back_the_folder_of_a_run_that_was_deleted_meanwhile(world):
    execute = Rehearsals()
    execute.go.clear()
    queue = drills(world, execute)
    drill = queue.start(KEY, "cli")
    folder = world.store.folder(KEY, world.run)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    execute.go.set()
    assert ended(queue, drill).passed
    assert not folder.exists()


def test_a_drill_is_started_asked_about_and_told_by_the_api(tmp_path: Path):
    world = World(tmp_path)
    with serving(world) as server, client(server, token=TOKENS["admin"]) as http:
        run = http.post("/v1/targets/shop/db/runs").json()["id"]
        world.jobs.job(run).future.result(10) if world.jobs.job(run) else None
        answer = http.post("/v1/targets/shop/db/drills")
        assert answer.status_code == 202
        drill = answer.json()
        assert (drill["run"], drill["key"], drill["trigger"]) == (run, "shop/db", "api")
        address = answer.headers["location"]
        for _ in range(100):
            if http.get(address).json()["state"] == "passed":
                break
            threading.Event().wait(0.05)
        told = http.get("/v1/targets/shop/db").json()
        assert told["last_drill"]["id"] == told["last_good_drill"]["id"] == drill["id"]
        assert 'backup_last_drill_timestamp_seconds{target="shop/db"}' in http.get("/metrics").text
        proof = http.get("/v1/targets/shop/db/proof").json()
        assert (proof["run"], proof["proof"], proof["drill"]["state"]) == (run, "full", "passed")
        assert proof["artifacts"][0]["sha256"]
        with local(server) as cli:
            assert cli.post("/v1/targets/shop/db/drills").json()["trigger"] == "cli"


def test_drills_are_listed_and_cancelled_as_runs_and_restores_are(tmp_path: Path):
    world = World(tmp_path, services={"db": POSTGRES, "web": POSTGRES})
    for service in ("db", "web"):
        world.jobs.start(Key(project="shop", service=service), "cli").future.result(10)
    world.go.clear()
    with serving(world) as server, client(server, token=TOKENS["admin"]) as http:
        going, queued = (http.post(f"/v1/targets/shop/{service}/drills").json()["id"] for service in ("db", "web"))
        while http.get(f"/v1/drills/{going}").json()["state"] != "running":
            threading.Event().wait(0.01)

        assert [one["state"] for one in http.get("/v1/drills").json()["drills"]] == ["queued", "running"]
        page = http.get("/v1/drills", params={"limit": 1}).json()
        assert ([one["id"] for one in page["drills"]], page["next"]) == ([queued], queued)
        assert [one["id"] for one in http.get("/v1/drills", params={"target": "shop/db"}).json()["drills"]] == [going]

        for drill in (queued, going):
            assert http.post(f"/v1/drills/{drill}/cancel").status_code == 202
            while not (ended := http.get(f"/v1/drills/{drill}").json())["finished"]:
                threading.Event().wait(0.01)
            assert ended["state"] == "cancelled"
            assert is_problem(http.post(f"/v1/drills/{drill}/cancel"), 409, "drill-has-ended")
        assert is_problem(http.post("/v1/drills/none/cancel"), 404, "unknown-run")


@pytest.mark.parametrize(
    ("last", "now", "is_due"),
    [
        (None, "2026-03-01T23:59:00Z", False),
        (None, "2026-03-02T00:00:00Z", True),
        ("2026-03-02T00:00:01Z", "2026-03-08T23:59:00Z", False),
        ("2026-03-02T00:00:01Z", "2026-03-30T12:00:00Z", True),
    ],
)
def test_a_drill_is_due_by_its_schedule_since_the_last_one_or_the_oldest_run(
    last: str | None, now: str, is_due: bool, tmp_path: Path
):
    labels = {"backup.enable": "true", "backup.strategy": "postgres", "backup.drill.schedule": "0 0 * * 1"}
    world = World(tmp_path, config="policy: {create-containers: true}\n", services={"db": labels})
    run = world.jobs.start(KEY, "cli").future.result(10)
    world.catalog.put(run.model_copy(update={"created": datetime(2026, 2, 26, tzinfo=UTC)}))
    queue = drills(world, Rehearsals())
    if last:
        created = datetime.fromisoformat(last)
        queue._keep(Drill(id=run.id, target=KEY, run=run.id, state="failed", trigger="cli", created=created))
    DrillSchedule(queue, world.catalog, world.targets, clock=lambda: datetime.fromisoformat(now)).look()
    queue.stop()
    found = world.catalog.last_drill(KEY)
    assert (found is not None and found.trigger == "schedule") == is_due
    world.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/targets/shop/nowhere/drills", 404, "unknown-target"),
        ("POST", "/v1/targets/shop/db/drills", 404, "unknown-run"),
        ("POST", "/v1/targets/shop/db/drills?run=..%2f..", 404, "unknown-run"),
        ("GET", "/v1/targets/shop/db/proof", 404, "unknown-run"),
        ("GET", "/v1/drills/x", 404, "unknown-run"),
    ],
)
def test_what_is_not_there_is_a_problem(method: str, path: str, status: int, code: str, tmp_path: Path):
    with serving(World(tmp_path)) as server, client(server, token=TOKENS["admin"]) as http:
        assert is_problem(http.request(method, path), status, code)
