"""Clients that are slow, never finish or talk nonsense: cut in time, and answered by a problem."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator

import pytest

from controller.api import slow_clients
from controller.api.server import Server
from controller.api.slow_clients import MAX_BODY_BYTES
from tests.kit.world import TOKEN, World, serving


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[Server]:
    with serving(world) as server:
        yield server


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
