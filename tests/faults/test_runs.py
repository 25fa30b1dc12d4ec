"""Runs that are held up, killed, tried again, flooded or many: each ends as it should, and leaves nothing behind."""

import hashlib
import itertools
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import config_folder
from tests.kit import stage
from tests.kit.fault_proxy import Fault, FaultProxy
from tests.kit.stage import LABEL, PROJECT, SERVICE, App, Sidecar, docker, eventually, execute, image, within

pytestmark = pytest.mark.e2e

ENDLESS = "while :; do head -c 1000000 /dev/zero; sleep 0.05; done"
MEBIBYTE = 1 << 20
LIMIT = 2
NOT_FROZEN = b'{"message": "cannot pause container: OCI runtime pause failed: unable to freeze: unknown"}'
Told = Callable[[str, object], None]


@dataclass(frozen=True)
class Stand:
    """A sidecar with two slots behind a proxy, and its app."""

    proxy: FaultProxy
    sidecar: Sidecar
    app: App

    def begin(self) -> None:
        """Start the sidecar again; the engine may give it another port."""
        self.sidecar.begin()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", self.sidecar.container))
        return found


@pytest.fixture(scope="module")
def frozen_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store on a file system of its own, which `fsfreeze` makes block every write."""
    folder = tmp_path_factory.mktemp("disk")
    disk, mount = folder / "disk", folder / "mount"
    mount.mkdir()
    subprocess.run(("truncate", "--size", "2G", disk), check=True)
    subprocess.run(("mkfs.ext4", "-q", disk), check=True)
    subprocess.run(("mount", "-o", "loop", disk, mount), check=True)
    yield mount
    execute("fsfreeze", "--unfreeze", mount)
    eventually(lambda: execute("umount", mount).returncode == 0, what="the disk is free")


@pytest.fixture(scope="module")
def both(
    frozen_disk: Path, sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("proxy")
    folder.chmod(0o755)
    defaults = {"schedule": "none", "timeout": "90s", "retries": 0, "compression": "zstd:1"}
    policy = {"max-concurrent-runs": LIMIT}
    config = config_folder(folder / "config", token, defaults=defaults, policy=policy)
    options = ("--volume", f"{folder}:/proxy", "--env", "DOCKER_HOST=unix:///proxy/proxy.sock")
    store = ("--volume", f"{frozen_disk}:/var/lib/sidecar/artifacts")
    with (
        FaultProxy(folder) as proxy,
        stage.sidecar(f"runs-{secrets.token_hex(3)}", config, token, *options, *store) as (sidecar, app),
    ):
        yield Stand(proxy, sidecar, app)


@pytest.fixture
def stand(both: Stand) -> Iterator[Stand]:
    with App(both.sidecar.project) as app:
        yield Stand(both.proxy, both.sidecar, app)
        both.proxy.calm()
        if not both.state()["Running"]:
            both.begin()
    eventually(lambda: both.sidecar.http.get("/readyz").is_success, what="ready again")
    both.sidecar.forgets(app.started)


def processes(container: str) -> list[str]:
    """What runs in a container, but for its own main program."""
    lines = docker("top", container, "-eo", "pid,args").splitlines()[1:]
    return [line for line in lines if "infinity" not in line]


def failed(stand: Stand, service: str, report: dict[str, Any], code: str) -> dict[str, Any]:
    """Why a run failed; nothing of it is left in the store."""
    failure: dict[str, Any] = report["failure"] or {}
    assert (report["state"], failure.get("code")) == ("failed", code), report
    assert failure["hint"], report
    assert report["artifacts"] == stand.sidecar.stored(service) == []
    return failure


# --- held up ---------------------------------------------------------------------------------------------------------


@pytest.mark.fault(15, "target paused before the run", "`queued` (reason `paused`), `target-paused` at the deadline")
def test_a_paused_target_is_waited_for_without_a_slot_until_the_deadline(stand: Stand, record_property: Told) -> None:
    """As many are paused as there are slots, and a third one is backed up meanwhile."""
    paused = [stand.app.target(f"paused{n}", {"commands.backup": "echo data", "timeout": "8s"}) for n in range(LIMIT)]
    stand.app.target("free", {"commands.backup": "echo data"})
    for n, container in enumerate(paused):
        stand.sidecar.wait(f"paused{n}")
        docker("pause", container)

    began = time.monotonic()
    runs = [stand.sidecar.start(f"paused{n}") for n in range(LIMIT)]
    eventually(lambda: {stand.sidecar.report(run)["reason"] for run in runs} == {"paused"}, what="both wait")
    assert stand.sidecar.backup("free")["seconds"] < 8
    reports = [stand.sidecar.ended(run, seconds=30) for run in runs]
    took = time.monotonic() - began

    for n, report in enumerate(reports):
        failure = failed(stand, f"paused{n}", report, "target-paused")
        assert paused[n] in failure["message"]
        assert "unpause" in failure["hint"]
        assert docker("inspect", "--format", "{{json .ExecIDs}}", paused[n]) == "null"
        docker("unpause", paused[n])
    assert 8 <= took < 30
    record_property("seen", f"`target-paused` after {took:.1f} s; another target was backed up meanwhile")


def test_a_paused_target_is_backed_up_once_it_runs_again(stand: Stand) -> None:
    container = stand.app.target("later", {"commands.backup": "echo data"})
    stand.sidecar.wait("later")
    docker("pause", container)
    run = stand.sidecar.start("later")
    eventually(lambda: stand.sidecar.report(run)["reason"] == "paused", what="it waits")

    docker("unpause", container)

    assert stand.sidecar.ended(run, seconds=15)["state"] == "succeeded"


def test_a_run_that_waits_for_a_paused_target_can_be_cancelled(stand: Stand) -> None:
    container = stand.app.target("given-up", {"commands.backup": "echo data"})
    stand.sidecar.wait("given-up")
    docker("pause", container)
    run = stand.sidecar.start("given-up")
    eventually(lambda: stand.sidecar.report(run)["reason"] == "paused", what="it waits")

    done = stand.sidecar.cli("cancel", run)

    assert done.returncode == 0, done.stderr
    assert "cancelled" in done.stdout
    docker("unpause", container)


@pytest.mark.fault(31, "the container does not freeze", "paused once it does; else fails `not-frozen`, and it runs")
def test_a_container_that_does_not_freeze_is_asked_again(stand: Stand) -> None:
    labels = {"strategy": "filesystem", "filesystem.paths": "/etc", "quiesce": "pause"}
    container = stand.app.target("forks", labels)
    stand.sidecar.wait("forks")

    stand.proxy.change(Fault(match="POST .*/pause", status=500, body=NOT_FROZEN))
    failure = failed(stand, "forks", stand.sidecar.run("forks"), "not-frozen")
    assert "unable to freeze" in failure["message"]
    assert docker("inspect", "--format", "{{.State.Status}}", container) == "running"

    run = stand.sidecar.start("forks")
    eventually(lambda: within(stand.sidecar.container, f"ls {stage.WORK}/quiesced"), what="it is about to be held")
    stand.proxy.calm()
    assert stand.sidecar.ended(run)["state"] == "succeeded"
    assert docker("inspect", "--format", "{{.State.Status}}", container) == "running"


@pytest.mark.slow
@pytest.mark.fault(16, "paused for 20 s in the middle", "complete and byte-equal")
def test_a_pause_in_the_middle_loses_nothing(stand: Stand, tmp_path: Path) -> None:
    dump = "for i in 1 2 3 4; do head -c 5000000 /dev/urandom | tee -a /tmp/all; sleep 0.7; done"
    container = stand.app.target("dozes", {"commands.backup": dump})
    stand.sidecar.wait("dozes")

    run = stand.sidecar.start("dozes")
    stand.sidecar.reaches(run, MEBIBYTE)
    docker("pause", container)
    time.sleep(20)
    docker("unpause", container)
    report = stand.sidecar.ended(run)

    assert report["state"] == "succeeded", report
    plain = execute("zstd", "-dc", stand.sidecar.fetch(report, tmp_path) / "backup.zst").stdout
    assert hashlib.sha256(plain).hexdigest() == within(container, "sha256sum /tmp/all").split()[0]


@pytest.mark.slow
@pytest.mark.fault(16, "paused beyond the stall timeout", "fails `stalled`; ended once it runs again, by itself")
def test_a_pause_beyond_the_stall_timeout_fails_the_run_and_leaves_nothing(stand: Stand) -> None:
    """Also not what has left the command's process group, which the closed connection does not end."""
    dump = f"setsid sleep 300 & {ENDLESS}"
    container = stand.app.target("sleeps", {"commands.backup": dump, "stall-timeout": "2s"})
    stand.sidecar.wait("sleeps")

    run = stand.sidecar.start("sleeps")
    stand.sidecar.reaches(run, MEBIBYTE)
    docker("pause", container)
    report = stand.sidecar.ended(run, seconds=30)
    failed(stand, "sleeps", report, "stalled")
    assert any(warning.startswith("left-running") for warning in report["warnings"])
    time.sleep(10)
    docker("unpause", container)

    eventually(lambda: not processes(container), seconds=15, what="no process is left")


# --- ended -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault(18, "the sidecar dies during the run", "the dead man's switch ends the command in the target")
def test_a_sidecar_that_dies_leaves_no_process_and_the_next_one_ends_what_escaped(stand: Stand) -> None:
    """A child in a session of its own escapes the switch; it carries the run's marker."""
    dump = f"trap '' TERM; setsid sleep 300 & {ENDLESS}"
    container = stand.app.target("widow", {"commands.backup": dump})
    stand.sidecar.wait("widow")

    run = stand.sidecar.start("widow")
    stand.sidecar.reaches(run, MEBIBYTE)
    docker("kill", stand.sidecar.container)
    eventually(lambda: [line.split(None, 1)[1] for line in processes(container)] == ["sleep 300"], what="ended")
    stand.begin()

    eventually(lambda: not processes(container), seconds=15, what="the orphan is ended")
    assert stand.sidecar.report(run)["state"] == "interrupted"


@pytest.mark.parametrize("user", ["0", "1234:1234"])
def test_what_runs_as_any_user_in_any_folder_is_ended(user: str, stand: Stand) -> None:
    command = f"trap '' TERM; (trap '' TERM; setsid sleep 300) & {ENDLESS}"
    labels = {"commands.backup": command, "user": user, "workdir": "/tmp"}
    container = stand.app.target("somebody", labels)
    stand.sidecar.wait("somebody")

    run = stand.sidecar.start("somebody")
    stand.sidecar.reaches(run, MEBIBYTE)
    stand.sidecar.http.post(f"/v1/runs/{run}/cancel")
    report = stand.sidecar.ended(run, seconds=15)

    assert (report["state"], report["warnings"]) == ("cancelled", [])
    assert processes(container) == []


def test_in_a_target_without_a_shell_it_is_said_that_nobody_can_end_the_command(stand: Stand) -> None:
    stand.app.target("bare", {"commands.backup": '["/sleep","20"]', "timeout": "2s"}, of="DISTROLESS")
    stand.sidecar.wait("bare")

    report = stand.sidecar.run("bare")

    failed(stand, "bare", report, "timeout")
    assert [warning for warning in report["warnings"] if "/sleep" in warning and "no shell" in warning], report


@pytest.mark.slow
@pytest.mark.fault(7, "writer makes no progress for the stall timeout", "fails `writer-stalled`; the target is free")
def test_a_store_that_takes_nothing_fails_the_run_and_frees_the_target(
    frozen_disk: Path, stand: Stand, record_property: Told
) -> None:
    container = stand.app.target("dammed", {"commands.backup": "cat /dev/urandom", "stall-timeout": "2s"})
    stand.sidecar.wait("dammed")

    run = stand.sidecar.start("dammed")
    stand.sidecar.reaches(run, MEBIBYTE)
    subprocess.run(("fsfreeze", "--freeze", frozen_disk), check=True)
    try:
        eventually(lambda: not processes(container), seconds=20, what="the command is ended")
        began = time.monotonic()
        docker("exec", container, "true")
        took = time.monotonic() - began
    finally:
        subprocess.run(("fsfreeze", "--unfreeze", frozen_disk), check=True)
    report = stand.sidecar.ended(run, seconds=30)

    failed(stand, "dammed", report, "writer-stalled")
    assert took < 15
    record_property("seen", f"`writer-stalled`; an exec in the target took {took:.1f} s")


@pytest.mark.fault(5, "a child of the dump is killed for memory, exit code 0", "fails, citing the kernel's kill")
def test_a_kill_for_memory_fails_the_run_though_the_exit_code_is_0(stand: Stand, record_property: Told) -> None:
    """Every time: what the engine knows of its containers changes only with the first one."""
    labels = {"commands.backup": "echo data; [ -e /tmp/fed ] || (tail /dev/zero || true) 2>/dev/null"}
    container = stand.app.target("hungry", labels, "--memory", "64m", "--memory-swap", "64m")

    for _ in range(2):
        failure = failed(stand, "hungry", stand.sidecar.run("hungry"), "command-failed")
        assert failure["exit_code"] == 137
        assert "the kernel killed" in failure["message"]
    within(container, "touch /tmp/fed")

    assert stand.sidecar.backup("hungry")["warnings"] == []
    record_property("seen", failure["message"].partition(" (container")[0])


@pytest.mark.slow
@pytest.mark.fault(32, "1 GiB on stderr", "neither blocks nor grows; the tail is in the report")
def test_a_gibibyte_of_complaints_neither_blocks_nor_grows(stand: Stand, record_property: Told) -> None:
    flood = "head -c 1073741824 /dev/zero | tr '\\0' e >&2; echo; echo the last words >&2; exit 3"
    stand.app.target("loud", {"commands.backup": flood})
    stand.sidecar.wait("loud")
    before = peak(stand)

    report = stand.sidecar.ended(stand.sidecar.start("loud"), seconds=90)

    failure = failed(stand, "loud", report, "command-failed")
    grown = peak(stand) - before
    assert failure["stderr"].endswith("the last words")
    assert len(failure["stderr"]) <= 4096
    assert grown < 32 * 1024
    record_property("seen", f"{report['seconds']:.0f} s; memory grew by {max(0, grown) // 1024} MiB")


def peak(stand: Stand) -> int:
    """KiB that the sidecar has had at most."""
    return int(within(stand.sidecar.container, "grep VmHWM /proc/1/status").split()[1])


# --- tried again -----------------------------------------------------------------------------------------------------


def cut_once(stand: Stand, service: str, retries: str) -> str:
    """A run whose first attempt is cut; gives its id, once it waits for the next."""
    command = f"head -c {2 * MEBIBYTE} /dev/zero; [ -e /was-cut ] || sleep 300"
    container = stand.app.target(service, {"commands.backup": command, "retries": retries})
    stand.sidecar.wait(service)
    run = stand.sidecar.start(service)
    stand.sidecar.reaches(run, MEBIBYTE)
    within(container, "touch /was-cut")
    stand.proxy.cut("/exec/.*/start")
    eventually(lambda: stand.sidecar.report(run)["reason"] == "retry" or stand.sidecar.report(run)["finished"])
    return run


def test_a_passing_failure_is_tried_again_from_the_start_and_told(stand: Stand, record_property: Told) -> None:
    run = cut_once(stand, "again", "1")

    report = stand.sidecar.ended(run)

    assert (report["state"], report["attempts"]) == ("succeeded", 2), report
    assert [failure["code"] for failure in report["retried"]] == ["stream-truncated"]
    assert report["bytes"] == 2 * MEBIBYTE
    assert [path for path in stand.sidecar.stored("again") if path.endswith(".partial") or run not in path] == []
    assert len(report["artifacts"]) == 1


@pytest.mark.slow
def test_a_run_that_waits_for_its_next_attempt_can_be_cancelled(stand: Stand) -> None:
    run = cut_once(stand, "patient", "2")

    stand.sidecar.http.post(f"/v1/runs/{run}/cancel")
    report = stand.sidecar.ended(run, seconds=15)

    assert (report["state"], len(report["retried"])) == ("cancelled", 1)


@pytest.mark.parametrize(("command", "retries"), [("exit 3", "2"), ("", "0")], ids=["lasting", "none wanted"])
def test_a_failure_that_lasts_is_not_tried_again(command: str, retries: str, stand: Stand) -> None:
    if command:
        stand.app.target("lasts", {"commands.backup": command, "retries": retries})
        report = stand.sidecar.run("lasts")
    else:
        report = stand.sidecar.ended(cut_once(stand, "lasts", retries))

    assert (report["state"], report["attempts"], report["retried"]) == ("failed", 1, [])


@pytest.mark.slow
@pytest.mark.fault(4, "Compose re-creates the target during the dump", "the same run's next attempt uses the new one")
def test_the_next_attempt_uses_the_container_that_has_taken_the_place(stand: Stand) -> None:
    """In Compose's order: create, stop and remove the old one, rename, start."""
    old = stand.app.target("moved", {"commands.backup": f"[ -e /new ] || {{ {ENDLESS}; }}; echo new", "retries": "2"})
    stand.sidecar.wait("moved")
    run = stand.sidecar.start("moved")
    stand.sidecar.reaches(run, MEBIBYTE)

    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", old))
    assert labels[SERVICE] == "moved"
    assert {LABEL, PROJECT} <= set(labels)
    flags = [flag for name, value in labels.items() for flag in ("--label", f"{name}={value}")]
    main = ("sh", "-c", "touch /new; exec sleep infinity")
    new = docker(
        "create", "--init", "--name", f"{old}-new", "--network", stand.app.network, *flags, image("BUSYBOX"), *main
    )
    stand.app.started.append(new)
    docker("rm", "--force", old)
    docker("rename", new, old)
    docker("start", new)
    report = stand.sidecar.ended(run, seconds=30)

    assert (report["state"], report["attempts"]) == ("succeeded", 2), report
    assert [failure["code"] for failure in report["retried"]] == ["target-replaced"]
    assert report["bytes"] == len("new\n")
    listed = stand.sidecar.http.get("/v1/runs", params={"target": stand.sidecar.key("moved")}).json()["runs"]
    assert len(listed) == 1


# --- many ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault(29, "50 targets due at once, limit 2", "never above 2, fair order, descriptors as before")
def test_fifty_at_once_take_their_turns(stand: Stand, tmp_path: Path, record_property: Told) -> None:
    """In five containers, since one holds 32 at most, and no more than one slot."""
    names = [f"m{number % 5}/t{number:02}" for number in range(50)]
    dump = "echo begin $BACKUP_KEY >>/shared/log; sleep 0.2; echo end >>/shared/log; echo data"
    tmp_path.chmod(0o777)
    for service in ("m0", "m1", "m2", "m3", "m4"):
        own = [name.partition("/")[2] for name in names if name.startswith(service)]
        labels = {f"targets.{name}.commands.backup": dump for name in own}
        stand.app.target(service, labels, "--volume", f"{tmp_path}:/shared")
    for name in names:
        stand.sidecar.wait(name, seconds=60)
    stand.sidecar.backup(names[0])
    (tmp_path / "log").unlink()
    before = descriptors(stand)

    runs = [stand.sidecar.start(name) for name in names]
    reports = [stand.sidecar.ended(run, seconds=100) for run in runs]

    assert {report["state"] for report in reports} == {"succeeded"}
    log = (tmp_path / "log").read_text().splitlines()
    begun = [line.partition("/")[2] for line in log if line.startswith("begin")]
    places = [abs(place - names.index(name)) for place, name in enumerate(begun)]
    most = max(itertools.accumulate(1 if line.startswith("begin") else -1 for line in log))
    assert most == LIMIT
    assert sorted(begun) == sorted(names)
    assert max(places) < LIMIT, "nobody is overtaken, but by who had the other slot"
    eventually(lambda: descriptors(stand) <= before, seconds=20, what=f"{before} descriptors again")
    record_property("seen", f"{most} at most, in order; {before} descriptors before and after")


def descriptors(stand: Stand) -> int:
    return int(within(stand.sidecar.container, "ls /proc/1/fd | wc -l"))


@pytest.mark.slow
def test_a_stop_lets_short_runs_end_cancels_long_ones_and_exits_0(stand: Stand) -> None:
    stand.app.target("short", {"commands.backup": "echo begun; sleep 4; echo data"})
    long = stand.app.target("long", {"commands.backup": ENDLESS, "commands.post": "touch /tmp/post"})
    waiting = stand.app.target("waiting", {"commands.backup": "touch /tmp/dumped; echo data"})
    for service in ("short", "long", "waiting"):
        stand.sidecar.wait(service)
    runs = {service: stand.sidecar.start(service) for service in ("short", "long")}
    stand.sidecar.reaches(runs["long"], MEBIBYTE)
    runs["waiting"] = stand.sidecar.start("waiting")

    began = time.monotonic()
    docker("stop", "--time", "30", stand.sidecar.container)
    took = time.monotonic() - began

    assert (stand.state()["ExitCode"], took < 30) == (0, True)
    assert processes(long) == []
    assert within(long, "ls /tmp/post")
    stand.begin()
    reports = {service: stand.sidecar.report(run) for service, run in runs.items()}
    assert {service: report["state"] for service, report in reports.items()} == {
        "short": "succeeded",
        "long": "cancelled",
        "waiting": "cancelled",
    }
    assert "stopped" in reports["long"]["failure"]["message"]
    assert within(waiting, "ls /tmp") == ""


@pytest.mark.slow
def test_a_stop_ends_a_post_command_that_is_under_way_in_time(stand: Stand) -> None:
    """The first of two, so that the second has no time left."""
    post = {"commands.post.1": "touch /tmp/begun; sleep 90", "commands.post.2": "touch /tmp/second; sleep 90"}
    container = stand.app.target("lingers", {"commands.backup": "echo data", **post})
    stand.sidecar.wait("lingers")
    run = stand.sidecar.start("lingers")
    eventually(lambda: within(container, "ls /tmp"), what="post has begun")

    began = time.monotonic()
    docker("stop", "--time", "40", stand.sidecar.container)
    took = time.monotonic() - began

    assert (stand.state()["ExitCode"], took < 30) == (0, True)
    eventually(lambda: not processes(container), what="no process is left")
    stand.begin()
    report = stand.sidecar.report(run)
    assert report["state"] == "succeeded"
    assert [warning for warning in report["warnings"] if warning.startswith("post-failed")], report


@pytest.mark.slow
def test_a_stop_waits_for_no_engine_that_hangs(stand: Stand) -> None:
    stand.app.target("hangs", {"commands.backup": ENDLESS})
    stand.sidecar.wait("hangs")
    run = stand.sidecar.start("hangs")
    stand.sidecar.reaches(run, MEBIBYTE)
    stand.proxy.freeze()

    began = time.monotonic()
    docker("stop", "--time", "60", stand.sidecar.container)
    took = time.monotonic() - began

    assert (stand.state()["ExitCode"], took < 30) == (0, True)
    stand.proxy.thaw()
    stand.begin()
    assert stand.sidecar.report(run)["state"] in ("cancelled", "interrupted")
    assert stand.sidecar.stored("hangs") == []


@pytest.mark.slow
def test_a_stop_waits_for_no_restore_into_an_engine_that_hangs(stand: Stand) -> None:
    labels = {"commands.backup": "echo data", "commands.restore": "touch /tmp/begun; cat; exec sleep 600"}
    container = stand.app.target("slowly", labels)
    stand.sidecar.backup("slowly")
    path = f"/v1/targets/{stand.sidecar.key('slowly')}/restore"
    restore = stand.sidecar.admin.post(path, params={"replace": "true"}).raise_for_status().json()["id"]
    eventually(lambda: execute("docker", "exec", container, "test", "-e", "/tmp/begun").returncode == 0)
    stand.proxy.freeze()

    began = time.monotonic()
    docker("stop", "--time", "60", stand.sidecar.container)
    took = time.monotonic() - began

    assert (stand.state()["ExitCode"], took < 30) == (0, True)
    stand.proxy.thaw()
    stand.begin()
    assert stand.sidecar.http.get(f"/v1/restores/{restore}").json()["state"] in ("cancelled", "interrupted")
