"""A client of contract v1 that was told to come back gets its backup when it does, once; whole exports lack nothing."""

import io
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic_core import from_json

from controller.api import exports
from controller.core.events import RunEnded
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.run import SAFETY, Report
from controller.storage.bundle import Bundle
from controller.targets.target import Target
from tests.kit.world import FILES, POSTGRES, World, client, is_problem, local, serving, utc_now

pytestmark = pytest.mark.thorough

KEY = Key(project="shop", service="db")
HASTY = "api: {respond-within: 1s}"
FIRST_NIGHT = datetime(2026, 5, 1, tzinfo=UTC)
DUMP = timedelta(seconds=400)


class Hasty(World):
    """Exports wait for a second; the clock stands where a test puts it, and targets stop when one says so."""

    def __init__(self, folder: Path, services: dict[str, dict[str, str]] | None = None, *, config: str = HASTY) -> None:
        self.now: datetime | None = None
        self.stopped: set[str] = set()
        super().__init__(folder, config=config, services=services)

    def clock(self) -> datetime:
        return self.now or utc_now()

    def targets(self) -> list[Target]:
        return [
            replace(target, state="absent") if target.key.service in self.stopped else target
            for target in super().targets()
        ]

    def quiet(self) -> None:
        """Wait until nothing runs."""
        deadline = time.monotonic() + 15
        while self.jobs.active():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def run(self, service: str = "db") -> str:
        """A run of somebody else's, whole."""
        return self.start(KEY.model_copy(update={"service": service}), "cli").future.result(timeout=15).id


@contextmanager
def asking(world: World) -> Iterator[httpx.Client]:
    with serving(world) as server, client(server) as http:
        yield http


@pytest.fixture
def world(tmp_path: Path) -> Hasty:
    return Hasty(tmp_path)


@pytest.fixture
def http(world: Hasty) -> Iterator[httpx.Client]:
    with asking(world) as connection:
        yield connection


def told_to_come_back(world: Hasty, http: httpx.Client, path: str = "/backup/export") -> str:
    """The run of an export that takes too long, which then ends."""
    world.go.clear()
    answer = http.post(path)
    assert is_problem(answer, 503, "export-under-way")
    world.go.set()
    world.quiet()
    return str(answer.json()["run"])


def exported(http: httpx.Client, path: str = "/backup/export") -> str:
    """Id of the run that an export gives."""
    answer = http.post(path)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Backup-Run"]


@pytest.fixture(autouse=True)
def nights_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody comes back so soon that the answer is still open for all."""
    monkeypatch.setattr("controller.api.exports.KEEP_SECONDS", 0.0)


# --- claims ---------------------------------------------------------------------------------------------------------


def test_who_was_told_to_come_back_gets_that_run_at_once_and_only_once(world: Hasty, http: httpx.Client) -> None:
    run = told_to_come_back(world, http)
    world.go.clear()  # A new run would not end.

    assert exported(http) == run
    world.go.set()
    assert exported(http) != run


def test_it_is_the_newest_good_run_whoever_started_it(world: Hasty, http: httpx.Client) -> None:
    told_to_come_back(world, http)
    later = world.run()

    assert exported(http) == later


def test_a_safety_backup_is_never_what_a_claim_gives(world: Hasty, http: httpx.Client) -> None:
    """It is of what was broken: the night's run is what the client had asked for."""
    run = told_to_come_back(world, http)
    world.start(KEY, SAFETY).future.result(timeout=15)
    assert exported(http) == run

    told_to_come_back(world, http)
    world.catalog.amend(world.run(), damaged="rotten")
    for report in world.catalog.stored(KEY):
        if report.trigger != SAFETY:
            world.catalog.amend(report.id, damaged="rotten")
    assert world.catalog.get(exported(http)).trigger == "export", "a new one"


def test_a_claim_outlives_the_process(tmp_path: Path) -> None:
    before = Hasty(tmp_path)
    with asking(before) as http:
        run = told_to_come_back(before, http)

    after = Hasty(tmp_path)
    with asking(after) as http:
        assert exported(http) == run
        after.quiet()
    with asking(last := Hasty(tmp_path)) as http:
        assert exported(http) != run
        assert len(last.catalog.runs()) == 2


def test_a_claim_is_of_one_client_and_one_path(world: Hasty) -> None:
    with serving(world) as server, client(server) as http, local(server) as other:
        run = told_to_come_back(world, http)

        assert exported(other) != run
        assert exported(http, "/targets/shop/db/backup/export") != run
        world.failure = Failure(code="stalled", message="no byte came")
        assert exported(http) != run, "the newest"
        assert http.post("/backup/export").status_code == 500, "and no more"


def test_a_download_that_was_cut_leaves_the_claim(world: Hasty) -> None:
    world.content = {"big.zst": bytes(20_000_000)}
    with serving(world) as server:
        with client(server) as http:
            run = told_to_come_back(world, http)
        with client(server) as http, http.stream("POST", "/backup/export") as response:
            assert response.headers["X-Backup-Run"] == run
            next(response.iter_raw())
        time.sleep(0.3)
        with client(server) as http:
            assert exported(http) == run


def test_a_run_that_failed_leaves_the_claim_for_the_next_good_one(world: Hasty, http: httpx.Client) -> None:
    world.failure = Failure(code="stalled", message="no byte came")
    told_to_come_back(world, http)
    assert http.post("/backup/export").status_code == 500
    world.failure = None
    good = world.run()
    world.go.clear()

    assert exported(http) == good


def test_who_fetched_it_from_where_it_lies_has_nothing_to_claim(world: Hasty, http: httpx.Client) -> None:
    run = told_to_come_back(world, http)
    assert http.get(f"/v1/runs/{run}/artifacts").is_success

    assert exported(http) != run


def test_beside_a_run_that_is_older_than_twelve_hours_a_new_one_begins_and_is_claimed(
    world: Hasty, http: httpx.Client
) -> None:
    world.now = FIRST_NIGHT
    first = told_to_come_back(world, http)
    world.now += timedelta(hours=12, seconds=1)
    world.go.clear()

    assert exported(http) == first
    (beside,) = [job.id for job in world.jobs.active()]
    world.go.set()
    world.quiet()
    world.now += timedelta(hours=12)
    world.go.clear()
    assert exported(http) == beside
    assert not world.jobs.active(), "it is not older than twelve hours"


def test_a_new_run_begins_beside_it_also_while_the_old_one_is_still_packed(
    world: Hasty, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs, first_time = exports.of_runs, threading.Lock()
    go_on = threading.Event()

    def slow_at_first(*args: Any, **options: Any) -> Bundle:
        if first_time.acquire(blocking=False):
            assert go_on.wait(15)
        return packs(*args, **options)

    monkeypatch.setattr(exports, "of_runs", slow_at_first)
    world.now = FIRST_NIGHT
    first = told_to_come_back(world, http)
    world.now += timedelta(hours=12, seconds=1)
    world.go.clear()

    assert exported(http) == first
    go_on.set()
    assert [job.id for job in world.jobs.active()] > [first]


def test_a_run_that_is_only_suspicious_is_given_and_said_to_be(world: Hasty, http: httpx.Client) -> None:
    world.suspicious = ("it has shrunk",)
    run = told_to_come_back(world, http)
    world.go.clear()

    answer = http.post("/backup/export")

    assert (answer.headers["X-Backup-Run"], answer.headers["X-Backup-Suspicious"]) == (run, "it has shrunk")


def test_an_orchestrator_that_only_fetches_what_it_may_claim_has_come(tmp_path: Path) -> None:
    orchestrator = "orchestrator: {url: 'http://orchestrator:5550', key: {secret: ORCHESTRATOR_KEY}}"
    world = Hasty(tmp_path, config=f"{HASTY}\n{orchestrator}\n")
    with asking(world) as http:
        told_to_come_back(world, http)
        world.now = utc_now() + timedelta(hours=27)
        assert not world.attendance.is_awaited

        exported(http)
        assert world.attendance.is_awaited


def test_a_claims_file_that_is_none_keeps_nothing_from_starting(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/claims.json").write_text('{"schema": 1, "claims": {"x": {"since": {}}}}')
    with asking(Hasty(tmp_path)) as http:
        assert exported(http)
    assert list((tmp_path / "work").glob("claims.json.bad-*"))


def test_a_503_says_how_long_it_waited_for_a_slot(tmp_path: Path) -> None:
    world = Hasty(tmp_path, services=dict.fromkeys(("a", "b", "c", "d", "e"), FILES))
    world.go.clear()
    with asking(world) as http, ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(http.post, [f"/targets/shop/{name}/backup/export" for name in "abcde"]))
        world.go.set()
    assert all(is_problem(answer, 503, "export-under-way") for answer in answers)
    *prompt, kept_waiting = sorted((answer.json() for answer in answers), key=lambda told: told["slot_seconds"])
    assert all(told["slot_seconds"] < 0.5 for told in prompt)
    assert kept_waiting["slot_seconds"] >= 0.5
    assert f"waited {round(kept_waiting['slot_seconds'])}s for a slot" in kept_waiting["detail"]


SCHEDULES = {"before": "0 3 * * *", "after": "0 5 * * *", "at-once": "0 4 * * *", "none": "none"}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_client_that_comes_nightly_and_waits_for_five_minutes_has_a_backup_each_night(
    schedule: str, tmp_path: Path
) -> None:
    """The dump takes 400 s of the world's clock, which is longer than any request may wait."""
    world = Hasty(tmp_path, services={"db": POSTGRES | {"backup.schedule": schedule}})
    world.events.subscribe(RunEnded, world.pruner.run_ended)
    ages = []
    with asking(world) as http:
        for night in range(8):
            for hour in (3, 4, 5):
                world.now = FIRST_NIGHT + timedelta(days=night, hours=hour)
                world.go.clear()
                world.scheduler.look()
                answer = http.post("/backup/export") if hour == 4 else None
                if answer is not None:
                    ages.append(age(answer, world.now))
                world.now += DUMP
                world.go.set()
                world.quiet()
                world.pruner.look()
    assert ages[0] is None, "the first time nothing is there that was asked for"
    assert all(found is not None and found < timedelta(hours=25) for found in ages[1:]), ages


def age(answer: httpx.Response, now: datetime) -> timedelta | None:
    """Of the backup that came; None where none did."""
    if answer.status_code == 503:
        return None
    assert answer.status_code == 200, answer.text
    return now - Report(id=answer.headers["X-Backup-Run"], target=KEY, state="queued", trigger="", created=now).time


# --- exports of everything ------------------------------------------------------------------------------------------


PROMISED = {"backup.schedule": "none", "backup.expect.max-age": "2h"}


def shop(folder: Path) -> Hasty:
    return Hasty(folder, services={"db": POSTGRES, "web": FILES | PROMISED})


def manifests(data: bytes) -> dict[str, dict[str, object]]:
    """By the target's key."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar if member.name.endswith("json")}  # type: ignore[union-attr]
    return {name.rpartition("/")[0].rpartition("/")[0]: from_json(data) for name, data in found.items()}


def test_a_stopped_target_is_in_the_export_by_its_last_good_run_and_that_is_said(tmp_path: Path) -> None:
    world = shop(tmp_path)
    with asking(world) as http:
        older = world.run("web")
        world.stopped = {"web"}

        answer = http.post("/backup/export")

        assert answer.headers["X-Backup-Older"] == "shop/web"
        assert older in answer.headers["X-Backup-Run"].split(",")
        found = manifests(answer.content)
        assert set(found) == {"shop/db", "shop/web"}
        assert found["shop/web"]["run"] == older
        assert "stopped" in str(found["shop/web"]["older"])
        assert "older" not in found["shop/db"]
        again = http.get(answer.headers["Content-Location"])
        assert (again.content, again.headers["X-Backup-Older"]) == (answer.content, "shop/web")
        world.stopped = set()
        assert "X-Backup-Older" not in http.post("/backup/export").headers


@pytest.mark.parametrize("age", ["never", "too old"])
def test_a_stopped_target_without_a_run_that_is_young_enough_is_named(age: str, tmp_path: Path) -> None:
    world = shop(tmp_path)
    with asking(world) as http:
        if age == "too old":
            world.run("web")
        world.stopped, world.now = {"web"}, utc_now() + timedelta(hours=3)

        answer = http.post("/backup/export")

        assert is_problem(answer, 409, "unsuitable")
        why = "its last good run is 3h old" if age == "too old" else "there is no good run of it"
        assert f"shop/web is stopped, and {why}" in answer.json()["detail"]
        assert "`backup-sidecar forget shop/web`" in answer.json()["hint"]
        assert not world.catalog.runs(KEY), "nothing is begun for an answer that is a refusal"


def test_without_any_promise_the_run_of_a_stopped_target_counts_for_36_hours(tmp_path: Path) -> None:
    world = Hasty(tmp_path, services={"db": POSTGRES, "web": FILES | {"backup.schedule": "none"}})
    with asking(world) as http:
        world.run("web")
        world.stopped, world.now = {"web"}, utc_now() + timedelta(hours=35)
        assert http.post("/backup/export").headers["X-Backup-Older"] == "shop/web"
        world.now += timedelta(hours=2)
        assert is_problem(http.post("/backup/export"), 409, "unsuitable")


def test_what_is_claimed_of_everything_has_the_stopped_ones_too(tmp_path: Path) -> None:
    world = shop(tmp_path)
    with asking(world) as http:
        runs = set(told_to_come_back(world, http).split(","))
        world.stopped = {"web"}
        world.go.clear()

        answer = http.post("/backup/export")

        assert set(answer.headers["X-Backup-Run"].split(",")) == runs
        assert answer.headers["X-Backup-Older"] == "shop/web"
