"""What is gone is let go of when somebody says so; on a real store and a real catalog, as the API tells it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some

from config.target import Retention
from controller.app.recovery import enter_manifests
from controller.core.key import Key
from controller.core.run import Report
from controller.storage import marks
from controller.targets.target import Target
from controller.upkeep.clock_watch import ClockWatch
from controller.upkeep.forgetting import FILE, LastKnown, Written
from tests.kit.world import POSTGRES, World, is_problem, local, serving

KEY = Key(project="shop", service="db")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MONTH = {"backup.retention.keep-within": "0s", "backup.retention.max-age": "30d"}


class Shop(World):
    """A sidecar that lists what its inventory has taken, at a time that the test sets."""

    def __init__(self, folder: Path, **services: dict[str, str]) -> None:
        self.now = NOW
        super().__init__(folder, services=services)
        self.clock_watch = ClockWatch(self.workdir, self.clock, self.steady)
        self.content = {"shop.pgdump": b"all rows of the shop"}
        self.look()

    def clock(self) -> datetime:
        return self.now

    def steady(self) -> float:
        return self.now.timestamp()

    def targets(self) -> list[Target]:
        return self.inventory.targets()

    def find(self) -> None:
        """Look at the engine."""
        scope = self.scope()
        assert scope
        self.inventory.take(scope, {str(target.key): target for target in super().targets()})

    def look(self) -> None:
        """At the engine, then at what follows from that."""
        self.find()
        self.forgetting.look()
        self.expectations.look()

    def past(self, days: int, **fields: object) -> Report:
        """A run of so many days ago, in the store."""
        when = NOW - timedelta(days=days)
        report = Report(
            id=f"{when:%Y%m%dT%H%M%SZ}-0a1b2c3d", target=KEY, state="succeeded", trigger="schedule", created=when
        )
        with self.store.draft(KEY, report.id) as draft:
            for name, data in self.content.items():
                with draft.open(name) as file:
                    file.write(data)
            manifest = self.manifest(report)
            draft.publish(manifest)
        report = report.model_copy(update={"artifacts": manifest.artifacts, "size": manifest.size, **fields})
        self.catalog.put(report)
        return report

    @property
    def listed(self) -> list[str]:
        return [report.id for report in self.catalog.stored(KEY)]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Whose `db` is gone, and has three runs; `web` goes on."""
    running = Shop(tmp_path, db=POSTGRES | MONTH, web=POSTGRES)
    for days in (0, 20, 40):
        running.past(days)
    del running.services["db"]
    running.look()
    with serving(running):
        yield running


@pytest.fixture
def api(shop: Shop) -> Iterator[httpx.Client]:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(shop.socket)), base_url="http://sidecar") as connection:
        yield connection


def again(shop: Shop) -> Shop:
    """The same work folder after a restart."""
    shop.catalog.close()
    shop.store.release()
    (shop.folder / "config").rename(shop.folder / f"config-{len(list(shop.folder.iterdir()))}")
    restarted = Shop(shop.folder, **shop.services)
    restarted.now = shop.now
    return restarted


def judged(api: httpx.Client) -> set[str]:
    """Keys that the verdict is about."""
    return {target["key"] for target in api.get("/v1/status").json()["targets"]}


def forget(api: httpx.Client, what: str = "targets/shop/db", **query: bool) -> Any:
    answer = api.post(f"/v1/{what}/forget", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_forgotten_target_is_off_the_verdict_and_its_runs_stay(shop: Shop, api: httpx.Client) -> None:
    assert judged(api) == {"shop/db", "shop/web"}
    runs = shop.listed

    told = forget(api)

    assert judged(api) == {"shop/web"}
    assert [target["key"] for target in api.get("/v1/targets").json()["targets"]] == ["shop/web"]
    assert [run["run"] for run in told["runs"]] == shop.listed == runs
    assert (told["deleted"], told["errors"]) == ([], [])
    assert told["retention"] | {"keep-within": "0s", "max-age": "30d"} == told["retention"]
    shop.look()
    assert judged(api) == {"shop/web"}


def test_a_dry_run_changes_nothing(shop: Shop, api: httpx.Client) -> None:
    told = forget(api, dry_run=True, delete=True)

    assert (told["dry_run"], told["deleted"]) == (True, shop.listed)
    shop.look()
    assert not shop.is_forgotten(KEY)
    assert judged(api) == {"shop/db", "shop/web"}
    assert not shop.catalog.deleted()


def test_it_stays_forgotten_over_a_restart_and_is_taken_up_again_when_it_returns(shop: Shop, api: httpx.Client) -> None:
    forget(api)

    restarted = again(shop)
    assert restarted.is_forgotten(KEY)
    restarted.services["db"] = POSTGRES
    restarted.look()
    assert not restarted.is_forgotten(KEY)
    del restarted.services["db"]
    restarted.look()

    with serving(restarted) as server, local(server) as own:
        assert judged(own) == {"shop/db", "shop/web"}


def test_what_is_there_cannot_be_forgotten_nor_what_never_was(shop: Shop, api: httpx.Client) -> None:
    answer = api.post("/v1/targets/shop/web/forget")
    assert is_problem(answer, 409, "not-gone")
    assert "backup.enable=false" in answer.json()["hint"]
    answer = api.post("/v1/targets/shop/dp/forget")
    assert is_problem(answer, 404, "unknown-target")
    assert "shop/db" in answer.json()["hint"]


def test_the_runs_of_a_target_that_has_opted_out_can_be_deleted(shop: Shop, api: httpx.Client) -> None:
    shop.services["db"] = POSTGRES | {"backup.enable": "false"}
    shop.look()

    deleted = forget(api, delete=True)["deleted"]
    assert deleted == [run.id for run in reversed(shop.catalog.deleted())]
    assert not shop.listed
    told = api.post("/v1/targets/shop/db/restore", params={"dry_run": True}).json()
    assert f"{len(deleted)} that can be brought back" in told["detail"]
    assert f"`backup-sidecar undelete {deleted[0]}`" in told["hint"]
    assert api.get("/v1/targets").json()["targets"][0]["state"] == "disabled"


def test_deleting_is_soft_takes_the_last_good_run_too_and_leaves_what_is_pinned(shop: Shop, api: httpx.Client) -> None:
    newest, pinned, oldest = shop.listed
    assert api.put(f"/v1/runs/{pinned}/pin").is_success

    told = forget(api, delete=True)

    assert (told["deleted"], told["errors"]) == ([newest, oldest], [])
    assert shop.listed == [pinned]
    assert api.post(f"/v1/runs/{newest}/undelete").is_success
    assert shop.listed == [newest, pinned]


def test_the_runs_age_by_the_last_known_retention_also_after_a_restart(shop: Shop, api: httpx.Client) -> None:
    newest, younger, oldest = shop.listed
    forget(api)
    restarted = again(shop)
    for hours in range(26):  # Until the clock is trusted.
        restarted.now = NOW + timedelta(hours=hours)
        restarted.pruner.look()

    assert restarted.listed == [newest, younger]
    assert [run.id for run in restarted.catalog.deleted()] == [oldest]
    with serving(restarted) as server, local(server) as own:
        for query in ({}, {"target": str(KEY)}):
            shown = own.post("/v1/prune", params={"dry_run": "true"} | query).json()["runs"]
            assert [row["run"] for row in shown] == [newest, younger]
        assert is_problem(own.post("/v1/prune", params={"target": "shop/never"}), 404, "unknown-target")


def test_the_runs_of_a_target_that_is_back_go_by_its_own_rules_at_once(shop: Shop, api: httpx.Client) -> None:
    forget(api)
    assert [aging.key for aging in shop.aging()] == [KEY]
    shop.services["db"] = POSTGRES
    shop.find()
    assert shop.aging() == []


def test_without_being_forgotten_nothing_goes_of_what_is_gone(shop: Shop) -> None:
    runs = shop.listed
    restarted = again(shop)
    for hours in range(26):
        restarted.now = NOW + timedelta(hours=hours)
        restarted.pruner.look()
    assert restarted.listed == runs


@pytest.mark.parametrize("rules", ['{"keep-fortnightly": 3}', '{"max-age": "soon"}', "null"])
def test_where_the_retention_is_not_understood_nothing_goes(shop: Shop, api: httpx.Client, rules: str) -> None:
    runs = shop.listed
    text = f'{{"targets": {{"shop/db": {{"retention": {rules}, "forgotten": "2026-04-30T12:00:00.000Z"}}}}}}'
    (shop.workdir / FILE).write_text(text)
    restarted = again(shop)
    assert restarted.is_forgotten(KEY)
    assert restarted.aging() == []
    assert restarted.listed == runs


COUNTS = ("keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly")


@given(
    some.dictionaries(some.sampled_from(COUNTS), some.sampled_from(["none", "1", "30"])),
    some.dictionaries(some.sampled_from(["keep-within", "max-age"]), some.sampled_from(["1h30m", "2d", "1w"])),
)
def test_a_retention_is_read_as_it_was_written_and_what_nobody_set_stays_unset(
    counts: dict[str, str], spans: dict[str, str]
) -> None:
    known = LastKnown(Retention.model_validate(counts | spans), "Europe/Madrid", NOW)
    read = Written.model_validate_json(Written.of(known).model_dump_json(), strict=True).known()
    assert read == known
    assert read.retention
    assert read.retention.keeps_within is ("keep-within" in spans)


def test_a_damaged_run_is_forgotten_until_it_is_whole_again(shop: Shop, api: httpx.Client) -> None:
    run = shop.listed[0]
    artifact = shop.artifact(run, "shop.pgdump")
    content = artifact.read_bytes()
    artifact.write_bytes(b"X" + content[1:])
    assert api.post(f"/v1/runs/{run}/verify").json()["damaged"]
    assert [damaged["run"] for damaged in api.get("/v1/status").json()["damaged"]] == [run]

    assert forget(api, f"runs/{run}", dry_run=True)["forgotten"]
    assert api.get("/v1/status").json()["damaged"] != []
    told = forget(api, f"runs/{run}")

    assert told["forgotten"] == "2026-05-01T12:00:00.000Z"
    assert api.get("/v1/status").json()["damaged"] == []
    assert marks.report(shop.store, shop.store.manifest(KEY, run)).forgotten == NOW
    assert api.post(f"/v1/runs/{run}/verify").json()["forgotten"]
    assert run in shop.listed
    artifact.write_bytes(content)
    assert api.post(f"/v1/runs/{run}/verify").json()["forgotten"] is None
    assert marks.report(shop.store, shop.store.manifest(KEY, run)).forgotten is None


def test_a_lost_run_is_forgotten_until_it_is_there_again(shop: Shop, api: httpx.Client, tmp_path: Path) -> None:
    run = shop.listed[0]
    folder = shop.store.folder(KEY, run)
    folder.rename(tmp_path / "elsewhere")
    enter_manifests(shop)
    assert [damaged["run"] for damaged in api.get("/v1/status").json()["damaged"]] == [run]

    forget(api, f"runs/{run}")

    assert api.get("/v1/status").json()["damaged"] == []
    enter_manifests(shop)
    assert api.get("/v1/status").json()["damaged"] == []
    (tmp_path / "elsewhere").rename(folder)
    enter_manifests(shop)
    back = shop.catalog.get(run)
    assert (back.damaged, back.forgotten) == ("", None)
    rmtree(folder)
    enter_manifests(shop)
    assert [damaged["run"] for damaged in api.get("/v1/status").json()["damaged"]] == [run]
    assert forget(api, f"runs/{run}", delete=True)["pruned"]
    assert run not in shop.listed


def test_a_run_that_is_whole_cannot_be_forgotten(shop: Shop, api: httpx.Client) -> None:
    assert is_problem(api.post(f"/v1/runs/{shop.listed[0]}/forget"), 409, "not-gone")
    assert is_problem(api.post("/v1/runs/20260301T030000Z-1a2b3c4d/forget"), 404, "unknown-run")
