"""A target that is paused or stopped while it is read: as short as can be, and afterwards it is as it was before."""

import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit.stage import WORK, App, Sidecar, acts, docker, eventually, execute, restored, said, within

pytestmark = pytest.mark.e2e

COUNTS = "i=0; while :; do i=$((i+1)); for file in a b; do echo $i >/data/new; mv /data/new /data/$file; done; done"
"""Two files that are equal only while nobody writes."""
HUGE = "truncate -s 40G /data/huge"
"""A minute's work for the archive endpoint, which stores what a sparse file does not."""
DID = {"pause": ["pause", "unpause"], "stop": ["stop", "start"]}
"""What the engine tells of a target that was held and let go."""


def files(quiesce: str, **more: str) -> dict[str, str]:
    labels = {"strategy": "filesystem", "filesystem.paths": "/data", "quiesce": quiesce}
    return labels | {key.replace("__", "."): value for key, value in more.items()}


def still(app: App, service: str, quiesce: str, *options: str, **more: str) -> str:
    """A target that is held still while it is read."""
    command = ("sh", "-c", f"mkdir -p /data; {COUNTS}")
    # A shell as process 1 ignores TERM, and ends by KILL at once.
    options = ("--stop-timeout", "0", *options)
    return app.target(service, files(quiesce, **more), *options, command=command)


def state(container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return found


def status(container: str) -> str:
    return str(state(container)["Status"])


def held(actions: list[str]) -> list[str]:
    """Those that hold a container or let it go."""
    return [action for action in actions if action in ("pause", "unpause", "stop", "start", "destroy")]


def quiesced(sidecar: Sidecar) -> str:
    """The journal of what is held."""
    return within(sidecar.container, f"ls {WORK}/quiesced 2>/dev/null || true")


@pytest.mark.parametrize("quiesce", DID)
def test_a_held_target_is_read_consistently_and_runs_again(
    quiesce: str, sidecar: Sidecar, app: App, tmp_path: Path
) -> None:
    container = still(app, "still", quiesce)
    sidecar.wait("still")

    with acts(container) as done:
        report = sidecar.backup("still")

    assert held(done) == DID[quiesce]
    assert status(container) == "running"
    assert quiesced(sidecar) == ""
    assert report["proof"] == "framed"
    copy = sidecar.fetch(report, tmp_path)
    plain = execute("zstd", "-dc", copy / report["artifacts"][0]["name"]).stdout
    (tmp_path / "plain.tar").write_bytes(plain)
    with tarfile.open(tmp_path / "plain.tar") as tar:
        read = {name: tar.extractfile(f"data/{name}").read() for name in ("a", "b")}  # type: ignore[union-attr]
    assert int(read["a"]) - int(read["b"]) in (0, 1)
    fresh = app.start("fresh", {}, command=("sh", "-c", "exec sleep infinity"))
    restore = {**report["artifacts"][0]}
    restore["restore"] = restore["restore"].replace(container, fresh)
    restored(copy, restore, fresh)
    assert within(fresh, "cat /data/a").encode() == read["a"].strip()


def test_pre_and_post_run_while_the_target_does(sidecar: Sidecar, app: App) -> None:
    commands = {"commands__pre": "echo pre >/data/log", "commands__post": 'echo "$BACKUP_OUTCOME" >>/data/log'}
    container = still(app, "around", "pause", **commands)

    sidecar.backup("around")

    assert within(container, "cat /data/log") == "pre\nsucceeded"


def test_a_target_that_somebody_else_has_paused_is_read_as_it_is_and_stays_so(sidecar: Sidecar, app: App) -> None:
    container = still(app, "theirs", "pause")
    sidecar.wait("theirs")
    docker("pause", container)

    with acts(container) as done:
        report = sidecar.run("theirs")

    assert report["state"] == "succeeded", report
    assert held(done) == []
    assert status(container) == "paused"
    docker("unpause", container)


def test_a_target_that_somebody_else_has_stopped_stays_so(sidecar: Sidecar, app: App) -> None:
    container = still(app, "stopped", "stop")
    sidecar.backup("stopped")
    docker("stop", container)
    sidecar.wait("stopped", "absent")

    with acts(container) as done:
        answer = sidecar.http.post(f"/v1/targets/{sidecar.key('stopped')}/runs")
        time.sleep(0.5)

    assert (answer.status_code, answer.json()["type"]) == (409, "target-gone")
    assert held(done) == []


@pytest.mark.parametrize("quiesce", DID)
def test_a_run_that_fails_lets_its_target_go(quiesce: str, sidecar: Sidecar, app: App) -> None:
    container = still(app, "fails", quiesce, **{"expect.min-size": "1GiB"})

    report = sidecar.run("fails")

    assert (report["state"], report["failure"]["code"]) == ("failed", "incomplete-dump"), report
    assert status(container) == "running"
    assert quiesced(sidecar) == ""


@pytest.mark.parametrize(
    ("quiesce", "end"),
    [
        ("pause", "cancel"),
        ("stop", "timeout"),
        pytest.param("pause", "timeout", marks=pytest.mark.slow),
        pytest.param("stop", "cancel", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_ended_lets_its_target_go_at_once(quiesce: str, end: str, sidecar: Sidecar, app: App) -> None:
    limit = {"timeout": "10s"} if end == "timeout" else {}
    container = still(app, "ended", quiesce, **limit)
    within(container, HUGE)
    sidecar.wait("ended")

    with acts(container) as done:
        run = sidecar.start("ended")
        sidecar.reaches(run, 1 << 20)  # The engine answers no question about the container meanwhile.
        if end == "cancel":
            assert sidecar.cli("cancel", run).returncode == 0
        report = sidecar.ended(run)

    assert held(done) == DID[quiesce]
    assert report["failure"]["code"] == {"cancel": "cancelled", "timeout": "timeout"}[end]
    assert status(container) == "running"
    assert quiesced(sidecar) == ""
    assert sidecar.stored("ended") == []


@pytest.mark.slow
def test_a_target_that_somebody_lets_run_while_it_is_read_fails_the_run(sidecar: Sidecar, app: App) -> None:
    container = still(app, "resumed", "stop")
    within(container, "truncate -s 600M /data/large")
    sidecar.wait("resumed")

    run = sidecar.start("resumed")
    eventually(lambda: status(container) == "exited", what="it is stopped")
    docker("start", container)
    report = sidecar.ended(run)

    assert (report["state"], report["failure"]["code"]) == ("failed", "target-resumed"), report
    assert status(container) == "running"


def named(sidecar: Sidecar, service: str, code: str) -> dict[str, Any]:
    """The problem of a target, which has a remedy; and a run says the same, and does nothing to the container."""
    found: dict[str, Any] = sidecar.wait(service, "problem")["problems"][0]
    assert (found["code"], bool(found["hint"])) == (code, True), found
    report = sidecar.run(service)
    assert (report["state"], report["failure"]["code"]) == ("failed", code), report
    return found


@pytest.mark.fault(0, "quiesce for a strategy that needs a running target", "`no-quiesce`, at the container's start")
def test_quiesce_is_only_for_files(sidecar: Sidecar, app: App) -> None:
    app.target("command", {"commands.backup": "echo data", "quiesce": "pause"})

    assert "filesystem" in named(sidecar, "command", "no-quiesce")["message"]


@pytest.mark.fault(0, "quiesce=stop for a container that would be gone then", "`no-stop`, at the container's start")
def test_a_container_that_a_stop_would_remove_is_never_stopped(sidecar: Sidecar, app: App) -> None:
    container = still(app, "volatile", "stop", "--rm")

    with acts(container) as done:
        assert "pause" in named(sidecar, "volatile", "no-stop")["hint"]

    assert held(done) == []


@pytest.mark.fault(0, "quiesce with what only a tar in the target could do", "said at the container's start")
@pytest.mark.parametrize(
    ("labels", "code"),
    [({"filesystem.exclude": "cache"}, "no-exclude"), ({"filesystem.paths": "/data,/memory/x"}, "tmpfs-path")],
    ids=["exclude", "tmpfs"],
)
def test_what_cannot_be_read_from_a_held_target_is_known_when_it_starts(
    labels: dict[str, str], code: str, sidecar: Sidecar, app: App
) -> None:
    command = ("sh", "-c", "mkdir -p /data /memory/x; exec sleep infinity")
    app.target("unread", files("pause") | labels, "--tmpfs", "/memory", command=command)

    assert "quiesce" in named(sidecar, "unread", code)["hint"]


def test_said_in_the_settings(sidecar: Sidecar, app: App) -> None:
    still(app, "told", "pause")
    sidecar.wait("told")

    done = said("docker", "exec", sidecar.container, "backup-sidecar", "explain", sidecar.key("told"))

    assert "archive of /data" in done.stdout
