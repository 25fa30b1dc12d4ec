"""A raw connection to the engine that one thread reads and any thread may cut: deadlines, head, bytes."""

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from typing import NamedTuple

from controller.core.errors import Cancelled, EngineError, SidecarError, Stalled, TimedOut
from controller.engine.api import Api
from controller.engine.errors import message_of, refusal, translated

TICK_SECONDS = 1.0
"""Seconds after which a wait looks at its deadlines again."""
BURST_PAUSE_SECONDS = 0.0003
"""Seconds that a fast stream is left alone between two reads. It halves our share of the processor and a stream's time
(measured on two cores): the engine writes 32 KiB at a time, and waking for each takes the core from it."""
BURST_BYTES_FROM, BURST_BYTES_BELOW = 16 << 10, 180 << 10
"""Sizes of a read, in bytes, between which the stream is fast and its socket not yet full."""
HEAD_LIMIT_BYTES = 64 << 10
START_SECONDS = 20.0
"""Seconds that the engine may take to start an exec."""


class Head(NamedTuple):
    """The head of an HTTP answer, and what came behind it."""

    status: int
    rest: bytes


class Wire:
    """One connection. The socket blocks in the kernel and wakes each tick, which costs one system call a read.

    Reading raises `Stalled` after `stall` seconds of waiting without a byte, `TimedOut` at the deadline, what
    `cancel` was told, and `OSError` when the connection breaks.
    """

    def __init__(self, connection: socket.socket, *, deadline: float | None = None, stall: float | None = None) -> None:
        connection.settimeout(None)
        pause = struct.pack("ll", int(TICK_SECONDS), 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pause)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pause)
        self._connection = connection
        self._deadline, self._stall = deadline, stall
        self._quiet = 0.0
        self._last = 0
        """Bytes that the last read gave."""
        self._reason: SidecarError | None = None
        self._lock = threading.Lock()
        self._closed = False

    def receive_into(self, view: memoryview) -> int | None:
        """How many bytes came; 0 at the end, None when there was nothing for a tick."""
        self.check()
        if BURST_BYTES_FROM <= self._last < BURST_BYTES_BELOW:
            time.sleep(BURST_PAUSE_SECONDS)
        began, self._last = time.monotonic(), 0
        try:
            count = self._connection.recv_into(view)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._quiet += time.monotonic() - began
            self.check()
            return None
        except OSError:
            self.check()
            raise
        self._quiet, self._last = 0.0, count
        if count == 0:
            self.check()
        return count

    def send(self, data: bytes | memoryview, stall: float | None = None) -> None:
        """All of it, by the deadline. Raises `Stalled` when the other side takes nothing for `stall` seconds."""
        view, taken_at = memoryview(data).cast("B"), time.monotonic()
        while view:
            self.check()
            try:
                view, taken_at = view[self._connection.send(view) :], time.monotonic()
            except (BlockingIOError, ssl.SSLWantWriteError):
                if stall is not None and time.monotonic() - taken_at >= stall:
                    raise Stalled(f"the command took no byte of its input for {stall:g} s") from None

    def end_sending(self) -> None:
        """Half-close: the other side sees the end of its input; over TLS by a close-notify (RFC 8446, 6.1)."""
        connection = self._connection
        if not isinstance(connection, ssl.SSLSocket):
            connection.shutdown(socket.SHUT_WR)
            return
        connection.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            connection.unwrap()
        connection.setblocking(True)

    def head(self) -> Head:
        """Read the head of an answer. Raises `EngineError` when it is none, `TimedOut` after 20 s."""
        buffer, began = bytearray(), time.monotonic()
        piece = memoryview(bytearray(HEAD_LIMIT_BYTES))
        while b"\r\n\r\n" not in buffer and len(buffer) < HEAD_LIMIT_BYTES:
            count = self.receive_into(piece)
            if count == 0:
                raise ConnectionResetError("the connection ended within the head of the answer")
            if time.monotonic() - began > START_SECONDS:
                raise TimeoutError(f"no answer for {START_SECONDS:.0f} s")
            buffer += piece[: count or 0]
        head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].split(b" ")
        if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].isdigit():
            raise EngineError(
                "the engine's answer is no HTTP", hint="Check the engine's address, and whether it wants TLS."
            )
        if b"transfer-encoding: chunked" in head.lower() and status[1] in (b"101", b"200"):
            raise EngineError(
                "a proxy before the engine sends the stream in chunks",
                hint="Use a proxy that passes `Upgrade: tcp` through.",
            )
        return Head(int(status[1]), rest)

    def check(self) -> None:
        """Raise what stands against going on."""
        if self._reason is not None:
            raise self._reason
        if self._closed:
            raise Cancelled("the stream was closed")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise TimedOut("the deadline has passed", hint="Raise backup.timeout, or make the dump smaller.")
        if self._stall is not None and self._quiet >= self._stall:
            raise Stalled(
                f"no byte for {self._stall:g} s",
                hint="Raise backup.stall-timeout if the command is silent for so long; look at the target's locks.",
            )

    def hurry(self, deadline: float) -> None:
        """From any thread: have no later deadline than this; it is seen within a tick."""
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    def cancel(self, reason: SidecarError | None = None) -> None:
        """From any thread: end the connection; whoever reads or writes gets the reason, else `Cancelled`."""
        with self._lock:
            self._reason = self._reason or reason or Cancelled("the run was cancelled")
            self._shut()

    def shut(self) -> None:
        """From any thread: end the connection without a reason; who writes gets a broken pipe, who reads the end."""
        with self._lock:
            self._shut()

    def close(self) -> None:
        """From any thread, more than once."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._shut()
                self._connection.close()

    def _shut(self) -> None:
        # The plain socket's method, since that of an SSL socket would first unwrap it under a reader's feet.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)


def start_exec(
    api: Api, exec_id: str, container_id: str, *, deadline: float | None, stall: float | None
) -> tuple[Wire, bytes]:
    """Start a prepared exec on a connection of its own: the wire, and the first bytes that came with the head.

    Asks for an upgrade to raw TCP and takes 200 as well as 101, which HAProxy turns it into.
    """
    body = json.dumps({"Detach": False, "Tty": False})
    request = (
        f"POST {api.path(f'/exec/{exec_id}/start')} HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    wire = Wire(api.connect(), deadline=deadline, stall=stall)
    try:
        with translated("starting a command", container_id):
            wire.send(request.encode())
            head = wire.head()
            if head.status not in (101, 200):
                raise refusal(head.status, _message(wire, head.rest), "starting a command", container_id)
    except BaseException:
        wire.close()
        raise
    return wire, head.rest


def _message(wire: Wire, rest: bytes) -> str:
    """The text of a refusal, which is a small JSON object; whatever has come after one more read will do."""
    piece = memoryview(bytearray(HEAD_LIMIT_BYTES))
    with contextlib.suppress(OSError):
        if b"}" not in rest:
            rest += piece[: wire.receive_into(piece) or 0]
    return message_of(rest)
