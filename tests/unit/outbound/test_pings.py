"""Dead man's switches, against a real small server that is pinged."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from controller.core.events import RunEnded
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.run import Report
from controller.outbound import pings as module
from controller.outbound.pings import Pings
from tests.kit.receiver import Receiver, receiving
from tests.kit.world import POSTGRES, World, client, serving
from tests.unit.outbound.test_heartbeat import listening

KEY = Key(project="shop", service="db")
SECRET = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
PATH = f"/{SECRET}"
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


@pytest.fixture
def check() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@contextmanager
def pinging(folder: Path, config: str) -> Iterator[tuple[World, Pings]]:
    world = World(folder, config=config)
    pings = world.pings
    pings.listen(world.events)
    pings.start()
    try:
        yield world, pings
    finally:
        pings.stop()
        world.close()


def of_target(check: Receiver, path: str = SECRET) -> str:
    return f"targets: {{shop/db: {{ping: {{url: '{check.url(path)}'}}}}}}"


def of_sidecar(check: Receiver) -> str:
    return f"ping: {{url: '{check.url(SECRET)}'}}"


def run(world: World) -> Report:
    return world.start(KEY, "api").future.result(timeout=20)


def report(state: str = "succeeded", trigger: str = "schedule", **changes: object) -> Report:
    known = {"id": "20260301T030000Z-00000000", "target": KEY, "state": state, "trigger": trigger, "created": NOW}
    return Report.model_validate(known | changes)


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_pings_its_start_and_its_success_under_one_run_id(check: Receiver, tmp_path: Path) -> None:
    with pinging(tmp_path, of_target(check)) as (world, pings):
        done = run(world)
        start, success = check.wait(2)
        wait_for(lambda: pings.counts() == {("shop/db", "delivered"): 2})
    assert (start["path"], success["path"]) == (f"{PATH}/start", PATH)
    assert start["query"]["rid"] == success["query"]["rid"] == str(UUID(start["query"]["rid"]))
    assert success["body"] == f"run {done.id} succeeded: {done.size} bytes are stored, proof full"


def test_two_runs_have_two_run_ids(check: Receiver, tmp_path: Path) -> None:
    with pinging(tmp_path, of_target(check)) as (world, _):
        run(world)
        check.wait(2)
        run(world)
        pings = check.wait(4)
    assert len({ping["query"]["rid"] for ping in pings}) == 2


def test_a_run_that_failed_pings_why_without_secrets_and_not_too_long(check: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2hunter2")
    with pinging(tmp_path, of_target(check)) as (world, _):
        token = world.loaded.api_token
        world.failure = Failure(code="store-full", message=f"no room, says {token} " + "ñ" * 9000, hint="Make room.")
        done = run(world)
        _, fail = check.wait(2)
    assert fail["path"] == f"{PATH}/fail"
    assert fail["body"].startswith(f"run {done.id} failed: store-full: no room, says *** ñ")
    assert len(fail["body"].encode()) in (module.MAX_BODY_BYTES, module.MAX_BODY_BYTES - 1)


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        (report(suspicious=("shrunk: by much",)), "fail"),
        (report(suspicious=("shrunk: by much",), accepted=True), "success"),
        (report("cancelled"), "fail"),
        (report("interrupted", "api"), "fail"),
        (report(trigger="restore"), None),
        (report("failed", "restore"), None),
    ],
)
def test_whatever_is_no_good_run_is_a_failure_and_what_a_restore_does_is_none_of_its_business(
    ended: Report, kind: str | None, check: Receiver, tmp_path: Path
) -> None:
    with pinging(tmp_path, of_target(check)) as (world, _):
        world.events.publish(RunEnded(ended))
    assert check.paths == {"fail": [f"{PATH}/fail"], "success": [PATH], None: []}[kind]


@pytest.mark.parametrize(
    ("state", "code", "catch_up", "fails"),
    [
        ("missed", "missed", True, False),
        ("missed", "missed", False, True),
        ("missed", "target-gone", True, False),
        ("missed", "not-enabled", True, True),
        ("missed", "run-in-progress", False, False),
        ("interrupted", "interrupted", True, False),
        ("interrupted", "interrupted", False, True),
    ],
)
def test_what_is_made_up_for_says_nothing_and_what_is_not_is_a_failure(
    state: str, code: str, catch_up: bool, fails: bool, check: Receiver, tmp_path: Path
) -> None:
    with pinging(tmp_path, of_target(check)) as (world, _):
        world.services = {"db": POSTGRES | {"backup.catch-up": str(catch_up).lower()}}
        ended = report(state, failure=Failure(code=code, message="was away"))
        world.events.publish(RunEnded(ended, cut=state == "interrupted"))
    assert check.paths == ([f"{PATH}/fail"] if fails else [])


def test_what_the_sidecars_own_end_cut_is_made_up_for(check: Receiver, tmp_path: Path) -> None:
    with pinging(tmp_path, of_target(check)) as (world, _):
        world.events.publish(RunEnded(report("cancelled")))
        check.wait(1)
        world.events.publish(RunEnded(report("cancelled"), cut=True))
    assert len(check.pings) == 1


def test_a_target_without_a_url_is_not_pinged(check: Receiver, tmp_path: Path) -> None:
    with pinging(tmp_path, f"targets: {{shop/other: {{ping: {{url: '{check.url('x')}'}}}}}}") as (world, pings):
        run(world)
    assert check.pings == []
    assert pings.counts() == {}


def test_a_query_of_the_operators_stays_and_so_does_a_path(check: Receiver, tmp_path: Path) -> None:
    with pinging(tmp_path, of_target(check, "ping-key/a-slug/?create=1")) as (world, _):
        run(world)
        check.wait(2)
    assert check.paths == ["/ping-key/a-slug/start", "/ping-key/a-slug"]
    assert all(set(ping["query"]) == {"create", "rid"} for ping in check.pings)


def test_a_changed_url_holds_for_the_next_ping(check: Receiver, tmp_path: Path) -> None:
    with pinging(tmp_path, of_target(check)) as (world, _):
        run(world)
        check.wait(2)
        world.configure(of_target(check, "other"))
        run(world)
        check.wait(4)
    assert check.paths[2:] == ["/other/start", "/other"]


# --- a server in trouble --------------------------------------------------------------------------------------------


def test_a_server_in_trouble_is_tried_again(check: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.1, 0.2))
    check.answer = lambda number: (200 if number == 2 else 503, "")
    with pinging(tmp_path, of_target(check)) as (world, pings):
        world.events.publish(RunEnded(report()))
        first, second, third = check.wait(3)
        run_id = first["query"]
        assert second["time"] - first["time"] >= 0.1
        assert third["time"] - second["time"] >= 0.2
    assert run_id == third["query"]
    assert pings.counts() == {("shop/db", "delivered"): 1}


@pytest.mark.parametrize(
    ("status", "text", "tries", "reason"),
    [
        (500, "", 3, "answered 500 Internal Server Error"),
        (429, "", 3, "answered 429 Too Many Requests"),
        (404, "", 1, "answered 404 Not Found"),
        (200, "OK (not found)", 1, "OK (not found)"),
        (200, "OK (rate limited)", 1, "OK (rate limited)"),
    ],
)
def test_what_is_lost_is_logged_once_counted_and_told_when_it_is_over(
    status: int,
    text: str,
    tries: int,
    reason: str,
    check: Receiver,
    tmp_path: Path,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.01, 0.01))
    check.answer = lambda _: (status, text)
    with pinging(tmp_path, of_target(check)) as (world, pings):
        for count in (1, 2):
            world.events.publish(RunEnded(report()))
            check.wait(count * tries)
            wait_for(lambda count=count: pings.counts() == {("shop/db", "lost"): count})
        check.answer = lambda _: (200, "OK")
        run(world)
        check.wait(2 * tries + 2)
    assert logged == [
        f"WARNING the ping of shop/db was not delivered: {reason}; backups go on\n",
        "INFO pings of shop/db are delivered again\n",
    ]


def test_a_server_that_is_not_there_costs_a_run_nothing(
    tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.01, 0.01))
    with receiving() as gone:
        config = of_target(gone)
    with pinging(tmp_path, config) as (world, pings):
        assert run(world).state == "succeeded"
        wait_for(lambda: pings.counts() == {("shop/db", "lost"): 2})
    (line,) = logged
    assert "Connection refused" in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("failure", "paths"),
    [
        (None, [f"{PATH}/start", f"{PATH}/start", PATH]),
        (Failure(code="store-full", message="no room"), [f"{PATH}/start", PATH, f"{PATH}/start", f"{PATH}/fail"]),
    ],
)
def test_a_server_that_hangs_holds_up_no_run_and_of_what_waits_only_the_newest_stays(
    failure: Failure | None, paths: list[str], check: Receiver, tmp_path: Path
) -> None:
    runs_ended = threading.Event()

    def slow(_: int) -> tuple[int, str]:
        runs_ended.wait(module.TIMEOUT_SECONDS - 1)
        return 200, "OK"

    check.answer = slow
    with pinging(tmp_path, of_target(check)) as (world, _):
        for _ in range(21):
            run(world)
        world.failure = failure
        last = run(world)
        runs_ended.set()
        check.wait(len(paths))
    assert check.paths == paths
    assert all(last.id in ping["body"] for ping in check.pings[-2:])


def test_at_the_end_what_waits_is_told_and_nobody_is_waited_for(check: Receiver, tmp_path: Path) -> None:
    check.answer = lambda number: (time.sleep(0.3) or 200, "OK")
    with pinging(tmp_path, of_target(check)) as (world, pings):
        run(world)
        pings.stop()
        assert check.paths == [f"{PATH}/start", PATH]


def test_a_server_that_hangs_does_not_keep_the_sidecar_from_stopping(
    check: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.core.loop.STOP_SECONDS", 0.3)
    over = threading.Event()
    check.answer = lambda _: (over.wait(60) and 200, "OK")
    with pinging(tmp_path, of_target(check)) as (world, pings):
        run(world)
        begun = time.monotonic()
        pings.stop()
        assert time.monotonic() - begun < 15
        over.set()


# --- the sidecar itself ---------------------------------------------------------------------------------------------


def test_the_sidecar_pings_the_verdict_of_status_with_its_reasons(
    check: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.3)
    monkeypatch.setattr(module, "MIN_INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    with pinging(tmp_path, of_sidecar(check)) as (world, _):
        unsafe, again = check.wait(2)[:2]
        run(world)
        wait_for(lambda: check.paths[-1] == PATH)
        safe = check.pings[-1]
        world.catalog.put(world.catalog.runs()[0].model_copy(update={"damaged": "a flipped byte"}))
        wait_for(lambda: check.paths[-1] == f"{PATH}/fail")
    assert [unsafe["path"], again["path"]] == [f"{PATH}/fail"] * 2
    assert (
        unsafe["body"]
        == "not safe: 1 never\nshop/db is never: there is no good run. `backup-sidecar run` makes the first one."
    )
    assert again["time"] - unsafe["time"] > 0.15  # Counted from when it was sent.
    assert safe["body"] == "safe: every target is fresh (1)"
    assert safe["query"] == {}
    assert "is damaged: a flipped byte" in check.pings[-1]["body"]


def test_a_verdict_that_changes_is_told_before_its_time_but_not_at_once(
    check: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_INTERVAL_SECONDS", 0.5)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    with pinging(tmp_path, of_sidecar(check)) as (world, _):
        check.wait(1)
        run(world)
        unsafe, safe = check.wait(2)
        time.sleep(0.6)
        assert len(check.pings) == 2
    assert safe["path"] == PATH
    assert 0.3 < safe["time"] - unsafe["time"] < 5  # Counted from when it was sent.


def test_a_verdict_that_was_not_heard_is_told_again_soon(
    check: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_INTERVAL_SECONDS", 0.3)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    check.answer = lambda number: (404 if number == 0 else 200, "OK")
    with pinging(tmp_path, of_sidecar(check)) as (world, _):
        lost, heard = check.wait(2)
        world.configure(f"ping: {{url: '{check.url('other')}'}}")
        elsewhere = check.wait(3)[2]
    assert lost["body"] == heard["body"] == elsewhere["body"]
    assert heard["time"] - lost["time"] > 0.15
    assert elsewhere["path"] == "/other/fail"


def test_the_sidecar_says_nothing_before_it_knows_the_containers(
    check: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    world = World(tmp_path, config=of_sidecar(check))
    world.watch.watching = False
    pings = world.pings
    pings.start()
    time.sleep(0.2)
    assert check.pings == []
    world.watch.watching = True
    check.wait(1)
    pings.stop()
    world.close()


# --- secrecy --------------------------------------------------------------------------------------------------------


def test_no_url_is_shown_anywhere(
    check: Receiver, tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.01, 0.01))
    check.answer = lambda _: (500, "")
    with listening() as ear:
        orchestrator = f"orchestrator: {{url: 'http://127.0.0.1:{ear.server_port}', key: {{secret: ORCHESTRATOR_KEY}}}}"
        config = "\n".join((of_target(check), of_sidecar(check), orchestrator))
        with pinging(tmp_path, config) as (world, pings), serving(world) as server, client(server) as api:
            heart = world.heartbeat
            heart.listen(world.events)
            assert heart
            heart.start()
            world.failure = Failure(code="x", message="no luck")
            run(world)
            wait_for(lambda: pings.counts().get(("shop/db", "lost")) == 2)
            ear.wait(lambda told: told and told[-1].body["ended"])
            shown = [api.get(path).text for path in ("/v1/targets", "/v1/targets/shop/db", "/metrics", "/v1/status")]
            shown += [repr(ear.told[-1].raw), repr(world.loaded), check.pings[-1]["body"], *logged]
            heart.stop()
    assert 'backup_pings_total{outcome="lost",target="shop/db"} 2.0' in shown[2]
    assert not [text for text in shown if SECRET in text]


def test_pings_are_counted_by_target_and_outcome(check: Receiver, tmp_path: Path) -> None:
    with pinging(tmp_path, of_target(check)) as (world, pings):
        run(world)
        check.wait(2)
        wait_for(lambda: pings.counts() == {("shop/db", "delivered"): 2})
        text = world.metrics.text().decode()
    assert 'backup_pings_total{outcome="delivered",target="shop/db"} 2.0' in text


def wait_for(question: Callable[[], object], seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < until
        time.sleep(0.01)
