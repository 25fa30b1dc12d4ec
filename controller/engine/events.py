"""What happens at the engine, as it happens; an event only means "look again"."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlencode

from controller.core.errors import BadAnswer, EngineLost
from controller.engine.api import Api
from controller.engine.errors import message_of, refusal, translated
from controller.engine.models import Event
from controller.engine.transport import Deadline

SUBSCRIPTION_SECONDS = 20.0
"""Seconds that the engine may take to take a subscription."""
EVENT_BYTES = 1 << 20
"""Bytes that an event may have."""
ACTIONS = {
    "container": ("create", "start", "die", "oom", "pause", "unpause", "rename", "destroy", "update", "kill", "stop"),
    "network": ("create", "connect", "disconnect", "destroy", "remove"),
}
"""Without those of execs, of which each health check makes three."""


class EventStream:
    """Container and network events, oldest first; ends when it is closed, and when there was none for long.

    It is connected when it is made, so that a list that is fetched afterwards misses nothing. Raises
    `EngineUnreachable`, `EngineRefused` at once, `EngineLost` when the other side ends the stream or the connection
    breaks.
    """

    def __init__(self, api: Api, since: str | None, *, silence: float) -> None:
        filters = {"type": list(ACTIONS), "event": sorted({name for names in ACTIONS.values() for name in names})}
        query = {"filters": json.dumps(filters)} | ({"since": since} if since else {})
        path = api.path(f"/events?{urlencode(query)}")
        self._deadline = Deadline(SUBSCRIPTION_SECONDS)
        self._connection = api.http(timeout=SUBSCRIPTION_SECONDS, patience=self._deadline)
        self._closed, self._silence = False, silence
        try:
            with translated("subscribing to events"):
                self._connection.request("GET", path)
                self._socket = self._connection.sock
                self._response = self._connection.getresponse()
                if self._response.status != 200:
                    text = message_of(self._response.read(4096))
                    raise refusal(self._response.status, text, "subscribing to events")
        except BaseException:
            self._connection.close()
            raise

    def __iter__(self) -> Iterator[Event]:
        try:
            with translated("waiting for events"):
                yield from self._events()
        finally:
            self._shut()

    def close(self) -> None:
        """From any thread, more than once: the iterator ends."""
        self._closed = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _events(self) -> Iterator[Event]:
        while not self._closed:
            try:
                self._deadline.renew(self._silence)
                line = self._response.readline(EVENT_BYTES + 1)
            except TimeoutError:
                return
            except (OSError, http.client.HTTPException):
                if self._closed:
                    return
                raise
            if len(line) > EVENT_BYTES:
                raise BadAnswer("the engine's event is too large: it has more than 1 MiB")
            if not line.endswith(b"\n"):
                if self._closed:
                    return
                raise EngineLost("the engine, or a proxy before it, ended the stream of events")
            event = Event.from_json(json.loads(line))
            if event.action in ACTIONS.get(event.type, ()):
                yield event

    def _shut(self) -> None:
        self._closed = True
        self._response.close()
        self._connection.close()
