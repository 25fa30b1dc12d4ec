"""The real process is killed, or its disk fails, at every system call with which a run changes the disk.

A trace of a clean run tells which calls these are, so that none is forgotten when the program changes. strace names a
call by its kind and how many of its kind its thread has made; so a run is traced in two parts, one for each thread that
writes. Of the catalog's calls, whose number depends on its pages, the first write and the first sync are among them.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from controller.storage import marks
from controller.storage.draft import MANIFEST
from controller.storage.lock import LOCK
from tests.faults.process import Process, process
from tests.faults.trace import Call, seen, traced
from tests.kit.stage import App, said, within

pytestmark = pytest.mark.e2e

MEBIBYTE = 1 << 20
DUMP = f"head -c {3 * MEBIBYTE} /dev/urandom; until [ -e /tmp/go ]; do sleep 0.02; done"
"""Its last bytes are held back until it ends, since they could be the seal."""
DIED = -9
TRIES = 5
"""For a call that another thread may make first."""


class Stand:
    """A process, and a target whose dump waits for a word: so a trace can begin before a run, or before its end.

    Beside it there is an earlier run of another target, which nothing may touch.
    """

    def __init__(self, running: Process, app: App) -> None:
        self.running, self.log = running, running.folder / "trace"
        app.target("earlier", {"commands.backup": "echo earlier"})
        self.container = app.target("db", {"commands.backup": DUMP, "compression": "none"})
        running.begin()
        self.earlier = running.backup("earlier")["id"]
        running.wait("db")

    def may_end(self, *, yes: bool) -> None:
        within(self.container, "touch /tmp/go" if yes else "rm -f /tmp/go")

    def begun(self) -> tuple[str, int]:
        """A run whose dump waits for the word, and the thread that does it; the log has the calls so far."""
        self.may_end(yes=False)
        with traced(self.log, "-f", f"--attach={self.running.pid}"):
            run = self.running.start("db")
            self.running.reaches(run, 2 * MEBIBYTE)
        return run, next(call.thread for call in self.calls() if call.place.startswith("artifacts/"))

    def calls(self) -> list[Call]:
        """Those that matter, in order."""
        calls = seen(self.log, self.running.folder)
        catalog = [replace(call, place="catalog") for call in calls if "catalog" in call.place and call.number == 1]
        return [*(call for call in calls if call.place.startswith("artifacts")), *dict.fromkeys(catalog)]

    def beginning(self) -> list[Call]:
        """The calls of a run until its dump is there."""
        self.begun()
        calls = self.calls()
        self.running.end()
        self.running.begin()
        self.running.wait("db")
        return calls

    def publishing(self) -> list[Call]:
        """The calls of a run from then on, in the thread that does it."""
        run, thread = self.begun()
        with traced(self.log, f"--attach={thread}"):
            self.may_end(yes=True)
            assert self.running.ended(run)["state"] == "succeeded"
        return self.calls()

    def spoilt(self, call: Call, inject: str, *, late: bool) -> str:
        """Start a run in which something befalls a call; gives the run's id, empty where the process died before.

        Another thread, a loop's for example, may make such a call before; `is_hit` tells.
        """
        inject, run = f"--inject={call.name}:{inject}:when={call.number}", ""
        attach = ("-f", f"--attach={self.running.pid}")
        if late:
            run, thread = self.begun()
            attach = (f"--attach={thread}",)
        with traced(self.log, *attach, inject):
            self.may_end(yes=late or "signal" not in inject)
            with contextlib.suppress(httpx.TransportError):
                run = run or self.running.start("db")
            if "signal" in inject:
                assert self.running.died() == DIED, f"it was not reached: {call}"
            else:
                self.running.ended(run)
        return run

    def is_hit(self, call: Call) -> bool:
        return call in self.calls()

    def killed(self, call: Call, *, late: bool) -> str:
        """Kill the process at a call; gives the state of the run once it serves again, empty where it knows none."""
        for _ in range(TRIES):
            run = self.spoilt(call, "signal=KILL", late=late)
            hit = self.is_hit(call)
            self.running.begin()
            self.running.wait("db")
            states = {one["id"]: one["state"] for one in self.running.http.get("/v1/runs").json()["runs"]}
            assert set(states.values()) <= {"succeeded", "failed", "interrupted"}
            nothing_is_half(self.running)
            assert self.earlier in self.running.manifests()
            if hit:
                return states.get(run, "")
        pytest.fail(f"always another call than {call}")

    def failed(self, call: Call, error: str, *, late: bool) -> dict[str, Any]:
        """Let a call fail; gives the report."""
        for _ in range(TRIES):
            report = self.running.report(self.spoilt(call, f"error={error}", late=late))
            nothing_is_half(self.running)
            assert self.earlier in self.running.manifests()
            assert (report["id"] in self.running.manifests()) == (report["state"] == "succeeded")
            if self.is_hit(call):
                return report
        pytest.fail(f"always another call than {call}")


def nothing_is_half(running: Process) -> None:
    """What is listed is there with its digest, also over HTTP; nothing else is in the store but marks beside it."""
    listed = running.http.get("/v1/runs", params={"state": "succeeded", "limit": 1000}).json()["runs"]
    manifests = running.manifests()
    assert {run["id"] for run in listed} == set(manifests)
    there = [path for path in running.store.rglob("*") if marks.FOLDER not in path.parts]
    files = {path for path in there if path.is_file() and path.name != LOCK}
    for run, manifest in manifests.items():
        folder = running.store.joinpath(*manifest.target.folders, run)
        files.remove(folder / MANIFEST)
        for artifact in manifest.artifacts:
            files.remove(folder / artifact.name)
            sent = running.http.get(f"/v1/runs/{run}/artifacts/{artifact.name}").content
            assert hashlib.sha256(sent).hexdigest() == artifact.sha256
            assert (folder / artifact.name).read_bytes() == sent
    assert files == set()
    assert [path for path in there if path.is_dir() and not any(path.iterdir())] == []


@pytest.fixture(scope="module")
def strace() -> None:
    if not shutil.which("strace"):
        done = said("sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends strace")
        assert done.returncode == 0, f"please install strace: {done.stderr}"


@pytest.fixture(scope="module")
def stand(strace: None) -> Iterator[Stand]:
    with process() as (running, app):
        yield Stand(running, app)


KILLED = pytest.mark.fault(
    19,
    "sidecar killed at every system call with which a run changes the disk",
    "after restart every listed artifact has its digest; nothing partial; the run is `interrupted`, or whole",
)
FAILED = pytest.mark.fault(22, "a system call of a run answers EIO", "fails `store-error`; not listed")


@KILLED
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_each_call_until_the_dump_is_there(stand: Stand, record_property: Any) -> None:
    calls = stand.beginning()
    assert {"mkdir", "mkdirat"} & {call.name for call in calls}
    for call in calls:
        assert stand.killed(call, late=False) in ("interrupted", ""), call
    record_property("cases", len(calls))


@KILLED
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_each_call_of_publishing(stand: Stand, record_property: Any) -> None:
    calls = stand.publishing()
    listed = calls.index(naming(calls)) + 1
    assert listed > 5
    for place, call in enumerate(calls):
        assert stand.killed(call, late=True) == ("interrupted" if place < listed else "succeeded"), call
    record_property("cases", len(calls))


@KILLED
def test_killed_as_the_manifest_gets_its_name(stand: Stand) -> None:
    calls = stand.publishing()
    naming_it = naming(calls)

    assert stand.killed(naming_it, late=True) == "interrupted"
    assert stand.killed(calls[calls.index(naming_it) + 1], late=True) == "succeeded"


@pytest.mark.fault(19, "the power fails", "what is published was synced before it is named, and its folder after")
def test_what_a_name_stands_for_is_synced_before_it_and_the_folder_after(stand: Stand) -> None:
    """No kill tells: the kernel writes also for a process that is dead."""
    calls = stand.publishing()
    place = calls.index(naming(calls))
    folder = calls[place].place.rpartition("/")[0]
    before, after = calls[:place], calls[place + 1 :]

    synced = [call.place for call in before if call.name == "fsync"]
    assert {f"{folder}/backup.partial", f"{folder}/{MANIFEST}.partial", folder} <= set(synced)
    assert folder in [call.place for call in after if call.name == "fsync"]


def naming(calls: list[Call]) -> Call:
    """With which the manifest gets its name."""
    return next(call for call in calls if call.name.startswith("rename") and MANIFEST in call.place)


@FAILED
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("late", [False, True], ids=["beginning", "publishing"])
def test_a_disk_that_fails_at_any_call_fails_the_run(late: bool, stand: Stand, record_property: Any) -> None:
    calls = stand.publishing() if late else stand.beginning()
    for call in calls:
        report = stand.failed(call, "EIO", late=late)
        is_beside = call.place == "catalog" or marks.FOLDER in call.place
        if not is_beside and not (late and call.name.startswith("mkdir")):  # The run's folder is there by then.
            assert (report["state"], report["failure"]["code"]) == ("failed", "store-error"), call
            assert report["failure"]["hint"]
        else:
            assert report["state"] == "succeeded", f"{call}: what is beside the backup can be made again"
    record_property("cases", len(calls))
    assert stand.running.backup("db")


@FAILED
def test_a_dump_that_cannot_be_synced_is_no_backup(stand: Stand) -> None:
    sync = next(call for call in stand.publishing() if call.name == "fsync")

    report = stand.failed(sync, "EIO", late=True)

    assert (report["state"], report["failure"]["code"]) == ("failed", "store-error")
    assert "Input/output error" in report["failure"]["message"]


@pytest.mark.fault(21, "disk full only at close", "fails; no empty artifact")
@pytest.mark.parametrize("name", ["close", "fsync"])
def test_a_disk_that_is_full_only_at_the_end_fails_the_run(name: str, stand: Stand) -> None:
    run, _ = stand.begun()
    partial = stand.running.store.joinpath(stand.running.project, "db", run, "backup.partial")
    attach = ("-f", f"--attach={stand.running.pid}", f"--trace-path={partial}")
    with traced(stand.log, *attach, f"--inject={name}:error=ENOSPC", calls="close,fsync"):
        stand.may_end(yes=True)
        report = stand.running.ended(run)

    assert "ENOSPC" in stand.log.read_text()
    assert (report["state"], report["failure"]["code"]) == ("failed", "store-full")
    nothing_is_half(stand.running)
