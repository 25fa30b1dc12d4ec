"""Whatever happens to the way to the engine: nothing is missed, nothing is doubled, and `/readyz` says no meanwhile."""

import re
import secrets
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import Behind
from tests.kit.fault_proxy import EVENTS, EVERYTHING, Fault
from tests.kit.stage import Sidecar, docker, eventually, within

pytestmark = pytest.mark.e2e

NOTE = {"commands.backup": "echo note"}
SLOW = {"commands.backup": "echo begun; sleep 3; echo data"}
LIMIT = 5.0
"""Seconds within which any request to our API is answered."""
RESYNC = 60
"""Seconds after which the list is made anew."""
NOTICED = 12.0
"""Seconds after which a silent engine is known to be one."""
Told = Callable[[str, object], None]
MISSED = pytest.mark.fault(14, "containers start and die while the event stream is down", "both are known after it")
HANGS = pytest.mark.fault(
    12, "the engine hangs", "no request to our API waits; the run ends right or fails, never both"
)


def known_once(behind: Behind, service: str, state: str = "ready") -> bool:
    """Whether the target has this state, under one key, and was said to be ready once."""
    keys = [key for key in behind.sidecar.targets() if key.startswith(behind.sidecar.key(service))]
    said = behind.sidecar.log().count(f"target {behind.sidecar.key(service)} is ready")
    return keys == [behind.sidecar.key(service)] and behind.sidecar.states()[service] == state and said == 1


@pytest.fixture
def comes() -> str:
    """A service that no other test has."""
    return f"comes-{secrets.token_hex(2)}"


def gone(behind: Behind, service: str) -> bool:
    return behind.sidecar.states().get(service) in (None, "absent")


def eventually_watched_again(behind: Behind, *, seconds: float = 10) -> None:
    eventually(lambda: behind.ready, seconds=seconds, what="ready again")


@MISSED
def test_what_started_and_what_died_while_the_socket_was_away_is_known_after_it_returned(
    behind: Behind, comes: str, record_property: Told
) -> None:
    dies = behind.app.target("dies", NOTE)
    behind.sidecar.wait("dies")
    before = behind.reconnects

    behind.proxy.go_away()
    eventually(lambda: not behind.ready, what="not ready")
    behind.app.target(comes, NOTE)
    docker("kill", dies)
    time.sleep(2)
    assert not behind.ready
    assert behind.sidecar.http.get("/healthz").is_success
    behind.proxy.come_back()
    came_back = time.monotonic()

    eventually_watched_again(behind)
    eventually(lambda: known_once(behind, comes), what="the one that started")
    eventually(lambda: gone(behind, "dies"), what="the one that died")
    record_property("seen", f"known {time.monotonic() - came_back:.1f} s after the engine's return")
    assert behind.reconnects == before + 1
    assert behind.sidecar.backup(comes)["state"] == "succeeded"


@MISSED
def test_what_starts_and_what_dies_when_the_event_stream_is_cut_is_known(behind: Behind, comes: str) -> None:
    dies = behind.app.target("dies", NOTE)
    behind.sidecar.wait("dies")
    before = behind.reconnects
    behind.proxy.fault = Fault(match=EVENTS, status=500)

    assert behind.proxy.cut(EVENTS) == 1
    eventually(lambda: not behind.ready, what="not ready")
    behind.app.target(comes, NOTE)
    docker("kill", dies)
    behind.proxy.fault = Fault()

    eventually_watched_again(behind)
    eventually(lambda: known_once(behind, comes), what="the one that started")
    eventually(lambda: gone(behind, "dies"), what="the one that died")
    assert behind.reconnects == before + 1


def test_a_proxy_that_cuts_a_silent_event_stream_again_and_again_hides_nothing(behind: Behind, comes: str) -> None:
    before = behind.reconnects
    behind.proxy.fault = Fault(match=EVENTS, idle=0.2)
    behind.proxy.cut(EVENTS)
    eventually(lambda: behind.reconnects >= before + 3, what="three cuts")

    behind.app.target(comes, NOTE)

    eventually(lambda: known_once(behind, comes), what="the one that started")


@pytest.mark.slow
@pytest.mark.fault(13, "no event comes any more, though the stream stays open", "within one resync the lists are equal")
def test_an_event_stream_that_is_stuck_hides_nothing_for_longer_than_a_resync(
    behind: Behind, comes: str, record_property: Told
) -> None:
    before = behind.reconnects
    behind.proxy.fault = Fault(match=EVENTS, stuck=1)
    behind.proxy.cut(EVENTS)
    eventually(lambda: behind.reconnects > before and behind.ready, what="a stream that is open")

    behind.app.target(comes, NOTE)
    began = time.monotonic()

    eventually(lambda: known_once(behind, comes), seconds=RESYNC + 5, what="the one that started")
    record_property("seen", f"known after {time.monotonic() - began:.0f} s")


def test_an_engine_that_answers_500_is_watched_again_once_it_is_well(behind: Behind, comes: str) -> None:
    behind.proxy.change(Fault(match=EVERYTHING, status=500))
    behind.proxy.cut(EVENTS)
    eventually(lambda: not behind.ready, what="not ready")
    behind.app.target(comes, NOTE)
    time.sleep(1)
    assert comes not in behind.sidecar.states()

    behind.proxy.change(Fault())

    eventually_watched_again(behind)
    eventually(lambda: known_once(behind, comes), what="the one that started")


def test_an_engine_whose_list_answers_500_is_not_ready_though_its_events_flow(behind: Behind, comes: str) -> None:
    behind.proxy.change(Fault(match="/containers/json", status=500))
    behind.app.target(comes, NOTE)
    eventually(lambda: not behind.ready, what="not ready")

    behind.proxy.change(Fault())

    eventually_watched_again(behind)
    eventually(lambda: known_once(behind, comes), what="the one that started")


@pytest.mark.parametrize("body", [b"null", b'[{"Id": 7}]', b"[" * 100_000], ids=["null", "a number", "too deep"])
def test_an_engine_whose_list_is_none_is_watched_again_once_it_is_one(behind: Behind, comes: str, body: bytes) -> None:
    # All requests, since a connection is known by its first one, and may be used for the list later.
    behind.proxy.change(Fault(match="/(containers|networks|exec)", status=200, body=body))
    behind.app.target(comes, NOTE)
    eventually(lambda: not behind.ready, what="not ready")
    assert behind.sidecar.http.get("/healthz").is_success

    behind.proxy.change(Fault())

    eventually_watched_again(behind)
    eventually(lambda: known_once(behind, comes), what="the one that started")
    assert "by a defect of this program" not in behind.sidecar.log()


def test_an_event_without_an_end_takes_no_memory_and_hides_nothing(
    behind: Behind, comes: str, record_property: Told
) -> None:
    before = peak(behind.sidecar)
    behind.proxy.change(Fault(match=EVENTS, endless=True))
    behind.proxy.cut(EVENTS)
    eventually(lambda: "has more than 1 MiB" in behind.sidecar.log(), what="the event is refused")
    behind.app.target(comes, NOTE)

    behind.proxy.change(Fault())

    eventually(lambda: known_once(behind, comes), what="the one that started")
    grown = peak(behind.sidecar) - before
    assert grown < 32 * 1024
    record_property("seen", f"memory grew by {max(0, grown) // 1024} MiB")


def peak(sidecar: Sidecar) -> int:
    """KiB that the sidecar has had at most."""
    return int(within(sidecar.container, "grep VmHWM /proc/1/status").split()[1])


def test_a_slow_engine_is_followed_all_the_same(behind: Behind, comes: str) -> None:
    behind.proxy.change(Fault(match=EVERYTHING, delay=0.2))
    behind.proxy.cut(EVENTS)
    behind.app.target(comes, NOTE)

    eventually(lambda: known_once(behind, comes), seconds=20, what="the one that started")
    eventually_watched_again(behind)


@HANGS
def test_an_engine_that_hangs_is_noticed_and_holds_no_request_up(
    behind: Behind, comes: str, record_property: Told
) -> None:
    behind.app.target("runs", SLOW)
    behind.app.target("waits", NOTE)
    behind.sidecar.wait("waits")
    behind.sidecar.wait("runs")
    run = behind.sidecar.start("runs")
    behind.sidecar.reaches(run, 1)

    behind.proxy.freeze()
    slowest = max(every_answer(behind, run))
    eventually(lambda: not behind.ready, seconds=NOTICED, what="not ready")
    behind.app.target(comes, NOTE)
    slowest = max(slowest, *every_answer(behind, run), *every_change(behind))
    behind.proxy.thaw()

    assert slowest < LIMIT
    eventually_watched_again(behind)
    eventually(lambda: known_once(behind, comes), what="the one that started")
    assert behind.sidecar.ended(run)["state"] == "succeeded"
    record_property("seen", f"the slowest answer took {slowest:.2f} s, the run succeeded")


def every_answer(behind: Behind, run: str) -> list[float]:
    """Every GET of the API by its own description; seconds until the head of each answer."""
    values = {"key": behind.sidecar.key("runs"), "run": run}
    paths = behind.sidecar.http.get("/openapi.json").json()["paths"]
    asked = [
        re.sub(r"{(\w+)}", lambda found: values.get(found[1], "none"), path)
        for path, methods in paths.items()
        if "get" in methods
    ]
    assert len(asked) > 8
    return [answered(behind, "GET", path) for path in asked]


def every_change(behind: Behind) -> list[float]:
    """Starting a run, and cancelling it."""
    began = time.monotonic()
    run = behind.sidecar.start("waits")
    return [time.monotonic() - began, answered(behind, "POST", f"/v1/runs/{run}/cancel")]


def answered(behind: Behind, method: str, path: str) -> float:
    began = time.monotonic()
    with behind.sidecar.http.stream(method, path) as answer:
        assert answer.status_code != 500, path
    return time.monotonic() - began
