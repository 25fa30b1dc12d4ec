"""Backups from elsewhere are taken in while the sidecar serves, and restored into what runs here."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.kit.stage import App, Json, Sidecar, docker, execute, said, within

pytestmark = pytest.mark.e2e
OLD = "old-shop/files"
TMP = "/var/lib/sidecar/tmp"


def adopt(sidecar: Sidecar, *arguments: str, data: bytes = b"", code: int = 0) -> Any:
    command = ("docker", "exec", "--interactive", sidecar.container, "backup-sidecar", "adopt", *arguments, "--json")
    done = execute(*command, input=data)
    assert done.returncode == code, done.stderr.decode()
    return json.loads(done.stdout) if done.stdout else done.stderr.decode()


def exported(sidecar: Sidecar, service: str) -> bytes:
    """A new backup with its manifest, as an orchestrator gets it that names a tar."""
    address = f"/targets/{sidecar.key(service)}/backup/export"
    return sidecar.http.post(address, headers={"Accept": "application/x-tar"}).raise_for_status().content


def of_old_shop(archive: bytes, run: str) -> bytes:
    """The same as if another project's sidecar had made it, in a run of this id."""
    moved = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=moved, mode="w") as new:
        for member in old:
            data = old.extractfile(member).read()  # type: ignore[union-attr]
            if member.name.endswith("manifest.json"):
                told = json.loads(data)
                told |= {"run": run, "target": {"project": "old-shop", "service": "files"}}
                told["artifacts"][0]["restore"] = "touch /tmp/pwned"
                data = json.dumps(told).encode()
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return moved.getvalue()


@pytest.fixture
def files(sidecar: Sidecar, app: App) -> str:
    """A target with one file; gives its container."""
    container = app.target("adopting", {"strategy": "filesystem", "filesystem.paths": "/data"}, of="DEBIAN")
    within(container, "mkdir -p /data; echo one >/data/one")
    sidecar.wait("adopting")
    return container


def shown(sidecar: Sidecar, run: str) -> Json:
    return sidecar.report(run)


def test_another_projects_backup_is_taken_in_and_restored_here(sidecar: Sidecar, files: str, tmp_path: Path) -> None:
    key, archive = sidecar.key("adopting"), exported(sidecar, "adopting")
    run, second = "20260301T030000Z-0123abcd", "20260302T030000Z-0123abcd"

    (adopted,) = adopt(sidecar, "-", data=of_old_shop(archive, run))
    with tarfile.open(fileobj=io.BytesIO(of_old_shop(archive, second))) as tar:
        tar.extractall(tmp_path / "store", filter="data")
    tmp_path.joinpath("store").chmod(0o700)
    within(sidecar.container, f"rm -rf {TMP}/old-store")
    docker("cp", "-q", tmp_path / "store", f"{sidecar.container}:{TMP}/old-store")
    (other,) = adopt(sidecar, f"{TMP}/old-store")
    known = adopt(sidecar, "-", data=of_old_shop(archive, run))

    assert (adopted["outcome"], other["outcome"], known[0]["outcome"]) == ("adopted", "adopted", "known")
    assert shown(sidecar, run)["origin"] == "standard input"
    assert shown(sidecar, second)["origin"] == f"{TMP}/old-store"
    assert f"adopted from {TMP}/old-store" in sidecar.cli("runs", OLD).stdout
    done = sidecar.cli("restore", OLD, "--to", key, "--into", "/srv/adopted", "--run", run)
    assert done.returncode == 0, done.stderr
    assert within(files, "cat /srv/adopted/data/one") == "one"
    by_hand = sidecar.cli("restore", OLD, "--run", run, "--to-file", "/tmp/adopted")
    assert "came along from standard input: read them before you run them" in by_hand.stderr
    assert within(sidecar.container, "ls /tmp/pwned 2>/dev/null || true") == ""
    assert f"The store has runs of {OLD}" in sidecar.cli("restore", "old-shop/nobody").stderr.replace("\n", " ")


@pytest.mark.slow
def test_a_bare_file_is_checked_as_a_backup_of_its_target(sidecar: Sidecar, files: str) -> None:
    key = sidecar.key("adopting")
    plain = execute("docker", "exec", files, "tar", "-c", "-C", "/", "./data").stdout
    cut = adopt(sidecar, "--as", key, "--at", "2026-03-01T03:00Z", "-", data=plain[:1500], code=1)
    assert "no whole dump" in cut

    report = adopt(sidecar, "--as", key, "--at", "2026-03-01T03:00Z", "-", data=plain)

    assert (report["proof"], report["key"], report["created"]) == ("adopted", key, "2026-03-01T03:00:00.000Z")
    assert report["artifacts"][0]["counts"]["files"] == 1
    assert "--at" in adopt(sidecar, "--as", key, "-", data=plain, code=2)
    assert sidecar.cli("delete", report["id"], "--force").returncode == 0
    again = adopt(sidecar, "--as", key, "--at", "2026-03-01T03:00Z", "-", data=plain, code=1)
    assert f"backup-sidecar undelete {report['id']}" in again.replace("\n", " "), "nobody is told that it is there"
    assert sidecar.cli("undelete", report["id"]).returncode == 0
    done = sidecar.cli("restore", key, "--run", report["id"], "--into", "/srv/bare")
    assert done.returncode == 0, done.stderr
    assert within(files, "cat /srv/bare/data/one") == "one"


@pytest.mark.slow
def test_a_dump_of_postgresql_is_read_by_its_own_client(sidecar: Sidecar, postgres: str) -> None:
    key = sidecar.key("postgres")
    dump = (
        "docker",
        "exec",
        postgres,
        "sh",
        "-c",
        'PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") pg_dump -Fc -U "$POSTGRES_USER" "$POSTGRES_DB"',
    )
    whole = execute(*dump)
    assert whole.returncode == 0, whole.stderr
    database = said("docker", "exec", postgres, "printenv", "POSTGRES_DB").stdout.strip()
    within(sidecar.container, "mkdir -p /tmp/dumps")
    for name, data in {"cut": whole.stdout[:-100], database: whole.stdout}.items():
        docker("exec", "-i", sidecar.container, "sh", "-c", f"cat >/tmp/dumps/{name}.pgdump", input=data)
    at = ("--as", key, "--at", "2026-03-01T03:00Z")

    assert "pg_restore" in adopt(sidecar, *at, "/tmp/dumps/cut.pgdump", code=1)
    report = adopt(sidecar, *at, f"/tmp/dumps/{database}.pgdump")

    assert (report["artifacts"][0]["subject"], report["proof"]) == (database, "adopted")
