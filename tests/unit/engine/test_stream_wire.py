"""The raw connection: one buffer from the head on, deadlines, and being cut by another thread."""

import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.core.errors import Cancelled, EngineError, Stalled, StoreFull, TimedOut
from controller.engine.frames import Frames
from controller.engine.wire import Wire

pytestmark = pytest.mark.thorough

HEAD = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nUpgrade: tcp\r\n\r\n"
DATA = bytes(range(256)) * 12


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    yield here, there
    here.close()
    there.close()


def read_on(wire: Wire) -> None:
    while True:
        wire.receive_into(memoryview(bytearray(10)))


def test_data_in_the_packet_of_the_head_arrives_in_a_thousand_of_a_thousand() -> None:
    stop = threading.Event()
    busy = [threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)]) for _ in range(6)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    for thread in busy:
        thread.start()
    try:
        assert [_read_one() for _ in range(1000)] == [DATA] * 1000
    finally:
        stop.set()
        for thread in busy:
            thread.join()
        sys.setswitchinterval(interval)


def _read_one() -> bytes:
    here, there = socket.socketpair()
    wire = Wire(here)
    there.sendall(HEAD + struct.pack(">BxxxL", 1, len(DATA)) + DATA)
    there.close()
    frames = Frames(size=16 << 10)
    head = wire.head()
    frames.room()[: len(head.rest)] = head.rest
    count: int | None = len(head.rest)
    while count != 0:
        frames.received(count or 0)
        count = wire.receive_into(frames.room())
    wire.close()
    assert head.status == 101
    return frames.take()


def test_silence_is_a_stall(pair: tuple[socket.socket, socket.socket]) -> None:
    wire = Wire(pair[0], stall=1.0)
    with pytest.raises(Stalled):
        read_on(wire)


def test_a_byte_now_and_then_is_no_stall_but_has_a_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    began = time.monotonic()
    wire = Wire(pair[0], stall=1.5, deadline=began + 3)

    def drip() -> None:
        for _ in range(8):
            pair[1].send(b"x")
            time.sleep(0.5)

    dripping = threading.Thread(target=drip)
    dripping.start()
    with pytest.raises(TimedOut):
        read_on(wire)
    assert 3 <= time.monotonic() - began < 15
    dripping.join()


def test_a_cut_wakes_the_reader_with_its_reason(pair: tuple[socket.socket, socket.socket]) -> None:
    wire = Wire(pair[0])
    threading.Timer(0.2, wire.cancel, (StoreFull("no room"),)).start()
    began = time.monotonic()
    with pytest.raises(StoreFull):
        read_on(wire)
    assert time.monotonic() - began < 15


def test_a_closed_wire_is_not_an_end_of_data(pair: tuple[socket.socket, socket.socket]) -> None:
    wire = Wire(pair[0])
    wire.close()
    wire.close()
    with pytest.raises(Cancelled):
        wire.receive_into(memoryview(bytearray(10)))


def test_the_other_side_that_takes_nothing_is_a_stall(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(Stalled):
        Wire(pair[0]).send(bytes(10_000_000), stall=1.0)


def test_a_half_close_leaves_reading_open(pair: tuple[socket.socket, socket.socket]) -> None:
    wire = Wire(pair[0])
    wire.send(b"input")
    wire.end_sending()
    assert pair[1].recv(100) + pair[1].recv(100) == b"input"
    pair[1].send(b"answer")
    view = memoryview(bytearray(10))
    assert wire.receive_into(view) == 6


def test_a_half_close_over_tls_leaves_reading_open(pair: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=engine -days 2 -keyout key.pem -out cert.pem"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    def serve() -> None:
        with server.wrap_socket(pair[1], server_side=True, suppress_ragged_eofs=False) as connection:
            received = b""
            while data := connection.recv(100):
                received += data
            time.sleep(1.3)
            connection.sendall(b"answer to " + received)

    serving = threading.Thread(target=serve)
    serving.start()
    client = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    client.check_hostname = False
    wire = Wire(client.wrap_socket(pair[0]))
    wire.send(b"input")
    wire.end_sending()
    view, answer = memoryview(bytearray(100)), b""
    while (count := wire.receive_into(view)) != 0:
        answer += view[: count or 0]
    serving.join()
    wire.close()
    assert answer == b"answer to input"


@pytest.mark.parametrize("head", [b"SSH-2.0-OpenSSH\r\n\r\n", b"\x15\x03\x01\r\n\r\n", b"HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_refused(pair: tuple[socket.socket, socket.socket], head: bytes) -> None:
    pair[1].send(head)
    with pytest.raises(EngineError, match="no HTTP"):
        Wire(pair[0]).head()


def test_a_chunked_stream_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(EngineError, match="chunks"):
        Wire(pair[0]).head()


def test_an_end_within_the_head_is_a_broken_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].send(HEAD[:30])
    pair[1].close()
    with pytest.raises(ConnectionResetError):
        Wire(pair[0]).head()
