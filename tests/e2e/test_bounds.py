"""What one container asks for, and whatever it prints, costs the others neither slots nor memory nor time."""

import pytest

from tests.e2e.test_failing_twins import failed
from tests.kit.stage import App, Sidecar, docker, eventually
from tests.unit.strategies.test_floods import pax

pytestmark = pytest.mark.e2e

EVIL_PATH = ("--env", "PATH=/evil:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
EVIL_TAR = """#!/bin/sh
case "$*" in *--version*) echo "tar (GNU tar) 1.35" ;; *null*) ;; *)
    while cat /evil/part; do :; done ;;
esac
"""


def placed(container: str, path: str, content: bytes) -> None:
    docker("exec", "--interactive", container, "sh", "-c", f"cat >{path}; chmod 755 {path}", input=content)


def test_a_run_ends_by_its_timeout_in_the_middle_of_a_hostile_archive(sidecar: Sidecar, app: App) -> None:
    """It never ends, however fast it is read."""
    labels = {"strategy": "filesystem", "filesystem.paths": "/etc", "timeout": "12s", "retries": "0"}
    container = app.target("hostile", labels, *EVIL_PATH, of="DEBIAN")
    docker("exec", container, "mkdir", "/evil")
    many = {"a": "b", "path": "p"}
    placed(container, "/evil/part", pax(many).replace(b"6 a=b\n", b"6 a=b\n" * 170_000))
    placed(container, "/evil/tar", EVIL_TAR.encode())

    report = sidecar.run("hostile")

    failed(sidecar, "hostile", report, "timeout")
    assert report["seconds"] < 12 + 15


def test_one_container_leaves_a_slot_for_the_others(sidecar: Sidecar, app: App) -> None:
    sleeping = {f"targets.{name}.commands.backup": "sleep 1000" for name in "abcde"}
    app.target("hog", {"timeout": "5200w", "stall-timeout": "5200w"} | sleeping)
    app.target("other", {"commands.backup": "echo other"})
    eventually(lambda: sidecar.states().get("hog/e") == "ready", what="the hog is known")
    assert [one["code"] for one in sidecar.target("hog/a")["problems"]] == ["timeout-too-long"]

    runs = [sidecar.start(f"hog/{name}") for name in "abcde"]
    assert sidecar.backup("other")["state"] == "succeeded"
    assert sorted(sidecar.report(run)["reason"] for run in runs) == ["", "", "", "slot", "slot"], "of four slots"
    for run in runs:
        sidecar.http.post(f"/v1/runs/{run}/cancel").raise_for_status()
        sidecar.ended(run)
