"""The one place where errors of docker, requests, urllib3, http.client and sockets, and those that an answer of another
shape brings about, become our own.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import docker.errors
import requests
import urllib3.exceptions

from controller.core.errors import (
    BadAnswer,
    EngineError,
    EngineLost,
    EngineRefused,
    EngineUnreachable,
    NotFrozen,
    SidecarError,
    TargetDied,
    TargetGone,
    TargetPaused,
)

UNREACHABLE_HINT = "Check that the engine runs, that its socket is mounted, and DOCKER_HOST."
DISCOVERY, COMMANDS = "to find targets", "to run anything in a target"
NEEDS: Mapping[str, tuple[str, str]] = {
    "negotiating the API version": ("GET /version", "for everything"),
    "listing containers": ("GET /containers/json", DISCOVERY),
    "listing networks": ("GET /networks", DISCOVERY),
    "inspecting the container": ("GET /containers/{id}/json", DISCOVERY),
    "asking for an image's labels": ("GET /images/{id}/json", "to tell an image's labels from the operator's"),
    "subscribing to events": ("GET /events", "to see containers start and stop"),
    "preparing a command": ("POST /containers/{id}/exec", COMMANDS),
    "starting a command": ("POST /exec/{id}/start", COMMANDS),
    "inspecting a command": ("GET /exec/{id}/json", "to learn how a command has ended"),
    "reading an archive": ("GET /containers/{id}/archive", "for targets without tar, and for quiesced ones"),
}
"""The request that a proxy has to allow, and what for, by what is being done."""


@contextmanager
def translated(doing: str, container: str = "") -> Iterator[None]:
    """Turn what goes wrong inside into `controller.core.errors`; `doing` completes "while ..." in the message."""
    try:
        yield
    except SidecarError:
        raise
    except Exception as error:
        raise _answered(error, doing, container) or failure(error, doing) from error


def _answered(error: Exception, doing: str, container: str) -> SidecarError | None:
    """The error for an answer of the engine, which docker-py wraps when it asks for the version; None without one."""
    answer = next((cause for cause in _causes(error) if isinstance(cause, docker.errors.APIError)), None)
    if answer is None:
        return None
    status = answer.status_code if answer.response is not None else 500
    return refusal(int(status or 500), str(answer.explanation or answer), doing, container)


def message_of(body: bytes) -> str:
    """What a refusal says: the text in its JSON, or all of it where it is none."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(text)["message"])
    return text


def refusal(status: int, text: str, doing: str, container: str = "") -> SidecarError:
    """The error for an answer of the engine with this HTTP status and text (moby's API reference, 1.24 and later)."""
    name, text = container[:12] or "the container", text.strip()
    if status == 404 and "exec" not in text.lower().split("container")[0]:
        return TargetGone(f"container {name} does not exist any more, while {doing}: {text}")
    if status == 409 and ("paused" in text or "restarting" in text):
        return TargetPaused(f"container {name} is paused or restarting, while {doing}: {text}")
    if status == 409 and "not running" in text:
        return TargetDied(f"container {name} is not running, while {doing}: {text}")
    if status in (401, 403, 405):
        request, purpose = NEEDS.get(doing, ("this request", "here"))
        return EngineRefused(
            f"the engine, or a proxy before it, refused with status {status}, while {doing}: {text}",
            hint=f"Allow `{request}` in the socket proxy: it is needed {purpose}.",
        )
    if status in (502, 503, 504):
        return EngineLost(f"the engine does not answer behind its proxy (status {status}), while {doing}: {text}")
    # runc (libcontainer, freezer.go): `unable to freeze` under cgroup v1, `waiting for the cgroup to freeze` under v2.
    kind = NotFrozen if " to freeze" in text else EngineError
    return kind(f"the engine answered with status {status}, while {doing}: {text}")


def failure(error: BaseException, doing: str) -> EngineError:
    """The error for a connection that could not be made, broke, timed out or spoke nonsense."""
    causes = list(_causes(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return EngineRefused(
            f"no permission to use the engine's socket, while {doing}",
            hint="Give the sidecar the group that owns the socket on the host.",
        )
    if any(isinstance(cause, _NEVER_CONNECTED) for cause in causes):
        return EngineUnreachable(f"cannot reach the engine, while {doing}: {causes[-1]}", hint=UNREACHABLE_HINT)
    if not isinstance(error, ValueError) and any(isinstance(cause, _BROKE) for cause in causes):
        return EngineLost(f"the connection to the engine broke, while {doing}: {causes[-1]!r}")
    if isinstance(error, (docker.errors.DockerException, requests.exceptions.ConnectionError)):
        return EngineUnreachable(f"cannot reach the engine, while {doing}: {causes[-1]}", hint=UNREACHABLE_HINT)
    return BadAnswer(f"unexpected answer of the engine, while {doing}: {type(error).__name__}: {str(error)[:200]}")


_NEVER_CONNECTED = (
    ConnectionRefusedError,
    FileNotFoundError,
    socket.gaierror,
    ssl.SSLCertVerificationError,
    requests.exceptions.ConnectTimeout,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
)
_BROKE = (
    ConnectionError,
    TimeoutError,
    http.client.IncompleteRead,
    http.client.BadStatusLine,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.TimeoutError,
    urllib3.exceptions.ProtocolError,
    OSError,
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything it was made from: causes, contexts, and errors carried as arguments, as urllib3 does."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__]
        waiting += [argument for argument in current.args if isinstance(argument, BaseException)]
        reason = getattr(current, "reason", None)
        if isinstance(reason, BaseException):
            waiting.append(reason)
