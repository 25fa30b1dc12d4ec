"""A proxy before the engine that does bad things to some requests or all: it cuts, holds, freezes, goes and returns."""

import contextlib
import os
import re
import select
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

QUIET = 0.4
"""Seconds of silence after which an exec has said all it will before it is answered."""
UNWELL = b'{"message":"this engine is not well"}'
REQUEST = re.compile(rb"[A-Z]+ /\S* HTTP/1\.1\r\n")
EXEC, EVENTS, ARCHIVE, EVERYTHING = "/exec/.*/start", "/events", "/archive", ""
"""Expressions for request lines. A connection is known by its first request; each later one may be refused, too."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the answers of matching requests; the default is nothing."""

    match: str = EXEC
    cut: int | None = None
    """After how many bytes, head included, the connection ends; negative: so many before the end of the seal."""
    delay: float = 0.0
    """Seconds for which every packet from the engine is held."""
    coalesce: float = 0.0
    """Seconds to gather bytes behind the head, so that they arrive in one packet with it."""
    plain_200: bool = False
    """Answer 200 instead of 101, as HAProxy does."""
    idle: float = 0.0
    """Seconds of silence after which the connection is cut."""
    stuck: int | None = None
    """After how many bytes nothing more is taken from the engine, until the client goes away."""
    status: int = 0
    """Answered instead of asking the engine."""
    body: bytes = b""
    """Answered with it."""
    endless: bool = False
    """The engine's head is followed by an event without an end, until the client goes away."""


class FaultProxy:
    """Listens on a unix socket of its own in front of the engine's. A context manager; `address` is for `Engine`."""

    def __init__(self, folder: Path, fault: Fault | None = None, engine: str = "/var/run/docker.sock") -> None:
        self.path = folder / "proxy.sock"
        self.fault = fault or Fault()
        """Of connections from now on."""
        self._engine = engine
        self._open: dict[socket.socket, str] = {}
        self._flowing = threading.Event()
        self._flowing.set()

    @property
    def address(self) -> str:
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        self.come_back()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_away()
        self.thaw()

    def come_back(self) -> None:
        """Listen, as an engine that was started again."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(os.fspath(self.path))
        self.path.chmod(0o666)
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def go_away(self) -> None:
        """Remove the socket and cut every connection, as an engine that died."""
        self.path.unlink(missing_ok=True)
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def cut(self, match: str = EVERYTHING) -> int:
        """End the open connections whose first request matches; gives how many."""
        found = [connection for connection, request in list(self._open.items()) if re.search(match, request)]
        for connection in found:
            _shut(connection)
        return len(found)

    def change(self, fault: Fault) -> None:
        """From now on this fault; connections that are kept open for more requests are cut, but for streams."""
        self.fault = fault
        self.cut(f"^(?!.*(?:{EXEC}|{EVENTS}|{ARCHIVE}))")

    def calm(self) -> None:
        """No fault from now on."""
        self.thaw()
        if not self.path.exists():
            self.come_back()
        if self.fault != Fault():
            self.change(Fault())
            self.cut(EVENTS)

    def freeze(self) -> None:
        """Take connections and pass nothing on, as an engine that hangs."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open[client] = ""
        try:
            first = client.recv(65536)
            request = self._open[client] = first.split(b"\r\n", 1)[0].decode()
            self._flowing.wait()
            spoilt = re.search(self.fault.match, request) is not None
            if spoilt and self.fault.status:
                client.sendall(_answer(self.fault.status, self.fault.body or UNWELL))
                return
            engine.connect(self._engine)
            engine.sendall(first)
            threading.Thread(target=self._ask, args=(client, engine), daemon=True).start()
            if spoilt:
                self._spoil(engine, client)
            else:
                self._pump(engine, client)
        except OSError:
            pass
        finally:
            del self._open[client]
            _close(client)
            _close(engine)

    def _ask(self, client: socket.socket, engine: socket.socket) -> None:
        """Pass on what the client says; a later request of a connection that is kept is refused like a first one."""
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self._flowing.wait()
                request = REQUEST.match(data)
                if request and self.fault.status and re.search(self.fault.match, request[0].decode()):
                    client.sendall(_answer(self.fault.status, self.fault.body or UNWELL))
                    _shut(client)
                    return
                engine.sendall(data)
            engine.shutdown(socket.SHUT_WR)

    def _spoil(self, engine: socket.socket, client: socket.socket) -> None:
        fault = self.fault
        if fault.endless:
            client.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"Type":"')
            while True:
                client.sendall(b"x" * (1 << 20))
        if fault.cut is not None:
            client.sendall(_cut(engine, client, fault.cut))
            return
        if fault.coalesce or fault.plain_200:
            first = engine.recv(65536)
            engine.settimeout(fault.coalesce or None)
            if fault.coalesce:
                with contextlib.suppress(TimeoutError):
                    first += engine.recv(65536)
            if fault.plain_200:
                first = first.replace(b"101 UPGRADED", b"200 OK", 1)
            client.sendall(first)
        engine.settimeout(fault.idle or None)
        self._pump(engine, client, fault.delay, fault.stuck)

    def _pump(self, source: socket.socket, sink: socket.socket, delay: float = 0.0, stuck: int | None = None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                time.sleep(delay)
                sink.sendall(data)
                passed += len(data)
                if stuck is not None and passed >= stuck:
                    _until_gone(sink)
                    return
            sink.shutdown(socket.SHUT_WR)


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


def _answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Some\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def _until_gone(client: socket.socket) -> None:
    waiting = select.poll()
    waiting.register(client, select.POLLRDHUP)
    waiting.poll()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _close(connection: socket.socket) -> None:
    _shut(connection)
    connection.close()
