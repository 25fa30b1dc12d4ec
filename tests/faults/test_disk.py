"""A store on a disk of a few MiB that fills up, turns read-only or goes away, and what the sidecar makes of it."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.conftest import config_folder
from tests.kit import stage
from tests.kit.stage import LABEL, STORE, App, Sidecar, docker, eventually, said, within

pytestmark = pytest.mark.e2e

DISK = "/var/lib/sidecar"
BALLAST = f"{STORE}/ballast"
MEBIBYTE = 1 << 20
ROOM = 12 * MEBIBYTE
Json = dict[str, Any]
FULL = pytest.mark.fault(
    20,
    "disk full while writing",
    "fails `store-full`, space given back, earlier artifacts whole, next run refused with the same code until there is"
    " room",
)


@contextmanager
def on_small_disk(folder: Path, token: str, place: str) -> Iterator[tuple[Sidecar, App]]:
    """A sidecar with a disk of a few MiB at a place, that root in its container may mount anew."""
    project = f"faults-{secrets.token_hex(3)}"
    tmpfs = ("type=tmpfs", "device=tmpfs", f"o=size={ROOM},uid=10001,mode=755")
    options = (flag for option in tmpfs for flag in ("--opt", option))
    docker("volume", "create", "--label", f"{LABEL}={project}", *options, f"{project}-disk")
    mount = ("--volume", f"{project}-disk:{place}", "--security-opt", "seccomp=unconfined")
    with stage.sidecar(project, config_folder(folder / "config", token), token, *mount) as stand:
        yield stand


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    """Store and work folder share the disk."""
    with on_small_disk(tmp_path_factory.mktemp("disk"), token, DISK) as stand:
        yield stand


@pytest.fixture
def small(stand: tuple[Sidecar, App]) -> Iterator[tuple[Sidecar, App]]:
    """The sidecar with an empty store, and its app for one test."""
    running, _ = stand
    with App(running.project) as app:
        yield running, app
    within(running.container, f"rm -rf {STORE}/*")
    running.forgets(app.started)


def free(sidecar: Sidecar) -> int:
    """Bytes on its disk."""
    return int(within(sidecar.container, f"df -P -B1 {DISK} | tail -1 | tr -s ' ' | cut -d' ' -f4"))


def fill(sidecar: Sidecar) -> None:
    """Leave no byte."""
    within(sidecar.container, f"head -c {free(sidecar) + MEBIBYTE} /dev/zero >>{BALLAST} || true")


def as_root(sidecar: Sidecar, script: str) -> None:
    docker("exec", "--privileged", "--user", "0", sidecar.container, "sh", "-c", script)


def grow(container: str, size: int) -> None:
    """What the target's next dump has, in bytes that no compression makes fewer."""
    within(container, f"head -c {size} /dev/urandom >/tmp/data")


def dumping(app: App, service: str) -> str:
    """A target that dumps /tmp/data and leaves a trace of whatever is done in it."""
    trace = "echo done >>/tmp/trace"
    commands = {"commands.pre": trace, "commands.backup": "cat /tmp/data", "commands.post": trace}
    container = app.target(service, {**commands, "compression": "none"})
    within(container, "echo small >/tmp/data")
    return container


def failure(report: Json) -> tuple[str, str]:
    """Its state and its failure's code."""
    return report["state"], (report["failure"] or {}).get("code", "")


def whole(sidecar: Sidecar, report: Json) -> None:
    """Its artifact arrives with its digest."""
    artifact = report["artifacts"][0]
    sent = sidecar.http.get(f"/v1/runs/{report['id']}/artifacts/{artifact['name']}").content
    assert hashlib.sha256(sent).hexdigest() == artifact["sha256"]


@FULL
def test_a_disk_that_fills_up_fails_the_run_and_then_refuses_it_until_there_is_room(
    small: tuple[Sidecar, App], record_property: Any
) -> None:
    sidecar, app = small
    container = dumping(app, "db")
    good = sidecar.backup("db")
    kept, before = sidecar.stored("db"), free(sidecar)

    grow(container, 2 * ROOM)
    failed = sidecar.run("db")

    assert failure(failed) == ("failed", "store-full")
    assert "volume" in failed["failure"]["hint"]
    assert sidecar.stored("db") == kept
    assert free(sidecar) > before - MEBIBYTE // 4, "what its catalog needs"
    whole(sidecar, good)

    within(container, "rm /tmp/trace")
    refused = sidecar.run("db")

    assert failure(refused) == ("failed", "store-full")
    assert "the last one took" in refused["failure"]["message"]
    assert within(container, "ls /tmp") == "data", "nothing was done in the target"
    states = {one["id"]: one["state"] for one in sidecar.http.get("/v1/runs").json()["runs"]}
    assert [states[run["id"]] for run in (good, failed, refused)] == ["succeeded", "failed", "failed"]

    as_root(sidecar, f"mount -o remount,size={4 * ROOM} {DISK}")
    whole(sidecar, sidecar.backup("db"))
    whole(sidecar, good)
    record_property("seen", "as expected, with the refusal before anything was done in the target")


@FULL
def test_a_disk_that_is_full_to_the_last_byte_leaves_no_empty_artifact(small: tuple[Sidecar, App]) -> None:
    sidecar, app = small
    dumping(app, "full")
    sidecar.wait("full")
    fill(sidecar)

    report = sidecar.run("full")

    assert failure(report) == ("failed", "store-full")
    assert sidecar.stored("full") == []
    assert sidecar.http.get("/v1/runs").json()["runs"][0]["failure"]["code"] == "store-full"
    listed = sidecar.http.get("/metrics").text
    assert f'backup_runs_total{{outcome="failed",target="{sidecar.key("full")}"}} 1.0' in listed

    within(sidecar.container, f"rm {BALLAST}")
    whole(sidecar, sidecar.backup("full"))
    assert sidecar.report(report["id"])["failure"]["code"] == "store-full"


def test_a_disk_that_somebody_else_fills_meanwhile_hides_no_report(small: tuple[Sidecar, App]) -> None:
    sidecar, app = small
    command = {"commands.backup": "until [ -e /tmp/go ]; do sleep 0.02; done; exit 1", "compression": "none"}
    container = app.target("filled", command)
    sidecar.wait("filled")
    run = sidecar.start("filled")
    eventually(lambda: sidecar.report(run)["state"] == "running")
    fill(sidecar)
    within(container, "touch /tmp/go")

    report = sidecar.ended(run)

    assert failure(report) == ("failed", "command-failed")
    assert sidecar.http.get("/v1/runs").json()["runs"][0]["failure"]["code"] == "command-failed"
    assert "kept in memory only" in sidecar.log()


@FULL
def test_a_disk_that_fills_up_ends_the_command_in_the_target(small: tuple[Sidecar, App]) -> None:
    sidecar, app = small
    container = app.target("endless", {"commands.backup": "cat /dev/urandom", "compression": "none"})
    sidecar.wait("endless")

    assert failure(sidecar.run("endless")) == ("failed", "store-full")

    assert "urandom" not in docker("top", container, "-eo", "pid,args")


@FULL
def test_deleting_a_run_makes_room_on_a_full_disk(small: tuple[Sidecar, App]) -> None:
    sidecar, app = small
    container = dumping(app, "deleted")
    grow(container, MEBIBYTE)
    old = sidecar.backup("deleted")
    fill(sidecar)
    assert failure(sidecar.run("deleted")) == ("failed", "store-full")

    softly = sidecar.admin.delete(f"/v1/runs/{old['id']}", params={"force": True})
    assert softly.is_success, "also where not a byte is left for its mark"
    assert failure(sidecar.run("deleted")) == ("failed", "store-full"), "what a person deleted is not given up"

    answer = sidecar.admin.delete(f"/v1/runs/{old['id']}", params={"purge": True})

    assert answer.is_success, answer.text
    assert sidecar.stored("deleted") == []
    assert sidecar.report(old["id"])["artifacts"] == []
    grow(container, MEBIBYTE // 2)
    whole(sidecar, sidecar.backup("deleted"))


@FULL
def test_what_a_rule_had_deleted_makes_room_for_a_run_before_it_and_while_it_grows(small: tuple[Sidecar, App]) -> None:
    sidecar, app = small
    only = {f"retention.{rule}": "none" for rule in ("keep-daily", "keep-weekly")}
    only |= {"retention.keep-within": "0s", "retention.keep-last": "1", "schedule": "none"}
    container = app.target("grows", {"commands.backup": "cat /tmp/data", "compression": "none", **only})
    grow(container, 2 * MEBIBYTE)
    older, old, newest = (sidecar.backup("grows") for _ in range(3))
    eventually(lambda: sidecar.report(older["id"])["pruned"] and sidecar.report(old["id"])["pruned"], seconds=30)
    within(sidecar.container, f"head -c {free(sidecar) - MEBIBYTE} /dev/zero >{BALLAST}")
    grow(container, 9 * MEBIBYTE // 2)

    report = sidecar.backup("grows")

    whole(sidecar, report)
    whole(sidecar, newest)
    assert [sidecar.report(run["id"])["artifacts"] for run in (older, old)] == [[], []]


@pytest.mark.fault(0, "store on tmpfs", "a warning at the start, in log, API and metrics")
def test_a_store_in_memory_is_warned_of(small: tuple[Sidecar, App]) -> None:
    sidecar, _ = small
    assert "Mount a volume there" in sidecar.log()
    assert 'backup_target_problem{code="passing-store",target=""} 1.0' in sidecar.http.get("/metrics").text


@pytest.mark.fault(
    0, "store may not be written, while it runs", "fails `store-error` with uid; the next run works again"
)
@pytest.mark.parametrize(
    ("spoil", "mend", "told"),
    [
        (f"chmod 500 {STORE}", f"chmod 755 {STORE}", "Permission denied"),
        (f"mount --bind -o ro {STORE} {STORE}", f"umount {STORE}", "Read-only file system"),
    ],
    ids=["permission", "read-only"],
)
def test_a_store_that_may_not_be_written_fails_the_run(
    spoil: str, mend: str, told: str, small: tuple[Sidecar, App]
) -> None:
    sidecar, app = small
    container = dumping(app, "closed")
    sidecar.wait("closed")
    as_root(sidecar, spoil)
    try:
        report = sidecar.run("closed")
    finally:
        as_root(sidecar, mend)

    assert failure(report) == ("failed", "store-error")
    assert told in report["failure"]["message"]
    assert "uid 10001" in report["failure"]["hint"]
    assert within(container, "ls /tmp") == "data", "nothing was done in the target"
    assert sidecar.stored("closed") == []
    whole(sidecar, sidecar.backup("closed"))


@pytest.mark.fault(0, "the store's mount vanishes", "fails `store-error`; nothing is written beneath it")
@pytest.mark.slow
def test_a_store_whose_mount_vanishes_is_not_written(sidecar_image: str, token: str, tmp_path: Path) -> None:
    with on_small_disk(tmp_path, token, STORE) as (sidecar, app):
        container = dumping(app, "db")
        sidecar.backup("db")
        within(container, "rm /tmp/trace")
        as_root(sidecar, f"umount -l {STORE}")

        report = sidecar.run("db")

        assert failure(report) == ("failed", "store-error")
        assert "not there any more" in report["failure"]["message"]
        assert within(sidecar.container, f"ls -A {STORE}") == ""
        assert within(container, "ls /tmp") == "data", "nothing was done in the target"


@pytest.mark.fault(0, "a store that its user cannot reach", "exit 78, with uid and reason")
def test_a_store_that_cannot_be_reached_ends_with_78(sidecar_image: str, token: str, tmp_path: Path) -> None:
    folder = config_folder(tmp_path / "config", token)
    mounts = ("--volume", f"{folder}:/etc/sidecar:ro", "--volume", "/var/run/docker.sock:/var/run/docker.sock")
    closed = ("--tmpfs", f"{DISK}:size=1m,mode=0700", "--user", "10001")  # Root would have let its user through.

    done = said("docker", "run", "--rm", "--label", f"{LABEL}=disk", *mounts, *closed, sidecar_image, timeout=90)

    assert done.returncode == 78
    told = done.stdout + done.stderr
    assert f"uid 10001 cannot reach {STORE}: Permission denied" in told
    assert "Traceback" not in told


def rot(sidecar: Sidecar, service: str, report: Json) -> str:
    """Flip a bit in the middle of a run's artifact; gives the digest that it has from now on."""
    name = report["artifacts"][0]["name"]
    path = next(path for path in sidecar.stored(service) if path.endswith(f"{report['id']}/{name}"))
    flip = f"d=open({path!r},'r+b'); d.seek(300_000); b=d.read(1)[0]; d.seek(300_000); d.write(bytes([b^1]))"
    docker("exec", "--user", "0", sidecar.container, "/opt/backup-sidecar/bin/python", "-c", flip)
    return within(sidecar.container, f"sha256sum {path}").split()[0]


@pytest.mark.fault(23, "one byte of a stored artifact rots", "download refused")
def test_a_byte_that_rots_is_never_delivered_as_a_whole_artifact(
    small: tuple[Sidecar, App], record_property: Any
) -> None:
    sidecar, app = small
    grow(dumping(app, "rotten"), 600_000)
    report = sidecar.backup("rotten")
    artifact = report["artifacts"][0]
    place = f"/v1/runs/{report['id']}/artifacts/{artifact['name']}"
    rot(sidecar, "rotten", report)

    for address, headers in ((place, {}), (place, {"Range": "bytes=0-"}), (f"/v1/runs/{report['id']}/artifacts", {})):
        with pytest.raises(httpx.RemoteProtocolError):
            sidecar.http.get(address, headers=headers)
    parts = [sidecar.http.get(place, headers={"Range": f"bytes={span}"}) for span in ("0-299999", "300000-")]
    joined = b"".join(part.content for part in parts)
    assert {part.headers["X-Checksum-SHA256"] for part in parts} == {artifact["sha256"]}
    assert hashlib.sha256(joined).hexdigest() != artifact["sha256"]
    assert "download cut" in sidecar.log()
    record_property("seen", "a download of the whole is cut before its last bytes; parts carry the digest of the whole")


@pytest.mark.fault(
    23, "one byte of the newest run rots", "verify says `damaged` with both digests; retention keeps the last good one"
)
def test_a_run_that_rots_is_told_with_both_digests_and_pushes_no_good_one_out(small: tuple[Sidecar, App]) -> None:
    sidecar, app = small
    labels = {"commands.backup": "head -c 600000 /dev/urandom", "compression": "none", "retention.keep-within": "0s"}
    container = app.target("rots", {**labels, "retention.keep-last": "2"})
    good, rotten = sidecar.backup("rots"), sidecar.backup("rots")
    found = rot(sidecar, "rots", rotten)

    done = sidecar.cli("verify", sidecar.key("rots"))

    assert done.returncode == 1
    damage = sidecar.report(rotten["id"])["damaged"]
    assert found in damage
    assert rotten["artifacts"][0]["sha256"] in damage
    assert sidecar.target("rots")["last_good"]["id"] == good["id"]

    docker("rm", "--force", container)
    app.target("rots", {**labels, "retention.keep-last": "1"})
    sidecar.wait("rots")
    assert sidecar.cli("prune", sidecar.key("rots")).returncode == 0
    whole(sidecar, good)
