"""Connections of clients that are slow or talk nonsense: bounded in time, and answered by a problem like all others.

Apart, because it is below HTTP's requests: uvicorn waits for a request's head without limit, and answers what is no
HTTP in plain text.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from controller.api.problems import Refused

PATIENCE = 30.0
"""Seconds within which the whole head of a request has to arrive, however often a byte of it does."""


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which cuts a client that does not get to the end of its request's head."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn has it.
        super().connection_made(transport)
        self._wait()

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
        self._giving_up = self.loop.call_later(PATIENCE, self._give_up)

    def _stop_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        detail = f"The request's head did not arrive within {PATIENCE:.0f} s."
        self._refuse(Refused(408, "too-slow", detail, hint="Send it in one piece."))

    def _refuse(self, refused: Refused) -> None:
        """Answer where no answer has begun, and close."""
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
