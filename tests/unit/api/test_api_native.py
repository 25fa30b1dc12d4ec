"""The native API over real HTTP and over its unix socket: targets, runs, artifacts, health, metrics, refusals."""

import hashlib
import http.client
import socket
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from prometheus_client.parser import text_string_to_metric_families

from config.problems import Problem
from controller.api.server import CannotListen, Server
from controller.core.errors import SidecarError
from controller.core.failure import Failure
from controller.core.key import Key
from tests.kit.world import FILES, PASSWORD, POSTGRES, TOKEN, World, client, is_problem, local, serving

CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    services = {"db": POSTGRES, "web": FILES, "bad": FILES | {"backup.timeout": "10"}}
    found = World(tmp_path_factory.mktemp("world"), services=services)
    found.content = {"shop.pgdump.zst": CONTENT}
    return found


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[httpx.Client]:
    with client(server) as connection:
        yield connection


@pytest.fixture(scope="module")
def run(api: httpx.Client) -> str:
    """A run that succeeded."""
    return ended(api, api.post("/v1/targets/shop/db/runs").json()["id"])


def ended(api: httpx.Client, run: str) -> str:
    while not api.get(f"/v1/runs/{run}").json()["finished"]:
        time.sleep(0.01)
    return run


# --- who may ask ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        "Bearer é",
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/targets", "/metrics", "/openapi.json", "/nowhere", "/healthz/", "/healthz/../v1/runs"]
)
def test_without_the_token_nothing_is_told(server: Server, header: str, path: str) -> None:
    with client(server, token="") as stranger:
        response = stranger.get(path, headers={"Authorization": header.encode()} if header else {})
    assert is_problem(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_scheme_is_read_in_any_case(server: Server) -> None:
    with client(server, token="") as stranger:
        assert stranger.get("/v1/runs", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


def test_health_needs_no_token_and_names_no_target(server: Server, world: World) -> None:
    with client(server, token="") as stranger:
        assert stranger.get("/healthz").json() == stranger.get("/readyz").json() == {"status": "ok"}
        world.watch.watching = False
        assert is_problem(stranger.get("/readyz"), 503, "not-ready")
        assert stranger.get("/healthz").status_code == 200
        world.watch.watching, world.alive = True, False
        assert is_problem(stranger.get("/healthz"), 503, "not-alive")
        world.alive = True


def test_the_unix_socket_needs_no_token_and_belongs_to_its_owner_alone(server: Server, api: httpx.Client) -> None:
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600
    with local(server) as connection:
        report = connection.post("/v1/targets/shop/web/runs").json()
    assert report["trigger"] == "cli"
    ended(api, report["id"])


# --- targets --------------------------------------------------------------------------------------------------------


def test_targets_are_listed_with_state_and_problems(api: httpx.Client) -> None:
    listed = {target["key"]: target for target in api.get("/v1/targets").json()["targets"]}
    assert {key: target["state"] for key, target in listed.items()} == {
        "shop/bad": "problem",
        "shop/db": "ready",
        "shop/web": "ready",
    }
    assert listed["shop/bad"]["problems"][0]["code"] == "bad-value"
    assert "settings" not in listed["shop/db"]


def test_a_target_shows_its_settings_and_where_they_come_from_but_no_password(api: httpx.Client, run: str) -> None:
    response = api.get("/v1/targets/shop/db")
    shown = response.json()
    assert shown["provenance"]["strategy"] == "label backup.strategy"
    assert shown["settings"]["compression"]
    assert shown["last_good"]["id"] == run
    assert PASSWORD not in response.text


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("shop/bd", 404), ("shop", 404), ("a/b/c/d", 404), ("", 404), ("shop/db%2Fx", 404), ("shop/%00", 404),
        ("shop/%2e%2e", 404), ("..%2f..%2fetc/passwd", 404), ("shop/" + "x" * 10_000, 404), ("shop//db", 404),
    ],
)  # fmt: skip
def test_unknown_targets_are_refused(api: httpx.Client, key: str, status: int) -> None:
    for method, path in (("GET", f"/v1/targets/{key}"), ("POST", f"/v1/targets/{key}/runs")):
        assert is_problem(api.request(method, path), status, "unknown-target")
    assert is_problem(api.post(f"/targets/{key}/backup/export"), status, "unknown-target")


def test_an_unknown_target_is_answered_with_the_nearest(api: httpx.Client) -> None:
    assert "shop/db" in api.get("/v1/targets/shop/bd").json()["hint"]


def test_a_key_is_found_however_its_parts_are_escaped(api: httpx.Client) -> None:
    assert api.get("/v1/targets/%73hop/d%62").json()["key"] == "shop/db"


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_second_start_is_refused_with_the_id_of_the_first(api: httpx.Client, world: World) -> None:
    world.go.clear()
    first = api.post("/v1/targets/shop/db/runs")
    assert first.status_code == 202
    assert first.headers["Location"] == f"/v1/runs/{first.json()['id']}"
    second = api.post("/v1/targets/shop/db/runs")
    assert is_problem(second, 409, "run-in-progress")
    assert second.json()["run"] == first.json()["id"]
    world.go.set()
    ended(api, first.json()["id"])


def test_an_idempotency_key_starts_one_run(api: httpx.Client) -> None:
    key = {"Idempotency-Key": "nightly-1"}
    first = ended(api, api.post("/v1/targets/shop/db/runs", headers=key).json()["id"])
    assert api.post("/v1/targets/shop/db/runs", headers=key).json()["id"] == first
    assert is_problem(api.post("/v1/targets/shop/web/runs", headers=key), 422, "key-reused")
    assert is_problem(api.post("/v1/targets/shop/db/runs", headers={"Idempotency-Key": "x" * 300}), 422, "bad-value")


def test_a_run_can_be_cancelled_once(api: httpx.Client, world: World) -> None:
    world.go.clear()
    run = api.post("/v1/targets/shop/db/runs").json()["id"]
    assert api.post(f"/v1/runs/{run}/cancel").status_code == 202
    ended(api, run)
    assert api.get(f"/v1/runs/{run}").json()["state"] == "cancelled"
    assert is_problem(api.post(f"/v1/runs/{run}/cancel"), 409, "run-has-ended")
    assert is_problem(api.get(f"/v1/runs/{run}/artifacts"), 500, "cancelled")
    world.go.set()


def test_a_target_with_a_problem_does_not_run(api: httpx.Client) -> None:
    assert is_problem(api.post("/v1/targets/shop/bad/runs"), 409, "bad-value")


def test_runs_are_listed_newest_first_and_filtered(api: httpx.Client, run: str, world: World) -> None:
    world.failure = Failure(code="stalled", message="no byte came")
    failed = ended(api, api.post("/v1/targets/shop/web/runs").json()["id"])
    world.failure = None
    everything = [one["id"] for one in api.get("/v1/runs").json()["runs"]]
    assert everything == sorted(everything, key=lambda run: run[:16], reverse=True)
    assert {one["key"] for one in api.get("/v1/runs", params={"target": "shop/web"}).json()["runs"]} == {"shop/web"}
    assert run in [one["id"] for one in api.get("/v1/runs", params={"state": "succeeded"}).json()["runs"]]
    assert failed in [one["id"] for one in api.get("/v1/runs", params={"state": "failed"}).json()["runs"]]
    assert len(api.get("/v1/runs", params={"limit": 1}).json()["runs"]) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=NaN", "limt=5", "state=good", "limit=" + "9" * 5000])
def test_a_bad_query_is_refused(api: httpx.Client, query: str) -> None:
    assert is_problem(api.get(f"/v1/runs?{query}"), 422, "bad-value")


@pytest.mark.parametrize(
    "run",
    ["x", "..", "%2e%2e", "%00", "20260101T000000Z-00000000", "x" * 10_000, "%2Fetc%2Fpasswd", "'; DROP TABLE runs"],
)
def test_unknown_runs_are_refused(api: httpx.Client, server: Server, run: str) -> None:
    for method, path in [
        ("GET", f"/v1/runs/{run}"),
        ("POST", f"/v1/runs/{run}/cancel"),
        ("GET", f"/v1/runs/{run}/artifacts"),
    ]:
        status, content_type, body = raw(server, method, path)
        assert (status, content_type) == (404, "application/problem+json"), body
        assert "Traceback" not in body


# --- artifacts ------------------------------------------------------------------------------------------------------


def test_an_artifact_is_sent_as_it_is_stored(api: httpx.Client, run: str) -> None:
    response = api.get(f"/v1/runs/{run}/artifacts/shop.pgdump.zst")
    assert response.content == CONTENT
    assert response.headers["ETag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert response.headers["Accept-Ranges"] == "bytes"
    head = api.head(f"/v1/runs/{run}/artifacts/shop.pgdump.zst")
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(CONTENT)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=some.integers(0, len(CONTENT) + 50), length=some.integers(1, len(CONTENT) + 50))
def test_any_range_gives_those_bytes(api: httpx.Client, run: str, first: int, length: int) -> None:
    last = first + length - 1
    response = api.get(f"/v1/runs/{run}/artifacts/shop.pgdump.zst", headers={"Range": f"bytes={first}-{last}"})
    if first >= len(CONTENT):
        assert is_problem(response, 416, "bad-range")
        assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
        return
    end = min(last, len(CONTENT) - 1)
    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes {first}-{end}/{len(CONTENT)}"
    assert response.content == CONTENT[first : end + 1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=some.lists(some.integers(1, len(CONTENT) - 1), unique=True, max_size=5).map(sorted))
def test_a_download_resumed_at_any_cuts_is_the_whole(api: httpx.Client, run: str, cuts: list[int]) -> None:
    path, found = f"/v1/runs/{run}/artifacts/shop.pgdump.zst", b""
    for start, stop in zip([0, *cuts], [*cuts, len(CONTENT)], strict=True):
        found += api.get(path, headers={"Range": f"bytes={start}-"}).content[: stop - start]
    assert found == CONTENT


@pytest.mark.parametrize(
    ("value", "status", "expected"),
    [
        ("bytes=-10", 206, CONTENT[-10:]),
        ("bytes=-99999999", 206, CONTENT),
        ("bytes=0-", 206, CONTENT),
        ("bytes=0-0", 206, CONTENT[:1]),
        ("bytes=0-" + "9" * 5000, 206, CONTENT),
        ("bytes=5-2", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=" + "9" * 5000 + "-", 416, None),
        ("bytes=0-1,5-6", 200, CONTENT),
        ("bytes=" + ",".join("0-1" for _ in range(1000)), 200, CONTENT),
        ("bytes=-", 200, CONTENT),
        ("bytes=a-b", 200, CONTENT),
        ("lines=0-1", 200, CONTENT),
        ("bytes=--1", 200, CONTENT),
    ],
)
def test_ranges_of_every_kind(api: httpx.Client, run: str, value: str, status: int, expected: bytes | None) -> None:
    response = api.get(f"/v1/runs/{run}/artifacts/shop.pgdump.zst", headers={"Range": value})
    assert response.status_code == status
    assert expected is None or response.content == expected


def test_a_range_of_another_version_gives_the_whole(api: httpx.Client, run: str) -> None:
    path = f"/v1/runs/{run}/artifacts/shop.pgdump.zst"
    fresh = api.get(path, headers={"Range": "bytes=0-4", "If-Range": f'"{hashlib.sha256(CONTENT).hexdigest()}"'})
    stale = api.get(path, headers={"Range": "bytes=0-4", "If-Range": '"other"'})
    assert (fresh.status_code, stale.status_code, stale.content) == (206, 200, CONTENT)


@pytest.mark.parametrize(
    "name", ["other", "manifest.json", "%2e%2e", "%00", "..%2fmanifest.json", "x" * 10_000, "%2Fetc%2Fpasswd"]
)
def test_only_listed_artifacts_are_sent(server: Server, run: str, name: str) -> None:
    status, content_type, _ = raw(server, "GET", f"/v1/runs/{run}/artifacts/{name}")
    assert (status, content_type) == (404, "application/problem+json")


def test_a_link_in_an_artifacts_place_is_not_followed(api: httpx.Client, world: World) -> None:
    run = ended(api, api.post("/v1/targets/shop/db/runs").json()["id"])
    secret = world.folder / "secret"
    secret.write_bytes(bytes(len(CONTENT)))
    artifact = world.artifact(run)
    artifact.unlink()
    artifact.symlink_to(secret)
    for path in (f"/v1/runs/{run}/artifacts/shop.pgdump.zst", f"/v1/runs/{run}/artifacts"):
        assert is_problem(api.get(path), 404, "unknown-run")


# --- what is not there ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/runs", "GET"),
        ("PUT", "/v1/targets/shop/db/runs", "POST"),
        ("GET", "/backup/export", "POST"),
        ("POST", "/healthz", "GET"),
        ("PUT", "/v1/targets/shop/db", "GET"),
        ("PATCH", "/v1/runs/20260301T030000Z-1a2b3c4d", "DELETE, GET"),
        ("POST", "/v1/runs/20260301T030000Z-1a2b3c4d/artifacts", "GET, HEAD"),
        ("OPTIONS", "/v1/exports/a,b/artifacts", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_every_right_one(api: httpx.Client, method: str, path: str, allowed: str) -> None:
    response = api.request(method, path)
    assert response.headers["Allow"] == allowed
    assert is_problem(response, 405, "wrong-method")


def test_an_unknown_address_is_a_problem(api: httpx.Client) -> None:
    assert is_problem(api.get("/nowhere"), 404, "unknown-route")


def test_a_large_body_is_refused_and_a_small_one_is_ignored(api: httpx.Client) -> None:
    assert is_problem(api.post("/v1/targets/shop/bd/runs", content=bytes(70_000)), 413, "too-large")
    for body in (b"{", b"[" * 10_000, b'{"trigger": NaN}', b"\xff"):
        assert is_problem(api.post("/v1/targets/shop/bd/runs", content=body), 404, "unknown-target")


def test_a_defect_is_a_problem_without_a_traceback(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    def broken(_: Key) -> None:
        raise RuntimeError(f"a defect near {TOKEN}")

    monkeypatch.setattr(world.catalog, "last_good", broken)
    response = api.get("/v1/targets")
    assert is_problem(response, 500, "internal-error")
    assert TOKEN not in response.text
    assert response.headers["connection"] == "close"


def test_messages_are_redacted(api: httpx.Client, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    def broken(_: Key) -> None:
        raise SidecarError(f"the engine said {TOKEN}", hint=f"Do not say {TOKEN}.")

    monkeypatch.setattr(world.catalog, "last_good", broken)
    response = api.get("/v1/targets")
    assert is_problem(response, 500, "internal-error")
    assert TOKEN not in response.text


def test_the_openapi_document_holds_contract_and_native_api(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    assert {"/backup/export", "/backup/capabilities", "/targets/{key}/backup/export", "/v1/runs/{run}"} <= set(
        document["paths"]
    )
    responses = document["paths"]["/backup/export"]["post"]["responses"]
    assert {"200", "202", "default"} <= set(responses)
    assert "422" not in responses


# --- metrics --------------------------------------------------------------------------------------------------------


def test_metrics_tell_of_runs_and_problems(tmp_path: Path) -> None:
    world = World(tmp_path, services={"db": POSTGRES, "bad": FILES | {"backup.timeout": "10"}})
    with serving(world) as server, client(server) as api:
        world.problems = (Problem("not-on-network", "sidecar", "is alone", "Join."),)
        ended(api, api.post("/v1/targets/shop/db/runs").json()["id"])
        response = api.get("/metrics")
        text = response.text
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'backup_runs_total{outcome="succeeded",target="shop/db"} 1.0' in text
    assert 'backup_artifact_bytes{target="shop/db"} 100000.0' in text
    assert 'backup_target_problem{code="bad-value",target="shop/bad"} 1.0' in text
    assert 'backup_target_problem{code="not-on-network",target=""} 1.0' in text
    seconds = float(text.partition('backup_last_success_timestamp_seconds{target="shop/db"} ')[2].split()[0])
    assert abs(seconds - time.time()) < 60
    assert 'backup_run_duration_seconds{target="shop/db"}' in text


def test_a_service_with_any_name_adds_no_line_to_the_metrics(tmp_path: Path) -> None:
    name = 'x"} 1\nbackup_safe 1\\'
    with serving(World(tmp_path, services={name: FILES | {"backup.timeout": "10"}})) as server, client(server) as api:
        families = {family.name: family for family in text_string_to_metric_families(api.get("/metrics").text)}
    assert [sample.value for sample in families["backup_safe"].samples] == [0]
    assert any(name in sample.labels["target"] for sample in families["backup_target_problem"].samples)


def test_the_next_due_time_is_shown_where_targets_and_metrics_are(tmp_path: Path) -> None:
    schedules = {"db": POSTGRES | {"backup.schedule": "0 3 1 3 *"}, "web": FILES | {"backup.schedule": "none"}}
    world = World(tmp_path, services=schedules)
    world.clock = lambda: datetime(2026, 2, 1, tzinfo=UTC)
    with serving(world) as server, client(server) as api:
        listed = {target["key"]: target["next_due"] for target in api.get("/v1/targets").json()["targets"]}
        one = api.get("/v1/targets/shop/db").json()
        text = api.get("/metrics").text
    assert listed == {"shop/db": "2026-03-01T03:00:00.000Z", "shop/web": None}
    assert one["next_due"] == listed["shop/db"]
    assert 'backup_next_due_timestamp_seconds{target="shop/db"} 1.772334e+09' in text
    assert 'backup_next_due_timestamp_seconds{target="shop/web"}' not in text


# --- the sockets ----------------------------------------------------------------------------------------------------


def test_a_taken_port_is_said_so(server: Server, tmp_path: Path) -> None:
    other = World(tmp_path)
    second = other.server(lambda: True)
    second.host, second.port = "127.0.0.1", server.port
    with pytest.raises(CannotListen, match="cannot listen"):
        second.start()
    other.close()


def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    world = World(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(world.socket))
    with serving(world) as server, local(server) as connection:
        assert connection.get("/healthz").status_code == 200
    assert not world.socket.exists()


def raw(server: Server, method: str, path: str) -> tuple[int, str, str]:
    """A request whose path no client tidies up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest(method, path.replace(" ", "%20"), skip_host=False)
        connection.putheader("Authorization", f"Bearer {TOKEN}")
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read().decode()
    finally:
        connection.close()
