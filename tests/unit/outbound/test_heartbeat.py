"""The lease, against a real small HTTP server that checks signatures with code of its own."""

import base64
import hmac
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from controller.app.identity import identity
from controller.core.events import RunEnded
from controller.core.ulid import ULID, new_ulid
from controller.outbound import heartbeat as module
from controller.outbound.heartbeat import Heartbeat
from controller.outbound.signing import TOLERANCE, BadSignature, signature, signed_headers, verify
from tests.kit.stage import eventually
from tests.kit.world import FILES, KEY, PASSWORD, POSTGRES, TOKEN, World

KEY_BYTES = base64.b64decode(KEY.removeprefix("whsec_"))


class Told:
    """One request that came."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.time, self.method, self.path, self.raw = time.monotonic(), handler.command, handler.path, body
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body: dict[str, Any] = json.loads(body)

    @property
    def is_signed(self) -> bool:
        """As the standard says, and a second time with method and path."""
        head, request = (
            f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.",
            f"{self.method} {self.path}.",
        )
        digests = (hmac.digest(KEY_BYTES, part.encode() + self.raw, "sha256") for part in (head, head + request))
        expected, beside = (base64.b64encode(digest).decode() for digest in digests)
        is_right = self.headers["webhook-signature"] == f"v1,{expected} v1r,{beside}"
        return is_right and KEY not in repr(self.headers) + repr(self.raw)


class Ear(ThreadingHTTPServer):
    """Listens; `answer` decides status and body by the number of requests so far."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.told: list[Told] = []
        self.answer: Callable[[int], tuple[int, object]] = lambda _: (200, {})
        super().__init__(("127.0.0.1", port), Handler)

    def wait(self, wanted: Callable[[list[Told]], object], seconds: float = 15) -> None:
        until = time.monotonic() + seconds
        while not wanted(self.told):
            assert time.monotonic() < until, [one.body for one in self.told]
            time.sleep(0.01)


class Handler(BaseHTTPRequestHandler):
    server: Ear

    def do_PUT(self) -> None:
        self._take()

    def do_DELETE(self) -> None:
        self._take()

    def _take(self) -> None:
        told = Told(self, self.rfile.read(int(self.headers["content-length"])))
        count = len(self.server.told)
        self.server.told.append(told)
        status, answer = self.server.answer(count)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def log_message(self, *_: object) -> None: ...


@contextmanager
def listening(port: int = 0) -> Iterator[Ear]:
    ear = Ear(port)
    thread = threading.Thread(target=ear.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield ear
    finally:
        ear.shutdown()
        ear.server_close()
        thread.join()


@pytest.fixture
def ear() -> Iterator[Ear]:
    with listening() as found:
        yield found


@contextmanager
def beating(
    folder: Path,
    port: int,
    *,
    interval: float = 60,
    config: str = "",
    before: Callable[[World], object] = lambda world: None,
) -> Iterator[tuple[World, Heartbeat]]:
    """`before` is called when it listens to what happens, and says nothing yet."""
    url = f"http://127.0.0.1:{port}"
    key = "{secret: ORCHESTRATOR_KEY}"
    world = World(folder, config=f"orchestrator: {{url: '{url}', key: {key}}}\n{config}")
    heart = world.heartbeat
    heart.listen(world.events)
    assert heart
    heart._interval = interval
    before(world)
    heart.start()
    try:
        yield world, heart
    finally:
        heart.stop()
        world.close()


def ended_in(told: list[Told]) -> list[str]:
    """Ids of the runs that heartbeats tell of, in their order."""
    return [run["id"] for one in told for run in one.body.get("ended") or ()]


def ended_runs(world: World, number: int) -> list[str]:
    """Run so often; every subscriber has heard of the runs when it returns."""
    ends: queue.Queue[RunEnded] = queue.Queue()
    world.events.subscribe(RunEnded, ends.put)
    runs = []
    for _ in range(number):
        runs.append(world.start(world.targets()[0].key, "api").future.result(timeout=15).id)
        ends.get(timeout=15)
    return runs


# --- what is said ---------------------------------------------------------------------------------------------------


def test_a_heartbeat_says_who_where_what_and_is_signed(ear: Ear, tmp_path: Path) -> None:
    with beating(tmp_path, ear.server_port, config="api: {port: 8123}") as (world, _):
        ear.wait(len)
    told = ear.told[0]
    assert told.is_signed
    assert (told.method, told.path) == ("PUT", f"/v1/sidecars/{world.identity}")
    assert told.body["schema"] == 1
    assert told.body["id"] == world.identity
    assert told.body["instance"] == "test-1"
    assert told.body["url"] == "http://10.9.8.7:8123"
    assert told.body["versions"] == {"sidecar": "0.1.0", "contract": "v1"}
    assert told.body["lease"] == {"ttl_seconds": 180}
    assert [(one["key"], one["state"], one["last_good"]) for one in told.body["targets"]] == [
        ("shop/db", "ready", None)
    ]
    assert (told.body["running"], told.body["ended"], told.body["problems"]) == ([], [], [])


def test_a_heartbeat_says_when_each_target_is_due(ear: Ear, tmp_path: Path) -> None:
    with beating(tmp_path, ear.server_port, interval=0.1) as (world, _):
        world.services = {"db": POSTGRES | {"backup.schedule": "0 3 1 3 *"}}
        ear.wait(lambda told: told and told[-1].body["targets"][0]["next_due"])
    beats = [one.body for one in ear.told if one.method == "PUT"]
    assert beats[-1]["targets"][0]["next_due"].endswith("-03-01T03:00:00.000Z")


def test_no_secret_is_said(ear: Ear, tmp_path: Path) -> None:
    with beating(tmp_path, ear.server_port):
        ear.wait(len)
    for secret in (TOKEN, KEY, PASSWORD):
        assert secret.encode() not in ear.told[0].raw


def test_the_operator_may_name_the_url(ear: Ear, tmp_path: Path) -> None:
    with beating(tmp_path, ear.server_port, config="api: {advertise: 'https://backups.example:8443'}"):
        ear.wait(len)
    assert ear.told[0].body["url"] == "https://backups.example:8443"


def test_every_message_has_an_id_of_its_own(ear: Ear, tmp_path: Path) -> None:
    with beating(tmp_path, ear.server_port, interval=0.02):
        ear.wait(lambda told: len(told) >= 5)
    assert len({one.headers["webhook-id"] for one in ear.told}) == len(ear.told)


def test_a_running_run_is_told_with_its_bytes_and_its_end_at_once(ear: Ear, tmp_path: Path) -> None:
    with beating(tmp_path, ear.server_port, interval=0.1) as (world, heart):
        world.go.clear()
        job = world.start(world.targets()[0].key, "api")
        job.update(bytes=4711)
        ear.wait(lambda told: any(run["bytes"] == 4711 for one in told for run in one.body["running"]))
        heart._interval = 60
        time.sleep(0.3)
        world.go.set()
        ear.wait(lambda told: told[-1].body["ended"])
    beats = [one.body for one in ear.told if one.method == "PUT"]
    ended = [run for beat in beats for run in beat["ended"]]
    assert [(run["id"], run["state"]) for run in ended] == [(job.report.id, "succeeded")]
    assert beats[-1]["targets"][0]["last_good"]["id"] == job.report.id


def test_a_new_problem_is_told_at_once(ear: Ear, tmp_path: Path) -> None:
    with beating(tmp_path, ear.server_port) as (world, _):
        ear.wait(len)
        world.services = {"db": POSTGRES, "bad": FILES | {"backup.timeout": "10"}}
        ear.wait(lambda told: len(told) == 2)
    assert ear.told[1].body["targets"][0]["problems"][0]["code"] == "bad-value"


def test_an_orderly_stop_says_farewell(ear: Ear, tmp_path: Path) -> None:
    with beating(tmp_path, ear.server_port) as (world, _):
        ear.wait(len)
    assert [one.method for one in ear.told] == ["PUT", "DELETE"]
    assert ear.told[1].is_signed
    assert ear.told[1].body["id"] == world.identity


# --- when it does not go well ---------------------------------------------------------------------------------------


def test_reports_wait_for_the_orchestrator_and_come_once_in_order(tmp_path: Path, logged: list[str]) -> None:
    with listening() as first:
        port = first.server_port
    with beating(tmp_path, port, interval=0.05) as (world, _):
        runs = ended_runs(world, 4)
        with listening(port) as ear:
            ear.wait(lambda told: len(ended_in(told)) >= 4 and len(told) >= 3, seconds=20)
            # Before the orchestrator is away again.
            eventually(lambda: any("accepted" in line for line in logged), what="it is logged")
            lines = [line for line in logged if "orchestrator" in line]
    assert ended_in(ear.told) == runs
    assert ["cannot be reached" in line for line in lines] == [True, False]


def test_the_backlog_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_REPORTS", 3)
    monkeypatch.setattr(module, "MAX_REPORTS_PER_BEAT", 2)
    with listening() as first:
        port = first.server_port
    runs: list[str] = []
    with listening(port) as ear, beating(tmp_path, port, before=lambda world: runs.extend(ended_runs(world, 5))):
        ear.wait(lambda told: len(told) >= 2, seconds=20)
    assert [[run["id"] for run in one.body["ended"]] for one in ear.told[:2]] == [runs[2:4], runs[4:]]


def test_the_waits_grow_while_it_fails_and_it_recovers(ear: Ear, tmp_path: Path, logged: list[str]) -> None:
    ear.answer = lambda number: (500 if number < 4 else 200, {})
    with beating(tmp_path, ear.server_port, interval=0.1):
        ear.wait(lambda told: len(told) >= 6)
    gaps = [later.time - former.time for former, later in zip(ear.told, ear.told[1:], strict=False)]
    for gap, longest in zip(gaps[:4], (0.2, 0.4, 0.8, 1.6), strict=True):
        assert longest / 2 <= gap < longest + 5
    assert gaps[4] < 1.6
    assert len([line for line in logged if line.startswith("WARNING")]) == 1


@pytest.mark.parametrize("status", [404, 405])
def test_an_orchestrator_that_knows_no_announcements_is_logged_once_and_asked_rarely(
    ear: Ear, tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(module, "UNKNOWN_BACKOFF_SECONDS", 0.1)
    ear.answer = lambda _: (status, {})
    with beating(tmp_path, ear.server_port):
        ear.wait(lambda told: len(told) >= 3)
    assert len([line for line in logged if "does not know announcements" in line]) == 1
    assert {one.method for one in ear.told} == {"PUT"}


def test_it_is_asked_again_only_after_an_hour() -> None:
    assert module.UNKNOWN_BACKOFF_SECONDS == 3600


@pytest.mark.fault(0, "an orchestrator's answer: no JSON, of a wrong type, too deep, NaN", "counts as an empty one")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"interval": 30}, 30),
        ({"interval": 0.001}, 1),
        ({"interval": 1e9}, 300),
        ({"interval": "5"}, 60),
        ({"interval": True}, 60),
        ([], 60),
        (b"not json", 60),
        (b"[" * 60_000, 60),
        (b'{"interval": NaN}', 60),
    ],
)
def test_an_answer_may_set_the_interval_within_bounds(
    ear: Ear, tmp_path: Path, answer: object, expected: float
) -> None:
    ear.answer = lambda _: (200, answer)
    with beating(tmp_path, ear.server_port) as (_, heart):
        ear.wait(len)
        time.sleep(0.1)
        assert heart._interval == expected


def test_stopping_does_not_wait_for_an_orchestrator_that_hangs(ear: Ear, tmp_path: Path) -> None:
    asked, over = threading.Event(), threading.Event()

    def hang(_: int) -> tuple[int, object]:
        asked.set()
        over.wait(30)
        return (200, {})

    ear.answer = hang
    with beating(tmp_path, ear.server_port) as (_, heart):
        assert asked.wait(15)
        begun = time.monotonic()
        heart.stop()
        assert time.monotonic() - begun < 15
        over.set()
    ear.answer = lambda _: (200, {})


# --- signatures and identity ----------------------------------------------------------------------------------------


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    found = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        b'{"test": 2432232314}',
    )
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(body=some.binary(max_size=200), key=some.text(min_size=1), drift=some.integers(-TOLERANCE, TOLERANCE))
def test_what_was_signed_is_verified(body: bytes, key: str, drift: int) -> None:
    headers = signed_headers(key, body, 1_800_000_000, "PUT /x")
    assert verify(key, headers, body, 1_800_000_000 + drift) == headers["webhook-id"]


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_other"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1800000001"},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA"},
    ],
)
def test_what_was_changed_is_refused(change: dict[str, str]) -> None:
    headers = signed_headers(KEY, b"body", 1_800_000_000, "PUT /x") | change
    with pytest.raises(BadSignature):
        verify(KEY, headers, b"body", 1_800_000_000)


def test_the_second_signature_holds_method_and_path_and_the_first_one_is_the_standards() -> None:
    headers = signed_headers(KEY, b"body", 1_800_000_000, "PUT /x")
    about = (KEY, headers["webhook-id"], headers["webhook-timestamp"], b"body")
    assert headers["webhook-signature"].split() == [signature(*about), signature(*about, "PUT /x")]
    others = {signature(*about, request) for request in ("PUT /x", "DELETE /x", "PUT /y")}
    assert len(others) == 3
    assert all(other.startswith("v1r,") for other in others)


def test_what_is_old_or_from_the_future_is_refused() -> None:
    headers = signed_headers(KEY, b"body", 1_800_000_000, "PUT /x")
    for now in (1_800_000_000 - TOLERANCE - 1, 1_800_000_000 + TOLERANCE + 1):
        with pytest.raises(BadSignature, match="clock"):
            verify(KEY, headers, b"body", now)


def test_the_identity_is_made_once(tmp_path: Path) -> None:
    first = identity(tmp_path / "work")
    assert ULID.fullmatch(first)
    assert identity(tmp_path / "work") == first
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["identity"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"01ARZ3NDEKTSV4RRFFQ69G5FA", b"../../etc/passwd"])
def test_a_broken_identity_is_set_aside_and_made_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "identity").write_bytes(content)
    assert ULID.fullmatch(identity(tmp_path))
    assert sorted(path.name[:13] for path in tmp_path.iterdir()) == ["identity", "identity.bad-"]


def test_ulids_sort_by_their_time() -> None:
    first = new_ulid()
    time.sleep(0.002)
    assert first < new_ulid()


def test_a_defect_between_two_beats_does_not_end_the_lease(tmp_path: Path, ear: Ear, logged: list[str]) -> None:
    with beating(tmp_path, ear.server_port) as (_, heart):
        ear.wait(lambda told: told)
        heart._announcer.fingerprint = lambda: 1 // 0
        until = time.monotonic() + 15
        while not any("heartbeat ended by a defect" in line for line in logged):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert heart.alive
