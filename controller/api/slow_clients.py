"""Bounds what clients that are slow, many, never finish or talk nonsense take, and answers them by a problem too.

uvicorn waits for a request's head without limit, has none for its body, and answers what is no HTTP in plain text.
"""

import asyncio
import math
import re
from typing import Any

import h11
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from controller.api.callers import Caller
from controller.api.problems import Refused
from controller.api.refusals import Refusals
from controller.core.redaction import Redact

HEAD_TIMEOUT_SECONDS = 30.0
"""Within which the whole head of a request has to arrive, however often a byte of it does."""
BODY_TIMEOUT_SECONDS = 30.0
"""Within which the next piece of a request's body has to arrive."""
MAX_BODY_BYTES = 64 << 10
BACKUP = re.compile(r"/v1/(targets/.+/)?adopt")
"""Paths to which administrators send backups."""


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which cuts a client that does not get to the end of its request's head.

    What it overrides is no public interface: pyproject.toml keeps uvicorn below the next release that may change it.
    """

    _giving_up: asyncio.TimerHandle | None = None

    def __init__(self, most: int, refusals: Refusals, *parts: Any, **more: Any) -> None:
        """Of `most` connections; for one more, that is closed which has waited for its request for the longest."""
        super().__init__(*parts, **more)
        self._most, self._refusals = most, refusals

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn has it.
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > self._most:
            ours = [each for each in self.connections if isinstance(each, PatientProtocol)]
            oldest = min(ours, key=PatientProtocol.waits_until)
            address = oldest.client[0] if oldest.client else "socket"
            self._refusals.note("too-many-connections", address, f"a connection beyond {self._most} was closed")
            oldest.abort()

    def abort(self) -> None:
        """Close it at once, and count it no longer."""
        self.connections.discard(self)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Refused(400, "bad-request", "This is no HTTP request.", hint="Speak HTTP/1.1 here."))

    def _wait(self) -> None:
        self._stop_waiting()
        self._giving_up = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._give_up)

    def waits_until(self) -> float:
        """Of the loop's clock; for ever for one with a request under way."""
        return self._giving_up.when() if self._giving_up else math.inf

    def _stop_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        detail = f"The request's head did not arrive within {HEAD_TIMEOUT_SECONDS:.0f} s."
        self._refuse(Refused(408, "too-slow", detail, hint="Send it in one piece."))

    def _refuse(self, refused: Refused) -> None:
        """Answer where no answer has begun, and close the connection."""
        if not self.transport.is_closing() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = refused.response(str)
            headers: list[Any] = [*answer.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=refused.status, headers=headers),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Unambiguous:
    """Refuses a request whose length is told in two ways: a proxy before it may have believed the other one."""

    def __init__(self, app: ASGIApp, redact: Redact) -> None:
        self._app, self._redact = app, redact

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if {"content-length", "transfer-encoding"} <= set(Headers(scope=scope)):
            detail, hint = "It says Content-Length and Transfer-Encoding.", "Send one of them."
            refused = Refused(400, "bad-request", detail, hint=hint, headers={"Connection": "close"})
            await refused.response(self._redact)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class Limited:
    """Refuses large bodies, whether announced or not, and those that take too long to come."""

    def __init__(self, app: ASGIApp, redact: Redact) -> None:
        self._app, self._redact = app, redact

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller | None = scope.get("caller")
        if caller and caller.may("admin") and BACKUP.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if len(announced) < 10 and int(announced) <= MAX_BODY_BYTES:
            await self._app(scope, bounded(receive), send)
            return
        detail, hint = f"A body may have {MAX_BODY_BYTES} bytes.", "Send less."
        # The rest of the body would be taken for the next request.
        refused = Refused(413, "too-large", detail, hint=hint, headers={"Connection": "close"})
        await refused.response(self._redact)(scope, receive, send)


def bounded(receive: Receive) -> Receive:
    """The same for a body that is small, and whose pieces come in time; raises `HTTPException`."""
    left, whole = MAX_BODY_BYTES, False

    async def received() -> Message:
        nonlocal left, whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), BODY_TIMEOUT_SECONDS)
        except TimeoutError:
            raise HTTPException(408) from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413)
        whole = not message.get("more_body", False)
        return message

    return received
