"""Every error of docker, requests, urllib3, http.client and sockets becomes one of ours; addresses are understood."""

import http.client
import inspect
import socket
import ssl
from pathlib import Path

import docker.errors
import pytest
import requests
import urllib3.exceptions

from controller.core.errors import (
    BadAnswer,
    EngineError,
    EngineLost,
    EngineRefused,
    EngineUnreachable,
    SidecarError,
    TargetDied,
    TargetGone,
    TargetPaused,
)
from controller.engine.address import Address
from controller.engine.api import OWN_ID, Api
from controller.engine.client import Engine
from controller.engine.errors import translated


def answer(status: int, text: str) -> docker.errors.APIError:
    response = requests.Response()
    response.status_code = status
    return docker.errors.APIError("refused", response, text)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (answer(404, "No such container: abc"), TargetGone),
        (answer(409, "Container abc is paused, unpause the container before exec"), TargetPaused),
        (answer(409, "Container abc is restarting, wait until the container is running"), TargetPaused),
        (answer(409, "container abc is not running"), TargetDied),
        (answer(409, "removal is in progress"), EngineError),
        (answer(401, "who"), EngineRefused),
        (answer(403, "Forbidden"), EngineRefused),
        (answer(500, "oops"), EngineError),
        (answer(503, "no server"), EngineLost),
        (ConnectionRefusedError(), EngineUnreachable),
        (FileNotFoundError(2, "no socket"), EngineUnreachable),
        (PermissionError(13, "denied"), EngineRefused),
        (ssl.SSLCertVerificationError("who are you"), EngineUnreachable),
        (socket.gaierror(-2, "unknown host"), EngineUnreachable),
        (ConnectionResetError(), EngineLost),
        (BrokenPipeError(), EngineLost),
        (TimeoutError(), EngineLost),
        (OSError(5, "odd"), EngineLost),
        (http.client.IncompleteRead(b""), EngineLost),
        (http.client.BadStatusLine("x"), EngineLost),
        (http.client.InvalidURL("x"), BadAnswer),
        (urllib3.exceptions.ProtocolError("aborted", ConnectionResetError()), EngineLost),
        (requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("a", PermissionError())), EngineRefused),
        (requests.exceptions.ConnectionError(FileNotFoundError(2, "none")), EngineUnreachable),
        (requests.exceptions.ReadTimeout("slow"), EngineLost),
        (requests.exceptions.ConnectTimeout("slow"), EngineUnreachable),
        (requests.exceptions.ChunkedEncodingError("cut"), EngineLost),
        (docker.errors.DockerException("Error while fetching server API version"), EngineUnreachable),
        (ValueError("no JSON"), BadAnswer),
        (TypeError("a null where a list should be"), BadAnswer),
        (RecursionError("too deep"), BadAnswer),
    ],
    ids=lambda value: value.__name__ if inspect.isclass(value) else repr(value)[:50],
)
def test_an_error_is_translated(error: Exception, ours: type[SidecarError]) -> None:
    with pytest.raises(SidecarError) as failed, translated("looking", "abc"):
        raise error
    assert type(failed.value) is ours
    assert "while looking" in failed.value.message
    assert failed.value.__cause__ is error


# Those of docker about contexts belong to its command line's settings, which are not used.
LIBRARIES = (docker.errors, requests.exceptions, urllib3.exceptions, http.client)


@pytest.mark.parametrize(
    "kind",
    sorted(
        {
            kind
            for library in LIBRARIES
            for _, kind in inspect.getmembers(library, inspect.isclass)
            if issubclass(kind, Exception) and not issubclass(kind, Warning) and "Context" not in kind.__name__
        },
        key=lambda kind: f"{kind.__module__}.{kind.__name__}",
    ),
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_no_error_of_a_library_gets_through(kind: type[Exception]) -> None:
    said = {name: lambda self: "text" for name in ("__str__", "__repr__")}
    bare = type(
        kind.__name__, (kind,), {"__init__": lambda self: None, "response": None, "explanation": "text", **said}
    )
    with pytest.raises(SidecarError), translated("looking"):
        raise bare()


def test_our_own_errors_pass_unchanged() -> None:
    ours = TargetGone("gone")
    with pytest.raises(TargetGone) as failed, translated("looking"):
        raise ours
    assert failed.value is ours


def test_an_engine_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineUnreachable, match=r"none\.sock|No such file"):
        engine.version()


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        (None, {}, "unix:///var/run/docker.sock"),
        (None, {"DOCKER_HOST": "tcp://engine:1234"}, "tcp://engine:1234"),
        ("unix:///run/other.sock", {"DOCKER_HOST": "tcp://engine:1234"}, "unix:///run/other.sock"),
        ("/run/plain.sock", {}, "unix:///run/plain.sock"),
        ("tcp://engine", {}, "tcp://engine:2375"),
        ("tcp://engine", {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}, "https://engine:2376"),
        ("tcp://[::1]:99", {}, "tcp://[::1]:99"),
    ],
)
def test_an_address_is_found(text: str | None, environment: dict[str, str], expected: str) -> None:
    assert str(Address.find(text, environment)) == expected


@pytest.mark.parametrize("text", ["ssh://somebody@engine", "npipe:////./pipe/docker", "unix://", "nonsense"])
def test_an_address_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="cannot use the engine address"):
        Address.find(text, {})


def test_outside_a_container_there_is_no_own_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    empty = tmp_path / "mountinfo"
    empty.write_text("36 35 98:0 / / rw - ext4 /dev/root rw\n")
    assert Api(f"unix://{tmp_path}/none.sock").own_container_id(empty) is None


@pytest.mark.parametrize("folder", ["docker/containers/{}", "containers/storage/overlay-containers/{}/userdata"])
@pytest.mark.parametrize("file", ["hostname", "hosts", "resolv.conf"])
def test_the_files_that_an_engine_mounts_name_the_own_container(folder: str, file: str) -> None:
    own = "0123456789abcdef" * 4
    found = OWN_ID.search(f"36 35 0:50 /run/{folder.format(own)}/{file} /etc/{file} ro - tmpfs tmpfs rw\n")
    assert found
    assert found[1] == own


def test_a_refused_request_is_named_with_what_it_is_needed_for() -> None:
    with pytest.raises(EngineRefused) as failed, translated("listing networks"):
        raise answer(403, "Forbidden")
    assert "`GET /networks`" in failed.value.hint
    assert "find targets" in failed.value.hint
