"""The reference orchestrator as a process of its own, with a real sidecar's server and heartbeat, and with bad ones."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from controller.core.failure import Failure
from controller.outbound.signing import signed_headers
from tests.kit.world import FILES, KEY, POSTGRES, TOKEN, World, serving
from tests.unit.outbound.test_heartbeat import listening

pytestmark = pytest.mark.thorough

PROGRAM = Path(__file__).parents[2] / "examples/compose/orchestrator/orchestrator.py"
OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
PAGE_TOKEN = "a-token-of-people-0123456789"
BEARER = {"Authorization": f"Bearer {PAGE_TOKEN}"}


@contextmanager
def orchestrating(backups: Path, **more: str) -> Iterator[httpx.Client]:
    """The program on a free port; gives a client of it."""
    environment = {"ORCHESTRATOR_KEY": KEY, "SIDECAR_TOKEN": TOKEN, "BACKUPS": str(backups), "PORT": "0"}
    environment |= {"ORCHESTRATOR_TOKEN": PAGE_TOKEN} | more
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)], stdout=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        assert process.stdout is not None
        port = re.search(r"port (\d+)", process.stdout.readline())
        assert port
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port[1]}", timeout=30, headers=BEARER) as client:
                yield client
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def orchestrator(backups: Path) -> Iterator[httpx.Client]:
    with orchestrating(backups) as client:
        yield client


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One that is asked for nothing that it would keep."""
    with orchestrating(tmp_path_factory.mktemp("gate") / "backups") as client:
        yield client


@contextmanager
def sidecar(folder: Path, orchestrator: httpx.Client, **services: dict[str, str]) -> Iterator[World]:
    """A real server and heartbeat; returns once the lease is there."""
    with listening() as free:
        port = free.server_port
    config = (
        f"api: {{port: {port}, advertise: 'http://127.0.0.1:{port}', respond-within: 1s}}\n"
        f"orchestrator: {{url: '{orchestrator.base_url}', key: {{secret: ORCHESTRATOR_KEY}}, interval: 1s}}"
    )
    folder.mkdir()
    world = World(folder, config=config, services=services or None)
    with serving(world, port):
        heart = world.heartbeat
        heart.listen(world.events)
        assert heart
        heart.start()
        while not fleet(orchestrator):
            time.sleep(0.02)
        try:
            yield world
        finally:
            heart.stop()


def fleet(orchestrator: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orchestrator.get("/fleet").json()["sidecars"]
    return found


def announce(
    orchestrator: httpx.Client, url: str = "http://127.0.0.1:9", name: str = OTHER, key: str = KEY, **changes: Any
) -> httpx.Response:
    """A heartbeat made by hand."""
    beat = {"schema": 1, "id": name, "url": url, "versions": {"sidecar": "9"}, "lease": {"ttl_seconds": 60}}
    target = {"key": "shop/db", "state": "ready", "strategy": "postgres", "problems": [], "last_good": None}
    body = json.dumps(beat | {"targets": [target], "running": [], "problems": []} | changes).encode()
    return signed(orchestrator, "PUT", f"/v1/sidecars/{name}", body, key)


def signed(orchestrator: httpx.Client, method: str, path: str, body: bytes, key: str = KEY) -> httpx.Response:
    headers = signed_headers(key, body, time.time(), f"{method} {path}")
    return orchestrator.request(method, path, content=body, headers=headers)


def kept(backups: Path) -> list[str]:
    return sorted(path.name for path in backups.iterdir() if path.is_file())


# --- a good sidecar -------------------------------------------------------------------------------------------------


def test_a_backup_is_pulled_checked_and_kept_under_a_name_with_its_time(
    orchestrator: httpx.Client, backups: Path, tmp_path: Path
) -> None:
    with sidecar(tmp_path / "s", orchestrator) as world:
        response = orchestrator.post(f"/sidecars/{world.identity}/backup", params={"target": "shop/db"})
        assert response.status_code == 201, response.text
        receipt = response.json()
        run = world.catalog.runs()[0]
    content = world.content["shop.pgdump.zst"]
    assert re.fullmatch(r"shop_db_\d{8}T\d{6}Z\.pgdump\.zst", receipt["name"])
    assert (backups / receipt["name"]).read_bytes() == content
    assert receipt["path"] == str(backups / receipt["name"])
    assert (receipt["run"], receipt["proof"], receipt["format"]) == (run.id, "full", "pg_custom+zstd")
    assert (receipt["size"], receipt["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert orchestrator.get("/backups").json()["backups"] == [receipt]
    assert kept(backups) == [receipt["name"], receipt["name"] + ".receipt"]


def test_two_backups_in_the_same_second_are_both_kept(orchestrator: httpx.Client, tmp_path: Path) -> None:
    with sidecar(tmp_path / "s", orchestrator) as world:
        address = f"/sidecars/{world.identity}/backup?target=shop/db"
        first, second = (orchestrator.post(address).json() for _ in range(2))
    assert first["run"] != second["run"]
    assert first["name"] != second["name"]


def test_a_run_of_several_artifacts_is_kept_as_a_tar(orchestrator: httpx.Client, tmp_path: Path) -> None:
    with sidecar(tmp_path / "s", orchestrator) as world:
        world.content = {"a.pgdump.zst": b"a", "globals.sql.zst": b"g"}
        receipt = orchestrator.post(f"/sidecars/{world.identity}/backup?target=shop/db").json()
    assert receipt["name"].endswith("Z.tar")
    with tarfile.open(receipt["path"]) as archive:
        assert {Path(name).name for name in archive.getnames()} == {"manifest.json", "a.pgdump.zst", "globals.sql.zst"}


def test_a_backup_that_takes_long_is_asked_for_again(
    orchestrator: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.api.routes.contract.RETRY_AFTER", "1")
    with sidecar(tmp_path / "s", orchestrator) as world:
        world.go.clear()
        address = f"/sidecars/{world.identity}/backup?target=shop/db"
        with ThreadPoolExecutor(1) as pool:
            pulling = pool.submit(orchestrator.post, address)
            time.sleep(1.5)
            assert orchestrator.post(address).status_code == 409
            world.go.set()
            receipt = pulling.result().json()
        assert [receipt["run"]] == [run.id for run in world.catalog.runs()]


def test_the_fleet_shows_leases_targets_and_what_ended(orchestrator: httpx.Client, tmp_path: Path) -> None:
    broken = FILES | {"backup.timeout": "<b>10</b>"}
    with sidecar(tmp_path / "s", orchestrator, db=POSTGRES, bad=broken) as world:
        run = world.start(world.target(world.targets()[1].key).key, "api").future.result().id
        while not fleet(orchestrator)[0]["history"]:
            time.sleep(0.02)
        (one,) = fleet(orchestrator)
        page = orchestrator.get("/").text
        assert one["lease"]["state"] == "live"
        assert {target["key"]: target["state"] for target in one["targets"]} == {
            "shop/bad": "problem",
            "shop/db": "ready",
        }
        assert [ended["id"] for ended in one["history"]] == [run]
        assert "shop/db" in page
        assert "bad-value" in page
        assert "not safe: 1 never, 1 fresh, 1 problem" in page
        assert "<b>" not in page
        assert "<script" not in page
    assert fleet(orchestrator) == []


def test_the_good_backups_survive_a_restart_and_the_rest_does_not(
    orchestrator: httpx.Client, backups: Path, tmp_path: Path
) -> None:
    with sidecar(tmp_path / "s", orchestrator) as world:
        receipt = orchestrator.post(f"/sidecars/{world.identity}/backup?target=shop/db").json()
    (backups / ".partial-dead").write_bytes(b"half")
    (backups / "shop_db_20200101T000000Z.tar").write_bytes(b"no receipt")
    with orchestrating(backups) as again:
        assert again.get("/backups").json()["backups"] == [receipt]
    assert kept(backups) == [receipt["name"], receipt["name"] + ".receipt"]


# --- bad sidecars ---------------------------------------------------------------------------------------------------


def test_a_failed_run_leaves_nothing_and_says_why(orchestrator: httpx.Client, backups: Path, tmp_path: Path) -> None:
    with sidecar(tmp_path / "s", orchestrator) as world:
        world.failure = Failure(code="incomplete-dump", message="half of it")
        response = orchestrator.post(f"/sidecars/{world.identity}/backup?target=shop/db")
    assert response.status_code == 502
    assert response.json()["problem"]["type"] == "incomplete-dump"
    assert kept(backups) == []


def test_a_rotten_artifact_leaves_nothing(orchestrator: httpx.Client, backups: Path, tmp_path: Path) -> None:
    with sidecar(tmp_path / "s", orchestrator) as world:
        world.content = {"big.zst": bytes(3_000_000)}
        honest = world.manifest
        world.manifest = lambda job: damaged(world, honest(job))  # type: ignore[method-assign]
        response = orchestrator.post(f"/sidecars/{world.identity}/backup?target=shop/db")
    assert response.status_code == 502
    assert kept(backups) == []


def damaged(world: World, manifest: Any) -> Any:
    """Rots a byte between writing and publishing."""
    partial = world.store.folder(manifest.target, manifest.run) / "big.zst.partial"
    with partial.open("r+b") as file:
        file.write(b"\xff")
    return manifest


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {"X-Size": "10", "Content-Length": "10"}, b"short"),
        (200, {"X-Size": "5", "X-Checksum-SHA256": "0" * 64}, b"wrong"),
        (200, {"X-Size": "6", "X-Checksum-SHA256": hashlib.sha256(b"bytes").hexdigest()}, b"bytes"),
        (200, {}, b"bytes without a word about them"),
        (202, {}, b'{"job_id": "x"}'),
        (500, {}, b"<html>not a problem</html>"),
        (401, {}, b""),
    ],
)
def test_what_is_not_wholly_right_is_not_kept(
    orchestrator: httpx.Client, backups: Path, status: int, headers: dict[str, str], body: bytes
) -> None:
    class Bad(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Bad) as bad:
        threading.Thread(target=bad.serve_forever, args=(0.02,)).start()
        announce(orchestrator, f"http://127.0.0.1:{bad.server_port}")
        response = orchestrator.post(f"/sidecars/{OTHER}/backup?target=shop/db")
        bad.shutdown()
    assert response.status_code == 502
    assert kept(backups) == []


def test_a_sidecar_that_cannot_be_reached_leaves_nothing(orchestrator: httpx.Client, backups: Path) -> None:
    announce(orchestrator)
    assert orchestrator.post(f"/sidecars/{OTHER}/backup?target=shop/db").status_code == 502
    assert orchestrator.post(f"/sidecars/{OTHER}/backup?target=../x").status_code == 404
    assert kept(backups) == []


def test_a_lease_that_is_not_renewed_is_lost(orchestrator: httpx.Client) -> None:
    assert announce(orchestrator, lease={"ttl_seconds": 1}).status_code == 200
    time.sleep(1.2)
    assert fleet(orchestrator)[0]["lease"]["state"] == "lost"
    assert "lost" in orchestrator.get("/").text
    assert orchestrator.post(f"/sidecars/{OTHER}/backup?target=shop/db").status_code == 404


# --- who may speak --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    "fault",
    [
        *(
            pytest.param(
                fault, marks=pytest.mark.fault(0, f"heartbeat: {told}", "401, and no lease is renewed"), id=fault
            )
            for fault, told in {
                "key": "wrong signature",
                "body": "changed body",
                "unsigned": "no signature",
                "replayed": "replayed",
                "old": "clock 400 s behind",
                "future": "clock 400 s ahead",
            }.items()
        ),
        "other",
        "method",
        "path",
        "standard",
    ],
)
def test_only_a_fresh_message_of_a_holder_of_the_key_counts(
    orchestrator: httpx.Client, method: str, fault: str
) -> None:
    announce(orchestrator)
    body = json.dumps({"schema": 1, "id": OTHER}).encode()
    moment = time.time() + {"old": -400, "future": 400}.get(fault, 0)
    address = f"/v1/sidecars/{'0' * 26 if fault == 'other' else OTHER}"
    request = f"{ {'PUT': 'DELETE', 'DELETE': 'PUT'}[method] if fault == 'method' else method } {address}"
    request += "?x" if fault == "path" else ""
    headers = signed_headers("another key" if fault == "key" else KEY, body, moment, request)
    if fault == "standard":
        headers["webhook-signature"] = headers["webhook-signature"].split()[0]
    sent = {"unsigned": {}}.get(fault, headers)
    content = body + b" " if fault == "body" else body
    response = orchestrator.request(method, address, content=content, headers=sent)
    if fault == "replayed":
        announce(orchestrator)
        response = orchestrator.request(method, address, content=content, headers=sent)
    assert response.status_code == 401
    assert [one["id"] for one in fleet(orchestrator)] == [OTHER]


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"targets": None},
        {"targets": [{}]},
        {"lease": {}},
        {"lease": {"ttl_seconds": "x"}},
        {"ended": [1]},
    ],
)
def test_a_heartbeat_that_makes_no_sense_is_refused(orchestrator: httpx.Client, changes: dict[str, Any]) -> None:
    assert announce(orchestrator, **changes).status_code == 422
    assert fleet(orchestrator) == []
    assert orchestrator.get("/").status_code == 200


def test_what_is_not_there_is_said_so(orchestrator: httpx.Client) -> None:
    for method, path in [("GET", "/nowhere"), ("POST", "/fleet"), ("PUT", "/v1/sidecars/../x"), ("DELETE", "/")]:
        assert orchestrator.request(method, path).status_code == 404
    assert signed(orchestrator, "PUT", f"/v1/sidecars/{OTHER}", b"[]").status_code == 422


# --- who may ask ----------------------------------------------------------------------------------------------------

PAGES = [("GET", "/"), ("GET", "/fleet"), ("GET", "/backups"), ("POST", f"/sidecars/{OTHER}/backup?target=shop/db")]
THIRD = "01BX5ZZKBKACTAV9WEVGEMMVRZ"


@pytest.mark.parametrize(("method", "path"), PAGES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer another"}, 401),
        ({"Authorization": "Basic !"}, 401),
        (BEARER | {"Origin": "http://evil.example"}, 403),
        (BEARER | {"Origin": "null"}, 403),
        (BEARER | {"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ],
)
def test_people_need_the_token_and_no_page_of_another_site_may_ask(
    gate: httpx.Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert gate.request(method, path, headers=headers).status_code == status
    assert gate.get("/healthz", headers=headers).status_code == 200


def test_a_browser_brings_the_token_as_password_from_the_page_itself(orchestrator: httpx.Client) -> None:
    asked = orchestrator.get("/", headers={"Authorization": ""})
    assert asked.headers["www-authenticate"].startswith("Basic ")
    own = {"Origin": f"http://{orchestrator.base_url.netloc.decode()}"}
    assert orchestrator.get("/", headers=own, auth=("me", PAGE_TOKEN)).status_code == 200


def test_without_a_token_one_is_made_and_kept(backups: Path) -> None:
    with orchestrating(backups, ORCHESTRATOR_TOKEN="") as client:
        token = (backups / "state/token").read_text().strip()
        assert client.get("/fleet").status_code == 401
        assert client.get("/fleet", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert (backups / "state/token").stat().st_mode & 0o077 == 0


def test_the_key_is_that_of_the_first_sidecar_also_after_a_restart(orchestrator: httpx.Client, backups: Path) -> None:
    assert announce(orchestrator).status_code == 200
    assert announce(orchestrator, name=THIRD).status_code == 401
    with orchestrating(backups) as again:
        assert announce(again, name=THIRD).status_code == 401
        assert announce(again).status_code == 200


def test_each_sidecar_of_the_file_has_a_key_of_its_own(backups: Path, tmp_path: Path) -> None:
    file = tmp_path / "sidecars.json"
    file.write_text(
        json.dumps({OTHER: {"key": "key-of-the-other", "token": "t"}, THIRD: {"key": "third", "token": "t"}})
    )
    with orchestrating(backups, SIDECARS=str(file)) as client:
        assert announce(client, key="key-of-the-other").status_code == 200
        for key in ("third", KEY):
            assert announce(client, key=key).status_code == 401
        assert [one["id"] for one in fleet(client)] == [OTHER]


def test_a_sidecar_is_reached_only_where_it_speaks_from_or_where_the_operator_says(
    orchestrator: httpx.Client, backups: Path, tmp_path: Path
) -> None:
    assert announce(orchestrator, "http://10.9.8.7:8000").status_code == 422
    file = tmp_path / "sidecars.json"
    file.write_text(json.dumps({OTHER: {"key": KEY, "token": "t", "url": "http://sidecar.example:8000"}}))
    with orchestrating(backups, SIDECARS=str(file)) as client:
        assert announce(client, "http://10.9.8.7:8000").status_code == 200
        assert fleet(client)[0]["url"] == "http://sidecar.example:8000"
