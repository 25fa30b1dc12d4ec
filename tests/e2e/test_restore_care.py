"""What a restore does for an app that lives beside it: no room for two databases, and who is stopped for the while."""

import json
import re
import secrets
from collections.abc import Iterator

import pytest
import yaml

from tests.kit import stage
from tests.kit.stage import App, Json, Sidecar, docker, eventually, execute, within

pytestmark = pytest.mark.e2e

Stand = tuple[Sidecar, App]


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A sidecar that may create containers, in a project of its own."""
    folder = tmp_path_factory.mktemp("care")
    settings = {
        "schema": 1,
        "policy": {"create-containers": True},
        "defaults": {"schedule": "none", "retention": {"keep-last": 100}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"sidecar-care-{secrets.token_hex(3)}", folder, token) as (running, app):
        yield running, app


def sql(server: str, text: str) -> str:
    return docker("exec", "-i", server, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-Upostgres", input=text.encode())


def restored(sidecar: Sidecar, service: str, *options: str) -> Json:
    """The report of a restore that was begun."""
    done = sidecar.cli("restore", sidecar.key(service), "--json", "--replace", *options)
    assert done.stdout.startswith("{"), done.stderr
    report: Json = json.loads(done.stdout)
    return report


def test_files_that_a_place_has_no_room_for_are_not_even_begun(stand: Stand) -> None:
    sidecar, app = stand
    container = app.target(
        "cramped", {"strategy": "filesystem", "filesystem.paths": "/data"}, "--tmpfs=/data:size=64m", of="DEBIAN"
    )
    within(container, "echo one >/data/one")
    sidecar.backup("cramped")
    within(container, "echo two >/data/one")

    told = sidecar.cli("restore", sidecar.key("cramped"), "--in-place", "--replace").stderr

    assert "there is no room in" in told
    assert re.search(r"256 MiB are needed beside what is there, and \d\d MiB are free", told)
    assert within(container, "cat /data/one; ls -A /data") == "two\none"


@pytest.mark.slow
def test_where_there_is_no_room_for_both_the_old_one_is_dropped_first_for_a_run_that_was_drilled(stand: Stand) -> None:
    sidecar, app = stand
    small = ("--tmpfs", "/var/lib/postgresql/data:size=480m", "--env", "POSTGRES_PASSWORD=x")
    little_log = ("-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "max_wal_size=64MB")
    postgres = ("postgres", "-c", "fsync=off", *little_log)
    server = app.target("narrow", {"strategy": "postgres"}, *small, of="POSTGRES", command=postgres)
    ping = ("docker", "exec", server, "pg_isready", "--host=127.0.0.1")
    eventually(lambda: execute(*ping).returncode == 0, seconds=60, what="PostgreSQL is ready")
    sql(server, "create table item as select repeat('x', 1000) from generate_series(1, 100000)")
    run = sidecar.backup("narrow")
    size = next(artifact["disk"] for artifact in run["artifacts"] if artifact["disk"])
    assert size > 100 << 20
    key = sidecar.key("narrow")

    refused = sidecar.cli("restore", key, "--replace").stderr
    assert "there is no room in" in refused
    assert "--drop-first" in refused
    assert f"drill {key} --run {run['id']}" in sidecar.cli("restore", key, "--replace", "--drop-first").stderr
    assert sidecar.cli("drill", key).returncode == 0
    sql(server, "delete from item where ctid < '(10,0)'; create table later (i int)")
    plan = sidecar.cli("restore", key, "--dry-run").stdout.splitlines()
    assert len(plan) <= 10
    assert re.fullmatch(r"rows: 100,000 in the run, 99,\d{3} there now", plan[2])
    room = r"room: 38\d\.\d MiB are needed, 3\d\d\.\d MiB are free"
    assert [line for line in plan if re.fullmatch(room, line)], plan
    assert [line for line in plan if re.fullmatch(r"the last drill took \d+ s", line)], plan
    report = restored(sidecar, "narrow", "--drop-first", "--run", run["id"])

    assert report["state"] == "succeeded", (report["failure"], report["warnings"])
    assert sql(server, "select count(*), to_regclass('later') from item") == "100000|"
    assert sidecar.report(report["safety"])["state"] == "succeeded"


WRITES = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2 & wait; done")


@pytest.fixture
def shop(stand: Stand) -> Iterator[tuple[App, str]]:
    """An app whose data is a file, with who writes to it; its restore waits until it is told to go on."""
    sidecar, app = stand
    labels = {"commands.backup": "cat /data", "commands.restore": "cat >/data; until [ -e /go ]; do sleep 0.1; done"}
    with App(sidecar.project, app.network) as own:
        data = own.target("data", labels, command=("sh", "-c", "echo old >/data; exec sleep infinity"))
        own.start("web", {}, command=WRITES)
        own.start("web", {}, command=WRITES)
        own.start("worker", {}, command=WRITES)
        own.start("idle", {}, command=("true",))
        own.start("passing", {}, "--rm", command=WRITES)
        sidecar.backup("data")
        yield own, data
    sidecar.forgets(own.started)


def running(app: App) -> list[str]:
    """The services that run."""
    listed = docker("ps", "--filter", f"label={stage.PROJECT}={app.project}", "--format", "{{.Names}}").splitlines()
    return sorted(name.removeprefix(f"{app.project}-")[:-5] for name in listed if name in app.started)


def begun(sidecar: Sidecar, service: str, **query: str) -> str:
    answer = sidecar.admin.post(f"/v1/targets/{sidecar.key(service)}/restore", params=query)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


ALL = ["data", "passing", "web", "web", "worker"]
MEANWHILE = ["data", "passing"]


def test_what_is_stopped_for_the_while_runs_again_and_nothing_else_does(stand: Stand, shop: tuple[App, str]) -> None:
    sidecar, (app, data) = stand[0], shop
    plan = sidecar.cli("restore", sidecar.key("data"), "--dry-run", "--stop", "web,worker").stdout
    assert "stopped for the while" in plan

    restore = begun(sidecar, "data", stop="worker, web,idle")
    eventually(lambda: running(app) == MEANWHILE, what="the writers are stopped")
    docker("exec", data, "touch", "/go")
    eventually(lambda: (sidecar.http.get(f"/v1/restores/{restore}").json())["finished"])

    report = sidecar.http.get(f"/v1/restores/{restore}").json()
    assert report["state"] == "succeeded", report
    assert len(report["stopped"]) == 3
    assert running(app) == ALL


@pytest.mark.slow
def test_what_was_stopped_runs_again_after_a_cancellation_and_after_the_sidecar_was_killed(
    stand: Stand, shop: tuple[App, str]
) -> None:
    sidecar, (app, _) = stand[0], shop
    restore = begun(sidecar, "data", stop="web")
    eventually(lambda: running(app) == [*MEANWHILE, "worker"], what="the writers are stopped")
    assert sidecar.cli("cancel", restore).returncode == 0
    assert running(app) == ALL

    begun(sidecar, "data", stop="worker")
    eventually(lambda: running(app) == [*MEANWHILE, "web", "web"], what="the writer is stopped")
    docker("kill", sidecar.container)
    sidecar.begin()
    eventually(lambda: running(app) == ALL, seconds=30, what="everything runs again")
    runs = f"/v1/targets/{sidecar.key('data')}/runs"

    def begins() -> str:
        answer = sidecar.http.post(runs)
        return str(answer.json()["id"]) if answer.status_code == 202 else ""

    sidecar.ended(eventually(begins, seconds=60, what="the target is free again"))


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ("data", "is what is restored into"),
        ("web,passing", "removes itself"),
        ("nobody", "passing, web, worker"),
    ],
)
def test_what_cannot_be_stopped_is_refused_before_anything(
    services: str, said: str, stand: Stand, shop: tuple[App, str]
) -> None:
    sidecar, (app, _) = stand[0], shop
    refused = sidecar.cli("restore", sidecar.key("data"), "--stop", services)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert running(app) == ALL


# A `tar` that the kernel kills as soon as it should unpack, as where memory lacks.
KILLED = """
tar=$(command -v tar) && mv "$tar" "$tar.real" && cat >"$tar" && chmod 755 "$tar"
"""
TAR = """#!/bin/sh
case " $* " in *" --extract "*) kill -KILL $$ ;; esac
exec "$0.real" "$@"
"""


def test_a_restore_that_fails_names_the_next_step_of_its_kind(stand: Stand) -> None:
    sidecar, app = stand
    labels = {"strategy": "filesystem", "filesystem.paths": "/srv", "user": "1000"}
    container = app.target("helpless", labels, "--tmpfs=/locked:ro,size=1g", of="DEBIAN")
    within(container, "echo one >/srv/file; mkdir -m 755 /mine")
    sidecar.backup("helpless")

    def said(folder: str) -> str:
        done = sidecar.cli("restore", sidecar.key("helpless"), "--into", folder)
        assert done.returncode == 1
        return done.stdout + done.stderr

    assert re.search("Permission denied.*or restore as one that may", said("/mine/back"), re.DOTALL)
    assert re.search("Read-only file system.*Mount it without `:ro`", said("/locked/back"), re.DOTALL)
    docker("exec", "-i", container, "sh", "-c", KILLED, input=TAR.encode())
    assert re.search("exit code 137.*Raise the container's memory limit", said("/var/tmp/back"), re.DOTALL)


FORGE = r"""
import hashlib, json, pathlib
(folder,) = pathlib.Path("/var/lib/sidecar/artifacts").glob("*/forged/*")
manifest = json.loads((folder / "manifest.json").read_text())
artifact, data = manifest["artifacts"][0], (folder / manifest["artifacts"][0]["name"]).read_bytes()
data = data.replace(b"as it was", b"as forged")
digest = hashlib.sha256(data).hexdigest()
artifact |= {"sha256": digest, "plain_sha256": digest}
(folder / artifact["name"]).write_bytes(data)
(folder / "manifest.json").write_text(json.dumps(manifest))
"""


def test_a_run_that_was_forged_in_the_store_is_tampered_and_neither_restored_nor_drilled(stand: Stand) -> None:
    sidecar, app = stand
    labels = {"strategy": "filesystem", "filesystem.paths": "/srv", "compression": "none"}
    container = app.target("forged", labels, "--init", of="DEBIAN")
    docker("exec", container, "sh", "-c", "echo as it was >/srv/file")
    sidecar.backup("forged")
    assert sidecar.cli("verify", sidecar.key("forged")).returncode == 0

    docker("exec", "-i", "--user", "0", sidecar.container, "python", "-", input=FORGE.encode())

    done = sidecar.cli("restore", sidecar.key("forged"), "--into", "/restored")
    assert (done.returncode, "not the one that was published" in done.stderr) == (1, True), done.stderr
    assert execute("docker", "exec", container, "test", "-e", "/restored").returncode == 1
    assert "TAMPERED" in sidecar.cli("status").stdout
    verified = sidecar.cli("verify", sidecar.key("forged"))
    assert (verified.returncode, "TAMPERED" in verified.stdout) == (1, True)
    assert sidecar.cli("drill", sidecar.key("forged")).returncode != 0
    to_file = ("--to-file", "/var/lib/sidecar/tmp/forged")
    assert "not the one that was published" in sidecar.cli("restore", sidecar.key("forged"), *to_file).stderr
