"""Reading a path by the engine's archive endpoint, for targets without `tar` or with everything held still.

The endpoint locks the container for the whole download (inspect, exec and logs wait), so the connection is closed
whatever happens, and a stalled one early. An engine that is being stopped waits for it 15 s, then leaves the container
as it is, kills it at its next start and does not start it again, whatever its restart policy says (moby, 20.10 and
26.1). It takes no connection by then: so that is looked at while reading.
"""

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from controller.core.errors import (
    Cancelled,
    EngineError,
    EngineLost,
    EngineUnreachable,
    SidecarError,
    Stalled,
    StreamTruncated,
    TargetGone,
    TargetUnsuitable,
    TimedOut,
)
from controller.engine.api import Api
from controller.engine.context import ExecContext
from controller.engine.errors import refusal, translated

CHUNK_BYTES = 1 << 20
SHORTEST_WAIT_SECONDS = 0.05
"""Seconds that a read may wait at least."""
ENGINE_CHECK_SECONDS = 1.0
"""Seconds between two checks whether the engine takes connections, and those that one may take."""


class ArchiveStream:
    """A path of a container as a tar. A context manager and iterator of chunks of up to 1 MiB.

    Iterating raises `Stalled` after `stall` seconds without a byte, `TimedOut` at the deadline (of
    `time.monotonic()`), `StreamTruncated` when the answer has no proper end, `EngineLost`, `TargetGone`; entering
    also `TargetUnsuitable` with the code `no-such-path`. The engine answers 200 with members missing when a file
    shrinks: the caller walks every member.
    """

    def __init__(self, api: Api, context: ExecContext, path: str) -> None:
        self._api, self._context, self._path = api, context, path
        self._deadline = context.deadline
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._reason: SidecarError | None = None
        self._size, self._looked = 0, time.monotonic()

    def __enter__(self) -> Self:
        self._context.reading(self)
        self.check()
        self._connection = self._api.http(patience=self._patience)
        self._socket = self._connection.sock
        try:
            with translated("reading an archive", self._context.container):
                self._ask()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        taken = bytearray()
        while piece := self._piece(CHUNK_BYTES - len(taken)):
            self._size += len(piece)
            taken += piece
            if len(taken) == CHUNK_BYTES:
                yield bytes(taken)
                taken.clear()
        self.check()
        if taken:
            yield bytes(taken)

    def _ask(self) -> None:
        assert self._connection is not None
        query = urlencode({"path": self._path})
        try:
            self._connection.request("GET", self._api.path(f"/containers/{self._context.container}/archive?{query}"))
            self._response = self._connection.getresponse()
        except TimeoutError as error:
            raise self._reason or self._waited() from error
        except (OSError, http.client.HTTPException) as error:
            if self._reason is not None:
                raise self._reason from error
            raise
        if self._response.status != 200:
            raise self._refused(self._response.status, self._response.read(4096).decode("utf-8", "replace"))

    def _piece(self, limit: int) -> bytes:
        """What has come, but no more than the limit; nothing at the end."""
        try:
            return self._response.read1(limit)
        except TimeoutError as error:
            raise self._reason or self._waited() from error
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise self._reason or self._cut(error) from error

    def _patience(self) -> float | None:
        """The next read may wait until the stall time-out or the deadline, whichever comes first."""
        self.check()
        self._demand_engine()
        waits = [wait for wait in (self._context.stall, self._until_deadline()) if wait is not None]
        return max(SHORTEST_WAIT_SECONDS, min(waits)) if waits else None

    def _demand_engine(self) -> None:
        """Raises `EngineLost` for an engine that is being stopped; one that is only slow is waited for."""
        if time.monotonic() - self._looked < ENGINE_CHECK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            self._api.connect(ENGINE_CHECK_SECONDS).close()
        except EngineUnreachable as error:
            raise EngineLost(f"the engine is being stopped, after {self._size} bytes: {error.message}") from error
        except EngineError:
            return

    def cancel(self, reason: SidecarError | None = None) -> None:
        """From any thread: close the connection first; whoever iterates gets `reason`, else `Cancelled`."""
        self._reason = self._reason or reason or Cancelled("the run was cancelled")
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def hurry(self, deadline: float) -> None:
        """From any thread: end by then, if not sooner; seen at the next piece."""
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    def check(self) -> None:
        """Raise what stands against going on: a cancellation, the deadline."""
        if self._reason is not None:
            raise self._reason
        if self._until_deadline() == 0:
            raise self._waited()

    def close(self) -> None:
        """Close the connection, which frees the container; more than once."""
        if self._connection is not None:
            self._connection.close()

    def _until_deadline(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _waited(self) -> SidecarError:
        left = self._until_deadline()
        if left is not None and left <= SHORTEST_WAIT_SECONDS:
            return TimedOut("the deadline has passed", hint="Raise backup.timeout.")
        hint = "Raise backup.stall-timeout if the disk is as slow as that; look whether it hangs."
        return Stalled(
            f"the archive sent no byte for {self._context.stall or 0:g} s, after {self._size} bytes", hint=hint
        )

    def _cut(self, error: BaseException) -> SidecarError:
        seen = f"the archive of {self._path} was cut after {self._size} bytes: {str(error) or type(error).__name__}"
        try:
            self._api.inspect(self._context.container)
        except TargetGone as gone:
            return gone
        except EngineError as lost:
            return EngineLost(f"{seen}; {lost.message}")
        return StreamTruncated(seen)

    def _refused(self, status: int, text: str) -> SidecarError:
        if status == 404 and "No such container" not in text:
            return TargetUnsuitable(
                f"the container has no path {self._path}",
                hint="Correct backup.filesystem.paths.",
                code="no-such-path",
            )
        return refusal(status, text, "reading an archive", self._context.container)
