"""Contract v1 over real HTTP: what an orchestrator that knows nothing else relies on."""

import hashlib
import io
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from controller.api.server import Server
from controller.core.failure import Failure
from controller.core.manifest import Manifest
from tests.kit.world import FILES, POSTGRES, TOKEN, TOKENS, World, client, is_problem, serving


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with client(server) as connection:
        yield connection


def raw_export(server: Server, path: str = "/backup/export") -> tuple[list[bytes], bytes]:
    """Header lines and body as they stand on the wire."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n".encode()
        )
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


def test_an_export_carries_every_header_of_the_contract_in_its_spelling(server: Server, world: World) -> None:
    head, body = raw_export(server, "/backup/export?drive_folder_id=1a-B_%0d%0aX-Evil:%201")
    content = world.content["shop.pgdump.zst"]
    run = world.catalog.runs()[0].id
    digest = hashlib.sha256(content).hexdigest().encode()
    assert body == content
    assert head[0] == b"HTTP/1.1 200 OK"
    assert set(head[1:]) >= {
        b"X-Checksum-SHA256: " + digest,
        b"X-Size: %d" % len(content),
        b"Content-Length: %d" % len(content),
        b"X-Format: pg_custom+zstd",
        b"X-Backup-Format: pg_custom+zstd",
        b"X-Backup-Proof: full",
        b"X-Backup-Run: " + run.encode(),
        b'Content-Disposition: attachment; filename="shop_db_%s_shop.pgdump.zst"' % run.encode(),
        b"Content-Type: application/zstd",
        b"Content-Location: /v1/runs/%s/artifacts" % run.encode(),
        b'ETag: "' + digest + b'"',
        b"X-Drive-Folder-Id: 1a-B_X-Evil1",
    }
    assert not any(line.lower().startswith(b"x-evil") for line in head)


def test_a_suspicious_backup_is_sent_and_its_header_says_why_until_it_is_accepted(
    http: httpx.Client, server: Server, world: World
) -> None:
    world.suspicious = ("emptied: rows of Bestellungen\r\nX-Evil: ä in shop.pgdump", "shrunk: by much")

    head, body = raw_export(server)

    assert (head[0], body) == (b"HTTP/1.1 200 OK", world.content["shop.pgdump.zst"])
    told = b"emptied: rows of Bestellungen??X-Evil: ? in shop.pgdump; shrunk: by much"
    assert b"X-Backup-Suspicious: " + told in head
    run = world.catalog.runs()[0].id
    address = f"/v1/runs/{run}/artifacts"
    assert "X-Backup-Suspicious" in http.head(address).headers
    administrator = {"Authorization": f"Bearer {TOKENS['admin']}"}
    assert http.post(f"/v1/runs/{run}/accept", headers=administrator).status_code == 200
    assert "X-Backup-Suspicious" not in http.head(address).headers
    world.suspicious = ()
    assert "X-Backup-Suspicious" not in http.post("/backup/export").headers


def test_capabilities_have_estimates_only_from_history(http: httpx.Client) -> None:
    assert http.get("/backup/capabilities").json() == {"version": "v1", "types": ["postgres"]}
    http.post("/backup/export")
    told = http.get("/targets/shop/db/backup/capabilities").json()
    assert told["types"] == ["postgres"]
    assert isinstance(told["est_seconds"], int)
    assert told["est_size"] == 100_000


def test_a_failed_run_is_a_server_error_and_no_backup(http: httpx.Client, world: World) -> None:
    world.failure = Failure(code="incomplete-dump", message="half of it", hint="Look at the log.")
    response = http.post("/backup/export")
    assert is_problem(response, 500, "incomplete-dump")
    assert response.json()["hint"] == "Look at the log."
    assert response.json()["status_url"] == f"/v1/runs/{response.json()['run']}"
    assert is_problem(http.get(f"/v1/runs/{response.json()['run']}/artifacts"), 500, "incomplete-dump")
    assert "X-Checksum-SHA256" not in response.headers


def test_after_a_failure_was_told_the_next_export_is_a_new_run(http: httpx.Client, world: World) -> None:
    world.failure = Failure(code="stalled", message="no byte came")
    first = http.post("/backup/export").json()["run"]
    world.failure = None
    second = http.post("/backup/export")
    assert second.status_code == 200
    assert second.headers["X-Backup-Run"] != first


def test_exports_at_the_same_time_share_one_run(server: Server, world: World) -> None:
    world.go.clear()
    with ThreadPoolExecutor(5) as pool, client(server) as http:
        answers = [pool.submit(http.post, "/targets/shop/db/backup/export") for _ in range(5)]
        time.sleep(0.5)
        world.go.set()
        responses = [answer.result() for answer in answers]
    assert {response.status_code for response in responses} == {200}
    assert len({response.headers["X-Backup-Run"] for response in responses}) == 1
    assert len(world.catalog.runs()) == 1


def test_an_export_joins_a_run_that_somebody_else_started(http: httpx.Client, world: World) -> None:
    world.go.clear()
    run = http.post("/v1/targets/shop/db/runs").json()["id"]
    threading.Timer(0.3, world.go.set).start()
    assert http.post("/backup/export").headers["X-Backup-Run"] == run


def test_a_delivered_export_is_not_given_twice(http: httpx.Client) -> None:
    first, second = http.post("/backup/export"), http.post("/backup/export")
    assert first.headers["X-Backup-Run"] != second.headers["X-Backup-Run"]


def test_a_long_export_is_answered_503_while_it_goes_on_and_its_result_waits(tmp_path: Path) -> None:
    world = World(tmp_path, config="api: {respond-within: 1s}")
    world.go.clear()
    with serving(world) as server, client(server) as http:
        response = http.post("/backup/export")
        assert is_problem(response, 503, "export-under-way")
        assert int(response.headers["Retry-After"]) > 0
        told = response.json()
        assert http.get(told["status_url"]).json()["state"] == "running"
        world.go.set()
        repeated = http.post("/backup/export")
        assert repeated.headers["X-Backup-Run"] == told["run"] == told["job_id"]
        assert repeated.content == world.content["shop.pgdump.zst"]


def test_only_a_client_that_prefers_it_is_answered_202(http: httpx.Client, world: World) -> None:
    world.go.clear()
    response = http.post("/backup/export", headers={"Prefer": "handling=lenient, respond-async"})
    assert response.status_code == 202
    told = response.json()
    assert set(told) == {"job_id", "status_url", "download_url"}
    early = http.get(told["download_url"])
    assert is_problem(early, 409, "run-in-progress")
    world.go.set()
    while http.get(told["status_url"]).json()["state"] != "succeeded":
        time.sleep(0.02)
    fetched = http.get(told["download_url"])
    assert fetched.content == world.content["shop.pgdump.zst"]
    assert fetched.headers["X-Checksum-SHA256"] == hashlib.sha256(fetched.content).hexdigest()
    assert http.post("/backup/export").headers["X-Backup-Run"] != told["job_id"]


def test_an_undelivered_result_is_forgotten_after_ten_minutes(
    http: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.api.exports.KEEP_SECONDS", 0.1)
    first = http.post("/backup/export", headers={"Prefer": "respond-async"}).json()["job_id"]
    time.sleep(0.5)
    assert http.post("/backup/export").headers["X-Backup-Run"] != first


def test_several_artifacts_come_as_one_tar_that_explains_itself(http: httpx.Client, world: World) -> None:
    world.content = {"shop.pgdump.zst": b"rows" * 1000, "globals.sql.zst": b"roles", "empty.zst": b"x"}
    response = http.post("/targets/shop/db/backup/export")
    run = response.headers["X-Backup-Run"]
    assert response.headers["X-Format"] == response.headers["X-Backup-Format"] == "tar"
    assert response.headers["Content-Type"] == "application/x-tar"
    assert hashlib.sha256(response.content).hexdigest() == response.headers["X-Checksum-SHA256"]
    with tarfile.open(fileobj=io.BytesIO(response.content), mode="r:") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        assert {(member.uid, member.gid, member.uname, member.mode) for member in archive} == {(0, 0, "", 0o644)}
    assert next(iter(found)) == f"shop/db/{run}/manifest.json"
    assert {name.rpartition("/")[2]: data for name, data in found.items() if not name.endswith("json")} == world.content
    assert Manifest.model_validate_json(found[f"shop/db/{run}/manifest.json"]).run == run


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/zstd"),
        ("application/*, */*;q=0.1", "application/zstd"),
        ("application/x-tar;q=0, */*", "application/zstd"),
        ("application/x-tar", "application/x-tar"),
        ("application/zstd;q=0.5, Application/X-Tar; q=0.9", "application/x-tar"),
    ],
)
def test_a_single_artifact_comes_with_its_manifest_only_when_a_tar_is_named(
    http: httpx.Client, accept: str, kind: str
) -> None:
    response = http.post("/backup/export", headers={"Accept": accept})
    assert response.headers["Content-Type"] == kind
    assert response.headers["Vary"] == "Accept"
    again = http.get(response.headers["Content-Location"], headers={"Accept": accept})
    assert again.content == response.content


def test_the_operator_has_every_export_sent_with_its_manifest(tmp_path: Path) -> None:
    world = World(tmp_path, config="api: {bundle: true}")
    with serving(world) as server, client(server) as http:
        response = http.post("/targets/shop/db/backup/export")
        run = response.headers["X-Backup-Run"]
        with tarfile.open(fileobj=io.BytesIO(response.content), mode="r:") as archive:
            assert archive.getnames() == [f"shop/db/{run}/manifest.json", f"shop/db/{run}/shop.pgdump.zst"]
        assert response.headers["X-Format"] == "tar"


def test_the_tar_of_a_run_is_the_same_each_time_and_can_be_resumed(http: httpx.Client, world: World) -> None:
    world.content = {"a.zst": b"a" * 700_000, "b.zst": b"b" * 12345}
    whole = http.post("/backup/export")
    again = http.get(whole.headers["Content-Location"])
    assert (again.content, again.headers["ETag"]) == (whole.content, whole.headers["ETag"])
    resumed = http.get(
        whole.headers["Content-Location"], headers={"Range": "bytes=699000-", "If-Range": whole.headers["ETag"]}
    )
    assert resumed.status_code == 206
    assert whole.content[:699_000] + resumed.content == whole.content


def test_an_export_of_several_targets_is_one_tar_and_can_be_asked_about(tmp_path: Path) -> None:
    world = World(tmp_path, services={"db": POSTGRES, "web": FILES})
    with serving(world) as server, client(server) as http:
        assert http.get("/backup/capabilities").json()["types"] == ["filesystem", "postgres"]
        world.go.clear()
        told = http.post("/backup/export", headers={"Prefer": "respond-async"}).json()
        assert http.get(told["status_url"]).json()["state"] == "running"
        world.go.set()
        response = http.post("/backup/export")
        assert response.headers["X-Backup-Run"] == told["job_id"]
        assert http.get(told["status_url"]).json()["state"] == "succeeded"
        assert http.get(told["download_url"]).content == response.content
        with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
            folders = {"/".join(name.split("/")[:2]) for name in archive.getnames()}
    assert folders == {"shop/db", "shop/web"}


def test_an_export_of_everything_does_not_leave_out_a_broken_target(tmp_path: Path) -> None:
    wrong = FILES | {"backup.timeout": "10", "backup.cron": "@daily"}
    world = World(tmp_path, services={"db": POSTGRES, "web": wrong})
    with serving(world) as server, client(server) as http:
        response = http.post("/backup/export")
        assert is_problem(response, 409, "unsuitable")
        assert "shop/web" in response.json()["detail"]
        assert "label backup.timeout: a bare number" in response.json()["detail"], "each error has its place"
        assert "backup.cron" not in response.json()["detail"], "a warning keeps nothing from being backed up"
        assert http.post("/targets/shop/db/backup/export").status_code == 200
        assert is_problem(http.post("/targets/shop/web/backup/export"), 409, "bad-value")


def test_a_sidecar_without_targets_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, services={})
    with serving(world) as server, client(server) as http:
        assert is_problem(http.post("/backup/export"), 409, "no-targets")


def test_an_artifact_whose_size_changed_is_not_sent(http: httpx.Client, world: World) -> None:
    run = http.post("/backup/export").headers["X-Backup-Run"]
    with world.artifact(run).open("ab") as file:
        file.write(b"more")
    assert is_problem(http.get(f"/v1/runs/{run}/artifacts"), 500, "damaged")


@pytest.mark.parametrize("position", [0, 50_000, 99_999])
def test_a_rotten_byte_never_makes_a_whole_download(http: httpx.Client, world: World, position: int) -> None:
    run = http.post("/backup/export").headers["X-Backup-Run"]
    with world.artifact(run).open("r+b") as file:
        file.seek(position)
        file.write(b"\xff")
    with pytest.raises(httpx.RemoteProtocolError):
        http.get(f"/v1/runs/{run}/artifacts")


def test_a_rotten_byte_in_a_tar_is_found_before_anything_is_sent(http: httpx.Client, world: World) -> None:
    world.content = {"a.zst": b"a" * 1000, "b.zst": b"b" * 1000}
    run = http.post("/backup/export").headers["X-Backup-Run"]
    world.artifact(run, "b.zst").write_bytes(b"B" + b"b" * 999)
    assert is_problem(http.get(f"/v1/runs/{run}/artifacts"), 500, "damaged")


def test_a_download_that_is_cut_keeps_its_result_for_the_next_export(server: Server, world: World) -> None:
    world.content = {"big.zst": bytes(20_000_000)}
    with client(server) as http, http.stream("POST", "/backup/export") as response:
        run = response.headers["X-Backup-Run"]
        next(response.iter_raw())
    time.sleep(0.3)
    with client(server) as http:
        again = http.post("/backup/export")
    assert again.headers["X-Backup-Run"] == run
    assert len(again.content) == 20_000_000


def test_a_client_that_reads_nothing_does_not_block_the_others(server: Server, world: World) -> None:
    world.content = {"big.zst": bytes(20_000_000)}
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(f"POST /backup/export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        time.sleep(0.5)
        with client(server) as http:
            begun = time.monotonic()
            assert http.get("/v1/runs").status_code == 200
            assert time.monotonic() - begun < 15


def test_stopping_lets_those_who_wait_go_with_an_answer(world: World) -> None:
    world.go.clear()
    with serving(world) as server, ThreadPoolExecutor(1) as pool, client(server) as http:
        waiting = pool.submit(http.post, "/backup/export")
        time.sleep(0.3)
        server.stop()
        assert is_problem(waiting.result(), 503, "export-under-way")
        world.go.set()
