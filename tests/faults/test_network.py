"""Connections that stall or are cut: to the engine, to whoever fetches a backup, to the orchestrator."""

import gc
import hashlib
import socket
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
import pytest

from controller.outbound.heartbeat import MAX_BACKOFF_SECONDS, Heartbeat
from tests.faults.conftest import Behind
from tests.kit.fault_proxy import ARCHIVE, Fault
from tests.kit.stage import Json, Sidecar, docker, eventually, said, within
from tests.kit.world import World
from tests.unit.outbound.test_heartbeat import listening

pytestmark = pytest.mark.thorough

Told = Callable[[str, object], None]
MEBIBYTE = 1 << 20


# Fault 30.


@pytest.mark.e2e
@pytest.mark.fault(30, "an archive download is stuck", "closed within 10 s, then `docker inspect` answers within 2 s")
@pytest.mark.parametrize(
    ("labels", "code"),
    [({"stall-timeout": "4s"}, "stalled"), ({"timeout": "10s"}, "timeout"), ({}, "cancelled")],
    ids=["stall", "deadline", "cancel"],
)
def test_an_archive_that_is_stuck_is_closed_and_frees_its_container(
    labels: dict[str, str], code: str, behind: Behind, tmp_path: Path, record_property: Told
) -> None:
    (tmp_path / "large").write_bytes(bytes(30 * MEBIBYTE))
    files = {"strategy": "filesystem", "filesystem.paths": "/data", "retries": "0"}
    container = behind.app.target("stuck", files | labels, of="DISTROLESS")
    docker("cp", "--quiet", str(tmp_path / "large"), f"{container}:/data/large")
    behind.sidecar.wait("stuck")
    behind.proxy.change(Fault(match=ARCHIVE, stuck=MEBIBYTE))

    run = behind.sidecar.start("stuck")
    eventually(lambda: is_locked(container), what="the container is locked")
    began = time.monotonic()
    if code == "cancelled":
        assert behind.sidecar.http.post(f"/v1/runs/{run}/cancel").status_code == 202
    report = behind.sidecar.ended(run, seconds=25)
    ended = time.monotonic()
    docker("inspect", container)

    assert report["failure"]["code"] == code
    assert ended - began < 25
    assert time.monotonic() - ended < 15
    assert behind.sidecar.stored("stuck") == []
    record_property("seen", f"`{code}` after {ended - began:.1f} s")


def is_locked(container: str) -> bool:
    return said("timeout", "0.5", "docker", "inspect", container).returncode == 124


# Fault 34.


@pytest.mark.e2e
@pytest.mark.fault(34, "a proxy cuts a silent exec after its own time-out", "fails, with the hint to raise it")
def test_a_proxy_that_cuts_a_silent_command_is_what_the_failure_speaks_of(
    behind: Behind, record_property: Told
) -> None:
    container = behind.app.target("silent", {"commands.backup": "echo begun; sleep 30; echo data", "retries": "0"})
    behind.sidecar.wait("silent")
    behind.proxy.fault = Fault(idle=1)

    report = behind.sidecar.ended(behind.sidecar.start("silent"), seconds=20)

    assert report["failure"]["code"] == "stream-truncated"
    assert "raise a proxy's tunnel time-out" in report["failure"]["hint"]
    assert behind.sidecar.stored("silent") == []
    assert "sleep 30" not in docker("top", container, "-eo", "pid,args")
    record_property("seen", f"`stream-truncated`: {report['failure']['hint']}")


# Fault 26.


@pytest.fixture
def backup(behind: Behind) -> Json:
    """A run whose artifact is larger than what sockets hold."""
    container = behind.app.target("large", {"commands.backup": "cat /tmp/data", "compression": "none"})
    within(container, f"head -c {40 * MEBIBYTE} /dev/urandom >/tmp/data")
    return behind.sidecar.backup("large")


def descriptors(sidecar: Sidecar) -> int:
    """Of the sidecar's process; idle threads of its pool come and go, but one that sends holds a descriptor."""
    return len(docker("exec", sidecar.container, "ls", "/proc/1/fd").split())


def fetched_until_cut(sidecar: Sidecar, path: str, size: int) -> bytes:
    """What a client got from a download that was cut after so many bytes; it has to notice."""
    taken = bytearray()
    with (  # noqa: PT012  # It is the loop that fails.
        Hop(sidecar, size) as hop,
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("GET", f"{hop.address}{path}", headers=sidecar.http.headers) as answer,
    ):
        for chunk in answer.iter_raw():
            taken += chunk
    assert len(taken) > MEBIBYTE
    return bytes(taken)


class Hop:
    """Something on the way from the client to the sidecar that passes one connection, up to so many bytes."""

    def __init__(self, sidecar: Sidecar, size: int) -> None:
        self._to, self._size = urlsplit(str(sidecar.http.base_url)), size
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._pass, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _pass(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection((self._to.hostname, self._to.port)) as sidecar:
            sidecar.sendall(client.recv(65536))
            passed = 0
            while passed < self._size:
                data = sidecar.recv(65536)
                client.sendall(data)
                passed += len(data)


@contextmanager
def half_fetched(sidecar: Sidecar, path: str, size: int) -> Iterator[socket.socket]:
    """A connection on which so many bytes of the download were read."""
    where = urlsplit(str(sidecar.http.base_url))
    request = f"GET {path} HTTP/1.1\r\nHost: sidecar\r\nAuthorization: Bearer {sidecar.token}\r\n\r\n"
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(request.encode())
        left = size
        while left > 0:
            left -= len(connection.recv(min(left, 65536)))
        yield connection


@pytest.mark.e2e
@pytest.mark.fault(26, "the download is cut", "the client sees it; Range resumes to the same digest; the slot is free")
@pytest.mark.parametrize(
    "goes",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["the client goes away", "the client takes nothing"],
)
def test_a_download_that_is_cut_is_seen_resumed_and_leaves_its_slot(
    goes: bool, behind: Behind, backup: Json, record_property: Told
) -> None:
    sidecar, artifact = behind.sidecar, backup["artifacts"][0]
    path = f"/v1/runs/{backup['id']}/artifacts/{artifact['name']}"
    whole = sidecar.http.get(path)
    before = descriptors(sidecar)

    with ExitStack() as clients:
        for _ in range(5):
            clients.enter_context(half_fetched(sidecar, path, MEBIBYTE))
        held, since = descriptors(sidecar), time.monotonic()
        if goes:
            clients.close()
        eventually(lambda: descriptors(sidecar) <= before, seconds=30, what="free")
        free = time.monotonic() - since

    assert held >= before + 5
    first = fetched_until_cut(sidecar, path, 7 * MEBIBYTE)
    headers = {"Range": f"bytes={len(first)}-", "If-Range": whole.headers["ETag"]}
    rest = sidecar.http.get(path, headers=headers)
    assert rest.status_code == 206
    assert hashlib.sha256(first + rest.content).hexdigest() == artifact["sha256"]
    record_property("seen", f"free after {free:.1f} s, the same digest")


# Fault 27.


class Patient(Heartbeat):
    """A heartbeat whose hours of trouble pass at once; `waited` are the seconds that it would have slept."""

    def __init__(self, sidecar: World) -> None:
        settings, key = sidecar.loaded.settings.orchestrator, sidecar.loaded.orchestrator_key
        assert settings
        assert key
        super().__init__(settings, key, sidecar.announcer)
        self.waited: list[float] = []
        self.held: list[int] = []
        """Bytes allocated after an hour and in the end."""
        self.fed, self.passed, self.well = threading.Event(), threading.Event(), threading.Event()

    def _wait(self, delay: float) -> None:
        self.waited.append(delay)
        hours = sum(self.waited) / 3600
        if hours >= 1 and not self.held:
            self.fed.wait()  # What the runs themselves take is not to be seen.
            self.held.append(allocated())
        if hours >= 6 and not self.passed.is_set():
            self.held.append(allocated())
            self.passed.set()
            self.well.wait()
        elif self.passed.is_set():
            self._stopping.wait(0.05)


def allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@contextmanager
def patient(folder: Path, port: int) -> Iterator[tuple[World, Patient]]:
    orchestrator = f"{{url: 'http://127.0.0.1:{port}', key: {{secret: ORCHESTRATOR_KEY}}}}"
    world = World(folder, config=f"orchestrator: {orchestrator}")
    heart = Patient(world)
    tracemalloc.start()
    heart.listen(world.events)
    heart.start()
    try:
        yield world, heart
    finally:
        tracemalloc.stop()
        heart.fed.set()
        heart.well.set()
        heart.stop()
        world.close()


def backed_up(world: World) -> str:
    report = world.start(world.targets()[0].key, "api").future.result()
    assert report.state == "succeeded"
    return report.id


@pytest.mark.fault(
    27, "the orchestrator is away, slow or 500 for hours", "jittered back-off, flat memory, backups go on, told once"
)
@pytest.mark.parametrize("trouble", ["away", *(pytest.param(one, marks=pytest.mark.slow) for one in ("500", "slow"))])
def test_hours_without_an_orchestrator_cost_nothing_and_are_told_once_afterwards(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Told
) -> None:
    monkeypatch.setattr("controller.outbound.heartbeat.TIMEOUT_SECONDS", 0.05)
    with ExitStack() as stack:
        ear = stack.enter_context(listening())
        ear.told = deque(maxlen=1)  # Only the program's own memory is to be seen.
        if trouble == "away":
            stack.close()
        elif trouble == "500":
            ear.answer = lambda _: (500, {})
        else:
            ear.answer = lambda _: (time.sleep(0.5) or 200, {})
        world, heart = stack.enter_context(patient(tmp_path, ear.server_port))
        runs = [backed_up(world), backed_up(world)]
        heart.fed.set()
        assert heart.passed.wait(30)
        runs.append(backed_up(world))
        waited, held = list(heart.waited), list(heart.held)

        monkeypatch.undo()
        if trouble == "away":
            ear = stack.enter_context(listening(ear.server_port))
        ear.told = []
        ear.answer = lambda _: (200, {})
        heart.well.set()
        ear.wait(lambda told: len(told) >= 4)

    ended = [run["id"] for one in ear.told for run in one.body.get("ended", ())]
    assert ended == runs
    assert waited[0] <= 30
    assert all(MAX_BACKOFF_SECONDS / 2 <= wait <= MAX_BACKOFF_SECONDS for wait in waited[6:])
    assert len(set(waited)) == len(waited)
    assert held[1] - held[0] < 256 << 10, "more than what the interpreter keeps for its next objects"
    record_property(
        "seen", f"{trouble}: asked {len(waited)} times in 6 h, {(held[1] - held[0]) >> 10} KiB more in memory"
    )
