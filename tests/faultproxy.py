"""A proxy before the engine that does one bad thing to streams of execs, and leaves all other requests alone."""

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

QUIET = 0.4
"""Seconds of silence after which an exec has said all it will before it is answered."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to an exec's stream; the default is nothing."""

    cut: int | None = None
    """After how many bytes, head included, the connection ends; negative: so many before the end of the seal."""
    delay: float = 0.0
    """Seconds for which every packet from the engine is held."""
    coalesce: float = 0.0
    """Seconds to gather bytes behind the head, so that they arrive in one packet with it."""
    plain_200: bool = False
    """Answer 200 instead of 101, as HAProxy does."""


class FaultProxy:
    """Listens on a unix socket of its own in front of the engine's. A context manager; `address` is for `Engine`."""

    def __init__(self, folder: Path, fault: Fault | None = None, engine: str = "/var/run/docker.sock") -> None:
        self.path = folder / "proxy.sock"
        self.fault = fault or Fault()
        self._engine = engine
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()

    @property
    def address(self) -> str:
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        self._listener.bind(os.fspath(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._open):
            _close(connection)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open |= {client, engine}
        try:
            engine.connect(self._engine)
            first = client.recv(65536)
            engine.sendall(first)
            threading.Thread(target=_pump, args=(client, engine), daemon=True).start()
            request = first.split(b"\r\n", 1)[0]
            if b"/exec/" in request and b"/start" in request:
                self._spoil(engine, client)
            else:
                _pump(engine, client)
        except OSError:
            pass
        finally:
            self._open -= {client, engine}
            _close(client)
            _close(engine)

    def _spoil(self, engine: socket.socket, client: socket.socket) -> None:
        fault = self.fault
        if fault.cut is not None:
            client.sendall(_cut(engine, client, fault.cut))
            return
        if fault.coalesce or fault.plain_200:
            first = engine.recv(65536)
            engine.settimeout(fault.coalesce or None)
            if fault.coalesce:
                with contextlib.suppress(TimeoutError):
                    first += engine.recv(65536)
            engine.settimeout(None)
            if fault.plain_200:
                first = first.replace(b"101 UPGRADED", b"200 OK", 1)
            client.sendall(first)
        _pump(engine, client, fault.delay)


def _cut(engine: socket.socket, client: socket.socket, cut: int) -> bytes:
    """The last bytes that pass. The head goes ahead, since nothing comes before it was answered."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += engine.recv(65536)
    if 0 <= cut < len(head):
        return head[:cut]
    client.sendall(head)
    rest = bytearray()
    engine.settimeout(QUIET)
    with contextlib.suppress(TimeoutError):
        while data := engine.recv(65536):
            rest += data
    return bytes(rest[: cut if cut < 0 else cut - len(head)])


def _pump(source: socket.socket, sink: socket.socket, delay: float = 0.0) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            time.sleep(delay)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
