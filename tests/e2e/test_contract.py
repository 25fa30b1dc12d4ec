"""Contract v1 as an orchestrator speaks it, by TCP and with the token: the answer to an export is the backup."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.kit import stage
from tests.kit.stage import App, Sidecar, docker, eventually, execute, within

pytestmark = pytest.mark.e2e


def export(sidecar: Sidecar, service: str, **options: str) -> httpx.Response:
    path = f"/targets/{sidecar.key(service)}/backup/export" if service else "/backup/export"
    return sidecar.http.post(path, params=options)


def is_right(answer: httpx.Response) -> None:
    """The headers hold for the bytes."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Checksum-SHA256"] == hashlib.sha256(answer.content).hexdigest()
    assert answer.headers["X-Size"] == answer.headers["Content-Length"] == str(len(answer.content))
    assert answer.headers["X-Format"] == answer.headers["X-Backup-Format"]


def test_an_export_is_the_artifact_as_it_is_stored(sidecar: Sidecar, app: App, tmp_path: Path) -> None:
    container = app.target("exported", {"commands.backup": "cat /tmp/data"})
    within(container, "head -c 3000000 /dev/urandom >/tmp/data")
    sidecar.wait("exported")

    answer = export(sidecar, "exported", drive_folder_id="folder-1")

    is_right(answer)
    report = sidecar.report(answer.headers["X-Backup-Run"])
    stored = sidecar.fetch(report, tmp_path) / report["artifacts"][0]["name"]
    assert answer.content == stored.read_bytes()
    assert answer.headers["X-Backup-Proof"] == "sealed"
    assert answer.headers["X-Drive-Folder-Id"] == "folder-1"
    assert answer.headers["Content-Disposition"].endswith('.zst"')
    assert report["trigger"] == "export"
    plain = execute("zstd", "-dc", stored).stdout
    assert hashlib.sha256(plain).hexdigest() == within(container, "sha256sum /tmp/data").split()[0]


@pytest.mark.usefixtures("postgres")
def test_a_run_with_several_artifacts_is_exported_as_one_tar_with_its_manifest(sidecar: Sidecar) -> None:
    answer = export(sidecar, "postgres")

    is_right(answer)
    assert (answer.headers["X-Format"], answer.headers["X-Backup-Proof"]) == ("tar", "full")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        contents = {Path(member.name).name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    manifest = json.loads(contents["manifest.json"])
    assert {one["name"] for one in manifest["artifacts"]} | {"manifest.json"} == set(contents)
    for one in manifest["artifacts"]:
        assert hashlib.sha256(contents[one["name"]]).hexdigest() == one["sha256"]


def test_requests_for_the_same_export_share_one_run_and_the_next_one_gets_another(sidecar: Sidecar, app: App) -> None:
    app.target("shared", {"commands.backup": "sleep 1; date +%s%N"})
    sidecar.wait("shared")

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: export(sidecar, "shared"), range(3)))
    later = export(sidecar, "shared")

    for answer in (*answers, later):
        is_right(answer)
    assert len({answer.headers["X-Backup-Run"] for answer in answers}) == 1
    assert len({answer.content for answer in answers}) == 1
    assert later.headers["X-Backup-Run"] != answers[0].headers["X-Backup-Run"]


def test_a_client_that_went_away_gets_the_result_of_its_run_when_it_asks_again(sidecar: Sidecar, app: App) -> None:
    app.target("slow", {"commands.backup": "sleep 1.5; date +%s%N"})
    sidecar.wait("slow")
    path = f"/targets/{sidecar.key('slow')}/backup/export"

    with pytest.raises(httpx.ReadTimeout):
        sidecar.http.post(path, timeout=0.7)
    run = sidecar.http.get("/v1/runs", params={"target": sidecar.key("slow"), "limit": 1}).json()["runs"][0]["id"]
    answer = export(sidecar, "slow")

    is_right(answer)
    assert answer.headers["X-Backup-Run"] == run


def test_a_client_that_wants_no_waiting_is_told_where_to_look_and_to_fetch(sidecar: Sidecar, app: App) -> None:
    app.target("later", {"commands.backup": "sleep 1; echo data"})
    sidecar.wait("later")

    path = f"/targets/{sidecar.key('later')}/backup/export"
    accepted = sidecar.http.post(path, headers={"Prefer": "respond-async"})
    assert accepted.status_code == 202
    told = accepted.json()
    assert set(told) == {"job_id", "status_url", "download_url"}
    assert sidecar.http.get(told["download_url"]).status_code == 409

    eventually(lambda: sidecar.http.get(told["status_url"]).json()["state"] == "succeeded")
    is_right(sidecar.http.get(told["download_url"]))


def test_a_failed_run_is_a_5xx_with_a_problem_and_no_byte_of_a_backup(sidecar: Sidecar, app: App) -> None:
    app.target("fails", {"commands.backup": "echo half of it; exit 3"})
    sidecar.wait("fails")

    answer = export(sidecar, "fails")

    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "command-failed"
    assert sidecar.report(problem["run"])["state"] == "failed"
    assert "half of it" not in answer.text
    assert "X-Checksum-SHA256" not in answer.headers


def test_an_unknown_target_is_a_404_that_names_the_nearest(sidecar: Sidecar) -> None:
    answer = export(sidecar, "wbe")

    assert (answer.status_code, answer.json()["type"]) == (404, "unknown-target")
    assert sidecar.key("web") in answer.json()["hint"]


@pytest.mark.parametrize("path", ["/backup/capabilities", "/v1/targets", "/v1/runs", "/metrics", "/openapi.json"])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic {token}", "{token}"])
def test_nothing_is_told_without_the_token(path: str, authorization: str | None, sidecar: Sidecar) -> None:
    headers = {"Authorization": authorization.format(token=sidecar.token)} if authorization else {}

    answer = httpx.get(sidecar.http.base_url.join(path), headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert sidecar.project not in answer.text


def test_the_orchestrators_token_backs_up_but_neither_restores_nor_deletes(sidecar: Sidecar, app: App) -> None:
    container = app.target("guarded", {"strategy": "filesystem", "filesystem.paths": "/etc"})
    run = sidecar.backup("guarded")
    assert run["by"].startswith("api@")

    refused = [
        sidecar.http.post(f"/v1/targets/{sidecar.key('guarded')}/restore", params={"replace": True, "in_place": True}),
        sidecar.http.post(f"/v1/targets/{sidecar.key('guarded')}/restore", params={"to": container, "into": "/tmp"}),
        sidecar.http.post(f"/v1/targets/{sidecar.key('guarded')}/drills"),
        sidecar.http.delete(f"/v1/runs/{run['id']}", params={"force": True, "purge": True}),
        sidecar.http.post("/v1/prune"),
    ]

    assert {(answer.status_code, answer.json()["type"]) for answer in refused} == {(403, "role-needed")}
    assert sidecar.http.get("/v1/restores", params={"target": sidecar.key("guarded")}).json()["restores"] == []
    deleted = sidecar.admin.delete(f"/v1/runs/{run['id']}", params={"force": True})
    assert deleted.json()["pruned"]
    assert "tests@" in sidecar.log()


def test_no_export_is_started_without_the_token(sidecar: Sidecar, app: App) -> None:
    app.target("untouched", {"commands.backup": "touch /tmp/touched; echo data"})
    sidecar.wait("untouched")

    answer = httpx.post(sidecar.http.base_url.join(f"/targets/{sidecar.key('untouched')}/backup/export"))

    assert answer.status_code == 401
    assert sidecar.http.get("/v1/runs", params={"target": sidecar.key("untouched")}).json()["runs"] == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told_without_a_token(path: str, sidecar: Sidecar) -> None:
    answer = httpx.get(sidecar.http.base_url.join(path))

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_download_can_be_resumed(sidecar: Sidecar, app: App) -> None:
    app.target("ranges", {"commands.backup": "head -c 100000 /dev/urandom"})
    report = sidecar.backup("ranges")
    url = f"/v1/runs/{report['id']}/artifacts"
    whole = sidecar.http.get(url)

    rest = sidecar.http.get(url, headers={"Range": "bytes=40000-", "If-Range": whole.headers["ETag"]})

    assert rest.status_code == 206
    assert whole.content[:40000] + rest.content == whole.content


@pytest.mark.slow
def test_who_was_told_to_come_back_gets_that_run_at_once_also_after_a_restart_and_only_once(
    sidecar: Sidecar, config_folder: Path, token: str
) -> None:
    hasty = ("--env", "SIDECAR_API_RESPOND_WITHIN=1s", "--publish", "127.0.0.1::8000")
    with stage.sidecar(f"{sidecar.project}-hasty", config_folder, token, *hasty) as (own, app), app:
        app.target("slow", {"commands.backup": "sleep 2; date +%s%N"})
        own.wait("slow")

        told = export(own, "slow")
        assert (told.status_code, told.json()["type"]) == (503, "export-under-way")
        assert told.json()["slot_seconds"] < 1
        own.ended(told.json()["run"])
        docker("restart", own.container)
        own.http.base_url = f"http://{docker('port', own.container, '8000/tcp').splitlines()[0]}"
        eventually(lambda: stage.is_up(own), seconds=60, what="the sidecar is back")
        answer = export(own, "slow")

        is_right(answer)
        assert answer.headers["X-Backup-Run"] == told.json()["run"]
        own.wait("slow")
        assert export(own, "slow").json()["run"] != told.json()["run"]


# --- everything at once ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(sidecar: Sidecar, config_folder: Path, token: str) -> Iterator[tuple[Sidecar, App]]:
    """A further sidecar whose project has two small targets."""
    with stage.sidecar(f"{sidecar.project}-two", config_folder, token) as (own, app), app:
        app.target("one", {"commands.backup": "sleep 0.5; echo one"})
        app.target("two", {"strategy": "filesystem", "filesystem.paths": "/etc"})
        own.wait("one")
        own.wait("two")
        yield own, app


def test_capabilities_name_the_strategies_and_estimate_only_from_history(small: tuple[Sidecar, App]) -> None:
    own, _ = small
    assert own.http.get("/backup/capabilities").json() == {"version": "v1", "types": ["command", "filesystem"]}

    is_right(export(own, ""))

    told = own.http.get("/backup/capabilities").json()
    assert told["est_seconds"] >= 1
    assert 100 < told["est_size"] < 10_000
    assert isinstance(told["est_size"], int)
    one = own.http.get(f"/targets/{own.key('one')}/backup/capabilities").json()
    assert one["types"] == ["command"]
    assert one["est_size"] < told["est_size"]


def test_several_targets_are_exported_as_one_tar_with_their_manifests(small: tuple[Sidecar, App]) -> None:
    own, _ = small

    answer = export(own, "")

    is_right(answer)
    assert answer.headers["X-Format"] == "tar"
    runs = answer.headers["X-Backup-Run"].split(",")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        names = set(tar.getnames())
    files = {"one": "backup.zst", "two": "files.tar.zst"}
    folders = {sidecar_run["target"]["service"]: sidecar_run["id"] for sidecar_run in map(own.report, runs)}
    expected = {
        f"{own.project}/{service}/{folders[service]}/{name}"
        for service, file in files.items()
        for name in ("manifest.json", file)
    }
    assert names == expected
    again = own.http.get(f"/v1/exports/{','.join(runs)}/artifacts")
    assert again.content == answer.content


def test_an_export_of_everything_lacks_no_target_in_silence(small: tuple[Sidecar, App]) -> None:
    own, app = small
    broken = app.target("three", {"strategy": "postgers"})
    own.wait("three", "problem")
    try:
        answer = export(own, "")
    finally:
        docker("rm", "--force", broken)

    assert not answer.is_success
    assert own.key("three") in answer.json()["detail"]
    eventually(lambda: "three" not in own.states())


def test_a_stopped_target_is_in_the_export_by_its_last_good_run_or_is_named_until_it_is_forgotten(
    small: tuple[Sidecar, App],
) -> None:
    own, app = small
    older = own.backup("two")["id"]
    stopped = next(name for name in app.started if name.startswith(f"{app.project}-two-"))
    docker("stop", stopped)
    own.wait("two", "absent")

    answer = export(own, "")

    is_right(answer)
    assert answer.headers["X-Backup-Older"] == own.key("two")
    assert older in answer.headers["X-Backup-Run"]
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        said = {name: tar.extractfile(name).read() for name in tar.getnames() if name.endswith("manifest.json")}  # type: ignore[union-attr]
    assert {Path(name).parts[1]: "older" in json.loads(text) for name, text in said.items()} == {
        "one": False,
        "two": True,
    }

    never = app.target("five", {"commands.backup": "echo five"})
    own.wait("five")
    docker("stop", never)
    own.wait("five", "absent")
    refused = export(own, "")
    assert (refused.status_code, refused.json()["type"]) == (409, "unsuitable")
    assert f"{own.key('five')} is stopped, and there is no good run of it" in refused.json()["detail"]
    assert f"`backup-sidecar forget {own.key('five')}`" in refused.json()["hint"]
    assert own.cli("forget", own.key("five")).returncode == 0
    eventually(lambda: export(own, "").headers.get("X-Backup-Older") == own.key("two"), what="what is forgotten is out")
    docker("start", stopped)
    own.wait("two")


def test_an_export_with_one_failing_target_is_no_backup(small: tuple[Sidecar, App]) -> None:
    own, app = small
    failing = app.target("four", {"commands.backup": "exit 1"})
    own.wait("four")
    try:
        answer = export(own, "")
    finally:
        docker("rm", "--force", failing)

    assert answer.status_code == 500
    assert answer.json()["target"] == own.key("four")
    eventually(lambda: own.states().get("four") in (None, "absent"))
