"""Holds a container still and lets it go again: pause and unpause, stop and start, or both at once by a restart; and
looks whether that is so.
"""

import http.client
import time
from functools import partial
from typing import Literal

from controller.core.errors import NotFrozen
from controller.engine.api import Api
from controller.engine.errors import message_of, refusal, translated
from controller.engine.models import Inspected
from controller.engine.transport import REQUEST_SECONDS

Transition = Literal["pause", "unpause", "stop", "start", "restart"]
NEEDED_BY = ("backup.quiesce and `restore --stop`", "restores of servers that read their data at their start")
SETTLING_SECONDS = 5.0
"""That the engine may take until what it says that it did is to be seen."""
FREEZING_SECONDS = (0.1, 0.3, 1.0, 3.0)
"""Between attempts at a container that does not freeze; each thaws it, and finds other processes at other places."""


def transition(api: Api, container_id: str, what: Transition, *, deadline: float | None = None) -> None:
    """See `Engine.transition`. A stop may wait until the deadline, since it takes the container's own grace period."""
    timeout = REQUEST_SECONDS
    if what in ("stop", "restart") and deadline is not None:
        timeout = max(1.0, deadline - time.monotonic())
    before = api.inspect(container_id)
    doing = f"asking for POST /containers/{{id}}/{what}, which {NEEDED_BY[what == 'restart']} need"
    with translated(doing, container_id):
        for seconds in (*FREEZING_SECONDS, None):
            status, text = _post(api, f"/containers/{container_id}/{what}", timeout)
            if status in (204, 304):
                break
            error = refusal(status, text, doing, container_id)
            if seconds is None or not isinstance(error, NotFrozen):
                raise error
            time.sleep(seconds)
    api.demand_done(container_id, what, partial(is_done, what, before), SETTLING_SECONDS)


def is_done(what: Transition, before: Inspected, now: Inspected) -> bool:
    """One that was started may have ended since."""
    if what in ("pause", "unpause"):
        return now.paused is (what == "pause")
    if what == "stop":
        return not now.running
    has_started = now.started_at != before.started_at
    return has_started if what == "restart" else now.running or has_started


def _post(api: Api, path: str, timeout: float) -> tuple[int, str]:
    """Status and message of an answer."""
    connection: http.client.HTTPConnection = api.http(timeout)
    try:
        connection.request("POST", api.path(path), headers={"Content-Length": "0"})
        answer = connection.getresponse()
        text = message_of(answer.read(64 << 10))
    finally:
        connection.close()
    return answer.status, text
