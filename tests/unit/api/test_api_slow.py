"""Clients that are slow, many, never finish or talk nonsense: cut in time, and answered by a problem."""

import asyncio
import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from loguru import logger

from controller.api import server, slow_clients
from controller.api.refusals import MAX_ADDRESSES, Refusals
from controller.api.server import Server
from controller.api.slow_clients import MAX_BODY_BYTES
from tests.kit.stage import eventually
from tests.kit.world import TOKEN, World, client, serving


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[Server]:
    with serving(world) as started:
        yield started


def answered(running: Server, *pieces: bytes, pause: float = 0.0) -> tuple[int, dict[str, object]]:
    """Status and problem after sending the pieces; the peer has to close."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        with connection.makefile("rb") as stream:
            head, _, body = stream.read().partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, head
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_by_a_problem(running: Server, nonsense: bytes) -> None:
    status, problem = answered(running, nonsense)
    assert (status, problem["type"]) == (400, "bad-request")


@pytest.mark.parametrize("pieces", [[], [b"GET /healthz HT"], [b"GET /healthz HTTP/1.1\r\n", *[b"X: y\r\n"] * 8]])
def test_a_head_that_does_not_come_to_its_end_is_given_up(
    running: Server, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "HEAD_TIMEOUT_SECONDS", 0.5)
    status, problem = answered(running, *pieces, pause=0.05)
    assert (status, problem["type"]) == (408, "too-slow")


def test_a_connection_that_answered_once_is_not_kept_for_a_dribble(
    running: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "HEAD_TIMEOUT_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in connection.recv(4096)
        connection.sendall(b"GET /hea")
        with connection.makefile("rb") as stream:
            assert b" 408 " in stream.read()


def test_a_run_that_takes_longer_than_patience_is_not_cut(
    world: World, running: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "HEAD_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(slow_clients, "BODY_TIMEOUT_SECONDS", 0.2)
    world.go.clear()
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        head = f"POST /backup/export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(head.encode())
        time.sleep(0.7)
        world.go.set()
        assert b" 200 " in connection.recv(4096)


def test_a_body_without_announced_length_is_bounded_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "BODY_TIMEOUT_SECONDS", 0.3)
    seen: list[object] = []

    async def reads(scope: object, receive: object, send: object) -> None:
        try:
            while (await receive())["more_body"]:  # type: ignore[operator]
                pass
        except Exception as error:  # noqa: BLE001  # Which one is asserted.
            seen.append(error.status_code)  # type: ignore[attr-defined]

    async def ask(pieces: list[bytes], then: float) -> None:
        async def receive() -> dict[str, object]:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(), "more_body": True}
            await asyncio.sleep(then)
            return {"type": "http.request", "body": b"", "more_body": False}

        await slow_clients.Limited(reads, str)({"type": "http", "headers": []}, receive, None)  # type: ignore[arg-type]

    asyncio.run(ask([bytes(MAX_BODY_BYTES // 2)] * 3, 0))
    asyncio.run(ask([b"{"], 5))
    asyncio.run(ask([bytes(MAX_BODY_BYTES)], 0))
    assert seen == [413, 408]


@pytest.mark.parametrize("path", ["/healthz", "/v1/targets"])
def test_a_length_that_is_told_in_two_ways_closes_the_connection(running: Server, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    status, problem = answered(running, head.encode() + smuggled)
    assert (status, problem["type"]) == (400, "bad-request")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, Server]]:
    """A server that takes eight connections."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 8)
    world = World(tmp_path)
    with serving(world) as running:
        yield world, running


def test_however_many_connections_wait_a_request_is_answered(small: tuple[World, Server]) -> None:
    world, running = small
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", running.port), 10)) for _ in range(30)]
        for connection in idle[::2]:
            with suppress(OSError):
                connection.sendall(b"GET /healthz HTTP/1.1\r\nX")
        with client(running) as http:
            assert http.get("/v1/targets").is_success
            assert 'backup_api_refused_total{reason="too-many-connections"}' in http.get("/metrics").text
        assert sum(is_open(connection) for connection in idle) <= 8
    assert world.refusals.counts()[("too-many-connections",)] >= 22


def test_a_request_under_way_is_not_closed_for_those_that_wait(small: tuple[World, Server]) -> None:
    world, running = small
    world.go.clear()
    with ThreadPoolExecutor(1) as pool, client(running) as http, ExitStack() as stack:
        answer = pool.submit(http.post, "/targets/shop/db/backup/export")
        eventually(world.jobs.active, what="the run is under way")
        for _ in range(30):
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), 10))
        world.go.set()
        assert answer.result(20).is_success


def test_three_quarters_of_few_descriptors_are_left_for_the_engine(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 2 * (200 + sum(1 for _ in Path("/proc/self/fd").iterdir()))  # Both ends are of this process.
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        with serving(World(tmp_path)) as running, ExitStack() as stack:
            addresses = [("127.0.0.1", running.port)] * (few // 4 + 20)
            idle = [stack.enter_context(socket.create_connection(address, 10)) for address in addresses]
            most = min(few // 4, 256)
            eventually(lambda: sum(map(is_open, idle)) == most, what="those beyond are closed")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_without_a_descriptor_left_it_is_counted_logged_once_and_over_when_there_is_one(
    small: tuple[World, Server],
) -> None:
    world, running = small
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    taken: list[int] = []
    with socket.socket() as connection, socket.socket() as later:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (min(soft, sum(1 for _ in Path("/proc/self/fd").iterdir()) + 50), hard)
        )
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            connection.connect(("127.0.0.1", running.port))
            eventually(lambda: world.refusals.counts().get(("connection-failed",)), what="it is counted")
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            logger.remove(sink)
        later.settimeout(10)
        later.connect(("127.0.0.1", running.port))
        later.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in later.recv(4096)
    assert len([line for line in lines if "accept" in line]) == 1


def test_requests_without_a_token_are_counted_and_logged_once_for_each_address(
    small: tuple[World, Server],
) -> None:
    world, running = small
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    with client(running, token="") as stranger:
        for _ in range(20):
            stranger.get("/v1/targets", headers={"Authorization": "Bearer guess-of-a-token"})
    logger.remove(sink)
    assert world.refusals.counts()[("unauthorized",)] == 20
    assert len([line for line in lines if "127.0.0.1 asked without a token" in line]) == 1
    assert not any("guess" in line for line in lines)


def test_many_addresses_fill_neither_memory_nor_log() -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    refusals = Refusals()
    for number in range(3 * MAX_ADDRESSES):
        refusals.note("unauthorized", f"10.0.{number // 256}.{number % 256}", "no token")
    logger.remove(sink)
    assert refusals.counts() == {("unauthorized",): 3 * MAX_ADDRESSES}
    assert len(lines) == MAX_ADDRESSES


def test_what_asyncio_complains_of_again_and_again_is_logged_once_with_its_traceback() -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    refusals = Refusals()

    async def complain() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(refusals.of_loop)
        for _ in range(20):
            loop.call_soon(int, "no number")
        await asyncio.sleep(0.01)

    asyncio.run(complain())
    logger.remove(sink)
    assert refusals.counts() == {("internal-error",): 20}
    assert len(lines) == 1
    assert "Traceback" in lines[0]
