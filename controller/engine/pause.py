"""Holds a container still and lets it go again: pause and unpause, stop and start."""

import http.client
import json
import time
from typing import Literal

from controller.engine.api import REQUEST_SECONDS, Api
from controller.engine.errors import refusal, translated

Transition = Literal["pause", "unpause", "stop", "start"]


def transition(api: Api, container_id: str, what: Transition, *, deadline: float | None = None) -> None:
    """See `Engine.transition`. A stop may wait until the deadline, since it takes the container's own grace period."""
    timeout = REQUEST_SECONDS
    if what == "stop" and deadline is not None:
        timeout = max(1.0, deadline - time.monotonic())
    doing = f"asking for POST /containers/{{id}}/{what}, which backup.quiesce needs"
    with translated(doing, container_id):
        status, text = _post(api, f"/containers/{container_id}/{what}", timeout)
        if status not in (204, 304):
            raise refusal(status, text, doing, container_id)


def _post(api: Api, path: str, timeout: float) -> tuple[int, str]:
    """Status and message of an answer."""
    connection: http.client.HTTPConnection = api.http(timeout)
    try:
        connection.request("POST", api.path(path), headers={"Content-Length": "0"})
        answer = connection.getresponse()
        text = answer.read(64 << 10).decode("utf-8", "replace")
    finally:
        connection.close()
    try:
        return answer.status, str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.status, text
