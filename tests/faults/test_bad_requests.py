"""Every bad request to the real server: a problem with its code, never a 500, and the next request is answered."""

import http.client
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.faults.conftest import config_folder
from tests.kit import stage
from tests.kit.stage import STORE, Sidecar, within

pytestmark = pytest.mark.e2e

Told = Callable[[str, object], None]
RUNS, EXPORT = "/v1/targets/{key}/runs", "/targets/{key}/backup/export"
ARTIFACT = "/v1/runs/{run}/artifacts/backup.zst"
FILES, PROJECT = "/v1/runs/{run}/artifacts", "/v1/targets/{project}"
NOBODY = "20260101T000000Z-00000000"
ABSOLUTE = "%2Fetc%2Fpasswd"
BUSY = "/v1/targets/{project}/busy/runs"
JSON = {"Content_Type": "application/json"}
BODIES = {
    "is no JSON": b"{",
    "is of a wrong type": b'"words"',
    "is nested too deep": b"[" * 30_000,
    "holds NaN": b'{"timeout": NaN}',
    "holds an unknown field": b'{"timeuot": "1h"}',
}
EVIL = {"..": "..", "`%2e`": "%2e%2e", "`%00`": "%00", "10 KB": "x" * 10_000}


@dataclass(frozen=True)
class Stand:
    """A sidecar with a good target and its run, a disabled target and one that is under way."""

    sidecar: Sidecar
    run: str
    busy: str
    """Id of the run that is under way."""

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, str, bytes]:
        """Status, media type and body; no client tidies up the path."""
        address = self.sidecar.http.base_url
        key = self.sidecar.key("good")
        path = path.format(run=self.run, key=key, project=self.sidecar.project)
        connection = http.client.HTTPConnection(address.host, address.port or 80, timeout=20)
        try:
            connection.putrequest(method, path)
            for name, value in ({"Authorization": f"Bearer {self.sidecar.token}"} | dict(headers)).items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, str(answer.headers["Content-Type"]), answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    config = config_folder(tmp_path_factory.mktemp("requests") / "config", token)
    with stage.sidecar(f"requests-{secrets.token_hex(3)}", config, token) as (own, app):
        app.target("good", {"commands.backup": "head -c 100000 /dev/urandom"})
        app.target("busy", {"commands.backup": "echo begun; sleep 80"})
        app.start("sleeping", {"strategy": "filesystem"})
        run = own.backup("good")["id"]
        own.wait("busy")
        own.wait("sleeping", "disabled")
        yield Stand(own, run, own.start("busy"))


def row(fault: str, method: str, path: str, status: int, code: str, *, body: bytes = b"", **headers: str) -> object:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    marks = pytest.mark.fault(0, fault, f"{status} `{code}`" if code else f"{status}")
    return pytest.param(method, path, given, body, status, code, marks=marks, id=fault)


ROWS = [
    row("no token", "GET", "/v1/targets", 401, "unauthorized", Authorization=""),
    row("wrong token", "GET", "/v1/targets", 401, "unauthorized", Authorization="Bearer wrong"),
    row("a token that was replaced", "POST", EXPORT, 401, "unauthorized", Authorization=f"Bearer {'0' * 32}"),
    row("an unknown field in the query", "GET", "/v1/runs?limt=5", 422, "bad-value"),
    row("a wrong type in the query", "GET", "/v1/runs?limit=many", 422, "bad-value"),
    row("NaN in the query", "GET", "/v1/runs?limit=NaN", 422, "bad-value"),
    row("a body that is too large", "POST", RUNS, 413, "too-large", body=bytes(70_000)),
    *(
        row(f"a body that {what}, where none is read", "POST", BUSY, 409, "run-in-progress", body=body, **JSON)
        for what, body in BODIES.items()
    ),
    *(row(f"run id: {what}", "GET", f"/v1/runs/{evil}", 404, "unknown-run") for what, evil in EVIL.items()),
    *(row(f"artifact: {what}", "GET", f"{FILES}/{evil}", 404, "unknown-run") for what, evil in EVIL.items()),
    *(row(f"key: {what}", "POST", f"{PROJECT}/{evil}/runs", 404, "unknown-target") for what, evil in EVIL.items()),
    row("run id: absolute", "GET", f"/v1/runs/{ABSOLUTE}", 404, "unknown-route"),
    row("artifact: absolute", "GET", f"{FILES}/{ABSOLUTE}", 404, "unknown-route"),
    row("key: absolute", "POST", f"{PROJECT}/{ABSOLUTE}/runs", 404, "unknown-target"),
    row("a run that nobody knows", "GET", f"/v1/runs/{NOBODY}", 404, "unknown-run"),
    row("Range reversed", "GET", ARTIFACT, 416, "bad-range", Range="bytes=5-2"),
    row("Range beyond the end", "GET", ARTIFACT, 416, "bad-range", Range="bytes=99999999-"),
    row("a thousand Ranges", "GET", ARTIFACT, 200, "", Range="bytes=" + ",".join(["0-1"] * 1000)),
    row("stale If-Range", "GET", ARTIFACT, 200, "", Range="bytes=0-1", If_Range='"other"'),
    row("disabled target", "POST", "/v1/targets/{project}/sleeping/runs", 409, "not-enabled"),
    row("target under way", "POST", BUSY, 409, "run-in-progress"),
    row("unknown target", "POST", "/v1/targets/{project}/goood/runs", 404, "unknown-target"),
    row("wrong method", "DELETE", "/v1/targets", 405, "wrong-method"),
    row("unknown address", "GET", "/nowhere", 404, "unknown-route"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "headers", "body", "status", "code"), ROWS)
def test_a_bad_request_is_answered_by_a_problem(
    method: str, path: str, headers: dict[str, str], body: bytes, status: int, code: str,
    stand: Stand, record_property: Told,
) -> None:  # fmt: skip
    found, media, text = stand.ask(method, path, headers, body)

    assert found == status, text[:500]
    if code:
        problem = json.loads(text)
        assert (media, problem["type"], problem["status"]) == ("application/problem+json", code, status)
        assert "Traceback" not in str(problem)
        told = f"{problem['detail']} {problem.get('hint', '')}".replace(stand.sidecar.project, "shop")
        record_property("seen", told.replace(stand.busy, "<id>")[:200].strip())
    assert stand.sidecar.http.get("/healthz").is_success


def test_what_the_answers_name(stand: Stand) -> None:
    client = stand.sidecar.http
    busy = client.post(f"/v1/targets/{stand.sidecar.key('busy')}/runs").json()
    unknown = client.post(f"/v1/targets/{stand.sidecar.key('goood')}/runs").json()
    method = client.delete("/v1/targets")

    assert busy["run"] == stand.busy
    assert stand.sidecar.key("good") in unknown["hint"]
    assert method.headers["Allow"] == "GET"


@pytest.mark.fault(0, "a client that never finishes its request", "does not keep others waiting")
def test_slow_clients_keep_nobody_waiting(stand: Stand) -> None:
    address = stand.sidecar.http.base_url
    slow = [socket.create_connection((address.host, address.port or 80)) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(b"GET /v1/targets HTTP/1.1\r\nX: ")
        begun = time.monotonic()
        assert stand.sidecar.http.get("/v1/targets").is_success
        assert time.monotonic() - begun < 15
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.fault(0, "what is no HTTP", "400 `bad-request`")
def test_nonsense_is_answered_by_a_problem(stand: Stand) -> None:
    address = stand.sidecar.http.base_url
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer


@pytest.mark.fault(0, "a symlink planted in the store", "404 `unknown-run`; nothing of where it leads")
def test_a_planted_link_is_not_followed(stand: Stand) -> None:
    run = stand.sidecar.backup("good")["id"]
    place = f"{STORE}/{stand.sidecar.project}/good/{run}/backup.zst"
    within(stand.sidecar.container, f"ln -sf /etc/passwd {place}")

    for path in (f"/v1/runs/{run}/artifacts/backup.zst", f"/v1/runs/{run}/artifacts"):
        answer = stand.sidecar.http.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "unknown-run")
        assert "root:" not in answer.text
