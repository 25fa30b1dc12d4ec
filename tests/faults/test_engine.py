"""The engine is killed, restarted, frozen and replaced in the middle of a dump; it is one of the tests' own."""

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.faults.conftest import config_folder, metric
from tests.faults.test_held import JOURNAL
from tests.kit import stage
from tests.kit.fault_proxy import EVENTS, Fault, FaultProxy
from tests.kit.second_engine import NEWEST, OLDEST, SecondEngine, make_images
from tests.kit.stage import Sidecar, docker, eventually, image

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

Told = Callable[[str, object], None]
MEBIBYTE = 1 << 20
DUMP = """
echo $$ >>/tmp/dumps
for dump in $(cat /tmp/dumps); do [ $dump = $$ ] || ! kill -0 $dump 2>/dev/null || echo $dump $$ >>/tmp/doubled; done
while [ ! -e /tmp/enough ]; do head -c 1000000 /dev/zero; sleep 0.05; done
echo data
"""
"""Goes on until `/tmp/enough` is there, and notes when it meets another one that is under way."""


@dataclass(frozen=True)
class Stand:
    """A sidecar on the machine's engine that watches another one."""

    engine: SecondEngine
    sidecar: Sidecar
    folder: Path

    @property
    def is_ready(self) -> bool:
        return self.sidecar.http.get("/readyz").is_success

    @property
    def started(self) -> str:
        """When the sidecar's process began."""
        return docker("inspect", "--format", "{{.State.StartedAt}}", self.sidecar.container)

    def dumping(self, service: str = "db") -> str:
        """The id of a run that is in the middle of its dump."""
        self.sidecar.wait(service)
        run = self.sidecar.start(service)
        self.sidecar.reaches(run, MEBIBYTE)
        return run


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    make_images(f"engine:{NEWEST}", f"engine:{OLDEST}")


@pytest.fixture(params=[NEWEST, OLDEST])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options() -> tuple[str, ...]:
    """Of the engine."""
    return ()


@contextmanager
def standing(version: str, folder: Path, token: str, *options: str, fault: Fault | None = None) -> Iterator[Stand]:
    """With a fault the sidecar's way to the engine leads through the fault proxy."""
    project = f"second-{secrets.token_hex(3)}"
    config = config_folder(folder / "config", token, scope={"project": "any"})
    own = folder / "docker.sock"
    with SecondEngine(version, folder, project) as engine, FaultProxy(folder, fault, engine=str(own)) as proxy:
        engine.start(*options)
        engine.app()
        engine.target("db", DUMP, retries="0")
        address = f"DOCKER_HOST=unix:///engine/{(proxy.path if fault else own).name}"
        # It is no container of that engine, so nobody can tell it on which address it may listen.
        mounts = ("--volume", f"{folder}:/engine", "--env", address, "--env", "SIDECAR_API_HOST=0.0.0.0")
        with stage.sidecar(project, config, token, *mounts, network="bridge") as (sidecar, _):
            yield Stand(engine, sidecar, folder)


@pytest.fixture
def stand(version: str, options: tuple[str, ...], sidecar_image: str, token: str, tmp_path: Path) -> Iterator[Stand]:
    with standing(version, tmp_path, token, *options) as found:
        yield found


@pytest.mark.fault(10, "the engine is killed during a dump", "fails `engine-lost` within 5 s; the next run succeeds")
def test_an_engine_that_is_killed_fails_the_run_and_is_watched_again(stand: Stand, record_property: Told) -> None:
    run, started = stand.dumping(), stand.started

    stand.engine.end("KILL")
    killed = time.monotonic()
    report = stand.sidecar.ended(run, seconds=15)
    record_property("seen", f"`{report['failure']['code']}` after {time.monotonic() - killed:.1f} s")

    assert (report["state"], report["failure"]["code"]) == ("failed", "engine-lost")
    assert report["failure"]["transient"]
    assert stand.sidecar.stored("db") == []
    assert not stand.is_ready
    assert stand.sidecar.http.get("/healthz").is_success

    stand.engine.start()
    stand.engine.docker("start", f"{stand.engine.project}-db")
    eventually(lambda: stand.is_ready, what="ready again")
    stand.engine.within(f"{stand.engine.project}-db", "touch /tmp/enough")
    assert stand.sidecar.backup("db")["proof"] == "sealed"
    assert metric(stand.sidecar, "backup_engine_reconnects_total") == 1
    assert stand.started == started


@pytest.mark.parametrize("options", [("--live-restore",)])
@pytest.mark.fault(
    11, "the engine is restarted with live-restore", "fails; the orphan is ended first; never two dumps at a time"
)
def test_a_dump_that_outlives_the_engine_is_ended_before_the_next(stand: Stand, record_property: Told) -> None:
    container = stand.engine.target("again", DUMP)
    run = stand.dumping("again")

    def dumps() -> list[str]:
        return stand.engine.within(container, "cat /tmp/dumps").split()

    stand.engine.end("TERM")
    eventually(lambda: stand.sidecar.report(run)["retried"], what="the attempt has failed")
    stand.engine.start("--live-restore")
    first = dumps()[0]
    eventually(lambda: len(dumps()) == 2, seconds=40, what="the next attempt dumps")
    is_alive = stand.engine.execute("exec", container, "kill", "-0", first).returncode == 0
    stand.engine.within(container, "touch /tmp/enough")
    report = stand.sidecar.ended(run)

    assert not is_alive
    assert stand.engine.execute("exec", container, "cat", "/tmp/doubled").stdout == b""
    assert (report["state"], report["attempts"]) == ("succeeded", 2)
    assert [failure["code"] for failure in report["retried"]] == ["engine-lost"]
    record_property("seen", "`engine-lost`, then the second attempt succeeded")


@pytest.mark.parametrize("seconds", [60])
@pytest.mark.fault(12, "the engine hangs", "no request to our API waits; the run ends right or fails, never both")
def test_an_engine_that_is_frozen_holds_nothing_up(seconds: int, stand: Stand, record_property: Told) -> None:
    run = stand.dumping()
    slowest = 0.0

    stand.engine.signal("STOP")
    thaw = time.monotonic() + seconds
    while time.monotonic() < thaw:
        for path in ("/readyz", "/healthz", "/v1/targets", f"/v1/targets/{stand.sidecar.key('db')}", "/metrics"):
            began = time.monotonic()
            stand.sidecar.http.get(path)
            slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.5)
    assert not stand.is_ready
    stand.engine.signal("CONT")
    eventually(lambda: stand.is_ready, what="ready again")
    stand.engine.within(f"{stand.engine.project}-db", "touch /tmp/enough")
    report = stand.sidecar.ended(run)

    assert slowest < 5
    kept = [path for path in stand.sidecar.stored("db") if "/marks/" not in path]
    assert len(kept) == (2 if report["state"] == "succeeded" else 0)
    runs = stand.sidecar.http.get("/v1/runs", params={"target": stand.sidecar.key("db")}).json()["runs"]
    assert [(one["id"], one["state"]) for one in runs] == [(run, report["state"])]
    record_property("seen", f"the slowest answer took {slowest:.2f} s; the run {report['state']}")


@pytest.mark.parametrize("version", [OLDEST], indirect=False)
def test_the_oldest_engine_backs_up_end_to_end(stand: Stand, tmp_path: Path) -> None:
    container = stand.engine.target("files", "cat /tmp/data")
    stand.engine.within(container, "head -c 3000000 /dev/urandom >/tmp/data")

    report = stand.sidecar.backup("files")

    folder = stand.sidecar.fetch(report, tmp_path)
    plain = stage.execute("zstd", "-dc", folder / report["artifacts"][0]["name"]).stdout
    assert plain == stand.engine.execute("exec", container, "cat", "/tmp/data").stdout
    manifest = (folder / "manifest.json").read_text()
    assert '"engine": "20.10' in manifest


@pytest.mark.parametrize("version", [NEWEST], indirect=False)
@pytest.mark.fault(10, "another version of the engine comes back", "the API's version is negotiated anew")
def test_an_engine_that_comes_back_as_an_older_one_is_spoken_to_in_its_version(
    stand: Stand, record_property: Told
) -> None:
    stand.sidecar.wait("db")
    stand.engine.end("KILL")
    eventually(lambda: not stand.is_ready, what="not ready")

    with SecondEngine(OLDEST, stand.folder, stand.engine.project) as older:
        older.start()
        older.app()
        older.target("files", "echo data")
        eventually(lambda: stand.is_ready, what="ready again")
        report = stand.sidecar.backup("files")

    assert report["state"] == "succeeded"
    record_property("seen", f"{NEWEST} became {OLDEST}; the next run succeeded")


HELD = {"pause": "paused", "stop": "exited"}
HUGE = ("sh", "-c", "mkdir -p /data; truncate -s 40G /data/huge; exec sleep infinity")
"""A minute's work for the archive endpoint."""


@pytest.mark.parametrize("version", [NEWEST], indirect=False)
@pytest.mark.parametrize(
    ("options", "end"),
    [((), "TERM"), ((), "KILL"), (("--live-restore",), "TERM")],
    ids=["restarted", "killed", "restarted with live-restore"],
)
@pytest.mark.parametrize("quiesce", HELD)
@pytest.mark.fault(31, "the engine itself is restarted, or killed, during a hold", "afterwards the target is as others")
def test_a_target_that_is_held_while_the_engine_restarts_is_afterwards_as_if_it_had_not_been(
    quiesce: str, end: str, options: tuple[str, ...], stand: Stand, record_property: Told
) -> None:
    """An engine that was killed ends everything that runs without it, unless with live-restore."""
    files = {"strategy": "filesystem", "filesystem.paths": "/data", "quiesce": quiesce, "retries": "0"}
    lasting = ("--restart=unless-stopped", "--stop-timeout=0")
    beside = stand.engine.start_target("beside", {"commands.backup": "echo data"}, *lasting)
    container = stand.engine.start_target("held", files, *lasting, command=HUGE)

    def statuses() -> list[str]:
        return stand.engine.docker("inspect", "--format", "{{.State.Status}}", container, beside).split()

    run = stand.dumping("held")
    stand.engine.end(end)
    report = stand.sidecar.ended(run, seconds=15)
    assert (report["state"], report["failure"]["code"]) == ("failed", "engine-lost"), report
    stand.engine.start(*options)
    eventually(lambda: stand.is_ready, what="ready again")

    expected = ["running" if quiesce == "stop" or end == "TERM" else "exited", "exited" if end == "KILL" else "running"]
    eventually(lambda: statuses() == expected, what="as the other one")
    eventually(lambda: not stage.within(stand.sidecar.container, f"ls {JOURNAL}"), what="the journal is empty")
    assert stand.sidecar.stored("held") == []
    assert "still-held" not in stand.sidecar.http.get("/metrics").text
    record_property("seen", f"{quiesce}, {end}{' '.join(options)}: {expected[0]}, another one {expected[1]}")


RESYNC = 60
BURST = 3000


@pytest.mark.fault(13, "3,000 events in a burst, the consumer slow", "within one resync our list equals the engine's")
def test_a_burst_of_events_that_is_not_taken_in_time_leaves_nothing_out(
    sidecar_image: str, token: str, tmp_path: Path, record_property: Told
) -> None:
    numbers = range(8)
    with standing(NEWEST, tmp_path, token, fault=Fault(match=EVENTS, delay=2)) as stand:
        for number in numbers:
            stand.engine.target(f"old-{number}", "echo data")
        stand.sidecar.wait("old-7")

        renamed = stand.engine.docker("create", image("BUSYBOX"))
        rename(stand.engine, renamed, BURST)
        for number in numbers:
            stand.engine.target(f"new-{number}", "echo data")
            stand.engine.docker("rm", "--force", f"{stand.engine.project}-old-{number}")
        began = time.monotonic()

        expected = {"db": "ready"} | {f"new-{number}": "ready" for number in numbers}
        eventually(lambda: stand.sidecar.states() == expected, seconds=RESYNC + 5, what="the lists are equal")
        record_property("seen", f"equal after {time.monotonic() - began:.1f} s")
        record_property("cases", BURST)


def rename(engine: SecondEngine, container: str, times: int) -> None:
    """So many events, as fast as the engine makes them."""
    connection = HTTPConnection("engine")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(engine.folder / "docker.sock"))
    for number in range(times):
        connection.request("POST", f"/containers/{container}/rename?name=busy-{number % 2}")
        answer = connection.getresponse()
        assert answer.status == 204, answer.read()
        answer.read()
    connection.close()
