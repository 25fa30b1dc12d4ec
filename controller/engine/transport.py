"""Connections to the engine whose answers have bounds: in bytes, in seconds, and nothing in them is unpacked.

An engine, or a proxy before it, may answer anything at any pace. docker-py reads whole bodies into memory and waits for
each byte anew, so its requests go over these connections too.
"""

import http.client
import io
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import docker
import urllib3
from docker.transport.basehttpadapter import BaseHTTPAdapter

from controller.core.errors import BadAnswer

REQUEST_SECONDS = 20.0
"""Seconds that an ordinary request may take."""
ANSWER_BYTES = 64 << 20
"""Bytes that an ordinary answer may have, head included."""

Patience = Callable[[], float | None]
"""Is asked before each read: seconds that it may wait, None for any; may raise to give up."""


class Deadline:
    """Patience for so many seconds, however many reads they take."""

    def __init__(self, seconds: float) -> None:
        self.renew(seconds)

    def renew(self, seconds: float) -> None:
        """From now on."""
        self._end, self._seconds = time.monotonic() + seconds, seconds

    def __call__(self) -> float:
        if (left := self._end - time.monotonic()) <= 0:
            raise TimeoutError(f"not whole after {self._seconds:g} s")
        return left


class Reader(io.RawIOBase):
    """The bytes of an answer as they come, with patience, up to a limit."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, patience: Patience, limit: int | None) -> None:
        self._raw, self._connection, self._patience, self._left = raw, connection, patience, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(self._patience())
        count = self._raw.readinto(buffer)
        if self._left is not None:
            self._left -= count or 0
            if self._left < 0:
                raise BadAnswer("the engine's answer is too large: it has more than 64 MiB")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class Answer(http.client.HTTPResponse):
    """An answer with bounds. Without `patience` it is an ordinary one, with it a stream, which may be of any size."""

    def __init__(
        self,
        connection: socket.socket,
        *more: Any,
        seconds: float = REQUEST_SECONDS,
        patience: Patience | None = None,
        **named: Any,
    ) -> None:
        super().__init__(connection, *more, **named)
        limit = ANSWER_BYTES if patience is None else None
        raw = Reader(self.fp.detach(), connection, patience or Deadline(seconds), limit)
        self.fp = io.BufferedReader(raw, 64 << 10)

    def begin(self) -> None:
        super().begin()
        # A small body could become a large one.
        del self.headers["Content-Encoding"]


class Connection(http.client.HTTPConnection):
    """A connection of its owner's own, for one request."""

    auto_open = 0  # It is never made anew.

    def __init__(self, connection: socket.socket, seconds: float, patience: Patience | None) -> None:
        super().__init__("engine")
        self.sock: socket.socket = connection
        answer: Any = partial(Answer, seconds=seconds, patience=patience)
        self.response_class = answer
        self._answer: http.client.HTTPResponse | None = None

    def getresponse(self) -> http.client.HTTPResponse:
        self._answer = answer = super().getresponse()
        return answer

    def close(self) -> None:
        """With the answer, which has the socket to itself where the engine says that it will close it."""
        super().close()
        if self._answer is not None:
            self._answer.close()


class PooledConnection(urllib3.connection.HTTPConnection):
    """A connection of docker-py's, for one request after the other."""

    response_class = Answer

    def __init__(self, *more: Any, connect: Callable[[], socket.socket], **named: Any) -> None:
        super().__init__(*more, **named)
        self._connect = connect

    def _new_conn(self) -> socket.socket:
        return self._connect()


class Transport(BaseHTTPAdapter):
    """The way of all requests of docker-py, wherever it means to send them."""

    def __init__(self, connect: Callable[[], socket.socket], size: int) -> None:
        super().__init__()
        self._pool = urllib3.HTTPConnectionPool("engine", maxsize=size)
        self._pool.ConnectionCls = partial(PooledConnection, connect=connect)  # type: ignore[assignment]

    def get_connection(self, *_: Any, **__: Any) -> urllib3.HTTPConnectionPool:
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        return str(request.path_url)

    def close(self) -> None:
        self._pool.close()


def client(version: str, connect: Callable[[], socket.socket], size: int) -> docker.APIClient:
    """docker-py's low-level client for an API version, over such connections."""
    made = docker.APIClient(base_url="http://engine:80", version=version, timeout=int(REQUEST_SECONDS))
    made.adapters.clear()
    made.mount("http://", Transport(connect, size))
    made.trust_env, made.max_redirects = False, 0
    return made
