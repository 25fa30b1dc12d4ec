"""What is deleted and what is left alone, on a real store and a real catalog."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from controller.core.errors import InUse, LastGood, StoreError, UnknownRun
from controller.core.events import RunEnded
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.core.run import Report
from controller.storage.leases import Leases
from controller.upkeep.clock import LONGEST_GAP, SETTLING_TIME, Trust
from controller.upkeep.clock_watch import FILE, ClockWatch
from controller.upkeep.pruner import Pruner
from controller.upkeep.retention import FUTURE, UNTRUSTED
from tests.kit.world import POSTGRES, TOKENS, World, client, is_problem, local, serving
from tests.unit.storage.test_catalog_disk import fill, full

KEY = Key(project="shop", service="db")
LAST_TWO = POSTGRES | {
    "backup.retention.keep-within": "0s",
    "backup.retention.keep-last": "2",
    "backup.retention.keep-daily": "none",
    "backup.retention.keep-weekly": "none",
}
TWENTY_DAYS = POSTGRES | {"backup.retention.keep-within": "0s", "backup.retention.max-age": "20d"}
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class History(World):
    """A world with runs of the past, whose clock the test sets."""

    def __init__(self, folder: Path, labels: dict[str, str] | None = None, *, nights: int = 4) -> None:
        super().__init__(folder, services={"db": labels or LAST_TWO})
        self.now = NOW
        self.restart()
        self.runs = [self.past(NOW - timedelta(days=back)) for back in range(nights)]
        """Newest first."""

    def clock(self) -> datetime:
        return self.now

    def steady(self) -> float:
        return self.now.timestamp()

    def restart(self) -> None:
        self.pruner = Pruner(
            self.store,
            self.catalog,
            self.leases,
            self.targets,
            ClockWatch(self.folder / "work", self.clock, self.steady),
            policy=lambda: self.loaded.settings.policy,
            clock=self.clock,
        )

    def past(self, when: datetime, key: Key = KEY, **marks: object) -> Report:
        report = Report(
            id=f"{when:%Y%m%dT%H%M%SZ}-0a1b2c3d", target=key, state="succeeded", trigger="schedule", created=when
        )
        with self.store.draft(key, report.id) as draft:
            for name, data in self.content.items():
                with draft.open(name) as file:
                    file.write(data)
            manifest = self.manifest(report)
            draft.publish(manifest)
        report = report.model_copy(update={"artifacts": manifest.artifacts, "size": manifest.size, **marks})
        self.catalog.put(report)
        return report

    @property
    def on_disk(self) -> list[str]:
        return sorted(
            (found.run for found in self.store.manifests() if not isinstance(found, StoreError)), reverse=True
        )

    @property
    def deleted(self) -> list[str]:
        """On the disk, and as the catalog has it."""
        told = [run.id for run in self.catalog.deleted()][::-1]
        assert told == sorted(
            (found.run for found in self.store.deleted() if isinstance(found, Manifest)), reverse=True
        )
        return told

    @property
    def listed(self) -> list[str]:
        return [report.id for report in self.catalog.stored(KEY)]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def ids(*reports: Report) -> list[str]:
    return [report.id for report in reports]


def test_what_no_rule_keeps_leaves_the_store_and_stays_as_history(history: History) -> None:
    history.pruner.look()
    assert history.on_disk == history.listed == ids(*history.runs[:2])
    gone = history.catalog.get(history.runs[3].id)
    told = (gone.state, gone.pruned, gone.cause, gone.size)
    assert told == ("succeeded", NOW, "none of keep-last 2 keeps it", history.runs[3].size)
    assert [report.id for report in history.catalog.runs(KEY)] == ids(*history.runs)


def test_a_dry_run_deletes_nothing_and_says_what_keeps_each_run(history: History) -> None:
    found = history.pruner.prune(history.targets()[0], dry_run=True)
    assert [outcome.verdict.rules for outcome in found] == [("keep-last", "newest good run"), ("keep-last",), (), ()]
    assert history.on_disk == ids(*history.runs)


def test_a_target_is_pruned_after_each_good_run_and_all_of_them_once_a_day(history: History) -> None:
    history.pruner.look()
    history.past(NOW + timedelta(hours=1))
    history.now = NOW + timedelta(hours=2)
    history.pruner.look()
    assert len(history.on_disk) == 3
    history.pruner.run_ended(RunEnded(history.runs[0].model_copy(update={"state": "failed"})))
    history.pruner.look()
    assert len(history.on_disk) == 3
    history.pruner.run_ended(RunEnded(history.runs[0]))
    history.pruner.look()
    assert len(history.on_disk) == 2
    history.past(NOW + timedelta(hours=2))
    history.now = NOW + timedelta(days=1)
    history.pruner.look()
    assert len(history.on_disk) == 2


def test_a_run_by_hand_and_a_second_restore_delete_nothing_that_somebody_may_need(tmp_path: Path) -> None:
    history = History(tmp_path, POSTGRES)
    for minutes, trigger in enumerate(("cli", "restore", "restore", "cli"), 1):
        history.past(NOW + timedelta(minutes=minutes), trigger=trigger)
    history.now = NOW + timedelta(hours=1)
    history.pruner.look()
    assert len(history.on_disk) == 8


def test_the_operator_says_how_long_what_a_restore_replaced_stays(history: History) -> None:
    saved = history.past(NOW - timedelta(days=2, hours=1), trigger="restore")
    for day in range(2):  # So that the clock is trusted.
        history.now = NOW + timedelta(days=day)
        history.pruner.look()
    assert saved.id in history.on_disk
    history.configure("policy: {safety: 3d}")
    history.pruner.prune(history.targets()[0])
    assert history.on_disk == ids(*history.runs[:2])


def test_targets_whose_settings_are_not_known_keep_everything(tmp_path: Path) -> None:
    history = History(tmp_path, LAST_TWO | {"backup.timeout": "10"})
    assert history.pruner.prune(history.targets()[0]) == []
    assert history.on_disk == ids(*history.runs)


def test_a_run_in_use_is_left_and_goes_the_next_time(history: History) -> None:
    with history.leases.held(history.runs[3].id):
        outcomes = history.pruner.prune(history.targets()[0])
        assert isinstance(outcomes[3].error, InUse)
        assert history.on_disk == ids(*history.runs[:2], history.runs[3])
    history.pruner.prune(history.targets()[0])
    assert history.on_disk == ids(*history.runs[:2])


def test_a_run_that_cannot_be_deleted_is_still_listed_whole(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise StoreError("no", hint="Look at the disk.")

    with monkeypatch.context() as patch:
        patch.setattr(history.store, "delete", refused)
        outcomes = history.pruner.prune(history.targets()[0])
    assert [outcome.deleted for outcome in outcomes] == [False] * 4
    assert history.listed == history.on_disk == ids(*history.runs)
    assert history.catalog.get(history.runs[3].id).artifacts == history.runs[3].artifacts


def test_a_full_disk_keeps_no_run_from_being_pruned(history: History) -> None:
    fill(history.catalog)
    history.pruner.prune(history.targets()[0])
    assert history.on_disk == ids(*history.runs[:2])
    full(history.catalog, yes=False)
    with pytest.raises(UnknownRun, match="deleted"):
        history.pruner.delete(history.catalog.get(history.runs[3].id), force=True)


# --- a wrong clock


def test_a_clock_that_was_set_back_deletes_nothing(history: History) -> None:
    history.now = NOW - timedelta(days=31)
    outcomes = history.pruner.prune(history.targets()[0])
    assert {outcome.verdict.rules for outcome in outcomes} == {(FUTURE,)}
    assert history.on_disk == ids(*history.runs)


def test_a_jump_ahead_lets_nothing_go_by_its_age_until_the_clock_has_settled(tmp_path: Path) -> None:
    history = History(tmp_path, TWENTY_DAYS)
    for day in range(2):
        history.now = NOW + timedelta(days=day)
        history.pruner.look()
    history.now = NOW + timedelta(days=31)
    history.restart()
    history.pruner.look()
    assert history.on_disk == ids(*history.runs)
    assert UNTRUSTED in history.pruner.prune(history.targets()[0], dry_run=True)[1].verdict.rules
    history.now += timedelta(hours=23)
    history.pruner.look()
    history.restart()
    history.now += timedelta(hours=1)
    history.pruner.look()
    assert history.on_disk == ids(history.runs[0])


def test_a_clock_that_is_watched_without_any_run_is_trusted(tmp_path: Path) -> None:
    history = History(tmp_path, TWENTY_DAYS)
    for hour in range(0, 24 * 22, 7):
        history.now = NOW + timedelta(hours=hour)
        history.pruner.look()
    assert history.on_disk == ids(history.runs[0])


def test_a_clock_that_nobody_has_watched_is_not_trusted(tmp_path: Path) -> None:
    history = History(tmp_path, TWENTY_DAYS)
    history.now = NOW + timedelta(days=400)
    (history.folder / "work" / FILE).write_text("{")
    history.pruner.look()
    assert history.on_disk == ids(*history.runs)


def test_beside_a_run_of_the_future_the_others_are_pruned_once_the_clock_has_settled(history: History) -> None:
    ahead = history.past(NOW + timedelta(days=31))
    assert history.catalog.last_good(KEY).id == history.runs[0].id
    history.pruner.look()
    assert history.on_disk == ids(ahead, *history.runs)
    for hour in (12, 24):
        history.now = NOW + timedelta(hours=hour)
        history.pruner.look()
    assert history.on_disk == ids(ahead, *history.runs[:2])
    history.pruner.delete(ahead, force=False)
    assert history.catalog.future() == []


@pytest.mark.parametrize(
    ("later", "trusted"),
    [
        (timedelta(0), True),
        (LONGEST_GAP, True),
        (LONGEST_GAP + timedelta(seconds=1), False),
        (timedelta(seconds=-1), False),
    ],
)
def test_the_clock_is_trusted_unless_it_goes_back_or_jumps(later: timedelta, *, trusted: bool) -> None:
    seen = Trust(seen=NOW, since=NOW - 2 * SETTLING_TIME)
    assert seen.look(NOW + later).is_trusted(NOW + later) is trusted


# --- by hand and over HTTP


def test_the_last_good_run_is_deleted_by_force_only(history: History) -> None:
    newest = history.runs[0]
    with pytest.raises(LastGood):
        history.pruner.delete(newest, force=False)
    assert newest.id in history.on_disk
    assert history.pruner.delete(newest, force=True).pruned == NOW
    assert newest.id not in history.on_disk
    last = history.catalog.last_good(KEY)
    assert last is not None
    assert last.id == history.runs[1].id


def test_the_last_good_run_before_what_a_restore_replaced_is_deleted_by_force_only(history: History) -> None:
    history.past(NOW + timedelta(minutes=1), trigger="restore")
    history.now = NOW + timedelta(minutes=2)
    with pytest.raises(LastGood):
        history.pruner.delete(history.runs[0])
    assert history.runs[0].id in history.on_disk


def test_a_suspicious_run_is_not_the_last_good_one(history: History) -> None:
    strange = history.past(NOW + timedelta(minutes=1), suspicious=("small",))
    history.pruner.delete(strange, force=False)
    assert strange.id not in history.on_disk


def test_what_has_stored_nothing_cannot_be_deleted(history: History) -> None:
    once = history.pruner.delete(history.runs[3], force=False)
    with pytest.raises(UnknownRun, match="deleted"):
        history.pruner.delete(once, force=True)


def test_prune_and_delete_over_http(history: History) -> None:
    with serving(history) as server, client(server, token=TOKENS["admin"]) as http:
        dry = http.post("/v1/prune", params={"target": "shop/db", "dry_run": True}).json()
        assert [(row["stays"], row["deleted"]) for row in dry["runs"]] == [(True, False)] * 2 + [(False, False)] * 2
        assert dry["runs"][0]["rules"] == ["keep-last", "newest good run"]
        assert history.on_disk == ids(*history.runs)
        done = http.post("/v1/prune").json()
        assert [row["deleted"] for row in done["runs"]] == [False, False, True, True]
        gone, second, newest = history.runs[3].id, history.runs[1].id, history.runs[0].id
        assert is_problem(http.get(f"/v1/runs/{gone}/artifacts"), 410, "run-pruned")
        assert http.get(f"/v1/runs/{gone}").json()["pruned"]
        assert is_problem(http.delete(f"/v1/runs/{newest}"), 409, "last-good-run")
        assert http.delete(f"/v1/runs/{second}").json()["pruned"]
        assert is_problem(http.delete(f"/v1/runs/{second}"), 404, "unknown-run")
        assert is_problem(http.post("/v1/prune", params={"target": "shop/dbb"}), 404, "unknown-target")
        assert history.on_disk == [newest]
        back = http.post(f"/v1/runs/{second}/undelete").json()
        assert (back["pruned"], back["pinned"]) == (None, None)
        assert http.get(f"/v1/runs/{second}/artifacts").is_success
        assert http.put(f"/v1/runs/{second}/pin", params={"note": "the move"}).json()["note"] == "the move"
        assert is_problem(http.put(f"/v1/runs/{second}/pin", params={"note": "\x1b[2J"}), 422, "bad-value")
        assert is_problem(http.delete(f"/v1/runs/{second}"), 409, "pinned")
        assert http.delete(f"/v1/runs/{second}/pin").json()["pinned"] is None
        assert http.delete(f"/v1/runs/{second}", params={"purge": True}).json()["artifacts"] == []
        assert is_problem(http.post(f"/v1/runs/{second}/undelete"), 404, "unknown-run")


def test_a_run_is_not_deleted_while_it_is_downloaded(tmp_path: Path) -> None:
    history = History(tmp_path, nights=0)
    history.content = {"big.zst": b"0123456789abcdef" * (4 << 20)}
    history.runs = [history.past(NOW - timedelta(days=back)) for back in range(2)]
    old = history.runs[1].id
    with serving(history) as server, local(server) as http:
        with http.stream("GET", f"/v1/runs/{old}/artifacts") as response:
            chunks = response.iter_raw()
            next(chunks)
            with client(server, token=TOKENS["admin"]) as other:
                assert is_problem(other.delete(f"/v1/runs/{old}"), 409, "run-in-use")
            assert sum(len(chunk) for chunk in chunks) > 60 << 20
        assert eventually_deleted(http, old)
    assert history.on_disk == [history.runs[0].id]


def eventually_deleted(http: httpx.Client, run: str) -> bool:
    """Once the server has seen the end of the download, a moment after its client."""
    deadline = time.monotonic() + 5
    while not (done := http.delete(f"/v1/runs/{run}").is_success) and time.monotonic() < deadline:
        time.sleep(0.02)
    return done


def test_an_export_that_nobody_has_fetched_is_not_pruned(history: History) -> None:
    with serving(history) as server, client(server, token=TOKENS["admin"]) as http:
        export = http.post("/backup/export", headers={"Prefer": "respond-async"}).json()
        run = export["job_id"]
        while http.get(export["status_url"]).json()["state"] != "succeeded":
            time.sleep(0.01)
        assert is_problem(http.delete(f"/v1/runs/{run}", params={"force": True}), 409, "run-in-use")
        assert http.get(export["download_url"]).is_success
        assert http.delete(f"/v1/runs/{run}", params={"force": True}).is_success


# --- holds


def test_holds_are_counted(tmp_path: Path) -> None:
    leases = Leases()
    with leases.held("a", "b"), leases.held("a"):
        pass
    with leases.held("a"), pytest.raises(InUse), leases.deleting("a"):
        pass
    with leases.deleting("a"), pytest.raises(UnknownRun), leases.held("b", "a"):
        pass
    with leases.deleting("b"):
        pass
