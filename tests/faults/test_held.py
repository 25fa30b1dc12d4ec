"""The sidecar is killed, or loses the engine, while it holds a target still: afterwards that is as it was before."""

import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.conftest import config_folder
from tests.kit import stage
from tests.kit.fault_proxy import Fault, FaultProxy
from tests.kit.stage import WORK, App, Sidecar, docker, eventually, said

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ACT, UNDO = r"POST .*/(pause|stop)\b", r"POST .*/containers/\w+/(unpause|start)\b"
JOURNAL = f"{WORK}/quiesced"


@dataclass(frozen=True)
class Step:
    """A moment of holding: a request, before it reaches the engine, after its answer, or in the middle of that."""

    request: str
    moment: str
    held: bool
    """Whether the target is held then."""


STEPS = {
    "before the act": Step(ACT, "before", held=False),
    "after the act": Step(ACT, "after", held=True),
    "during the dump": Step("/archive", "during", held=True),
    "before the undo": Step(UNDO, "before", held=True),
    "after the undo": Step(UNDO, "after", held=False),
}


class Ambush(FaultProxy):
    """Does something at a step, once, and then lets nobody answer."""

    step: Step | None = None

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.strike: Callable[[], object] = lambda: None

    def _serve(self, client: socket.socket) -> None:
        request = client.recv(65536, socket.MSG_PEEK).split(b"\r\n", 1)[0].decode()
        step = self.step
        if step is None or not re.search(step.request, request):
            super()._serve(client)
            return
        self.step = None
        with socket.socket(socket.AF_UNIX) as engine, client:
            engine.connect(self._engine)
            if step.moment != "before":
                engine.sendall(client.recv(65536))
                for _ in range(1 if step.moment == "after" else 20):
                    engine.recv(65536)
            self.strike()


@dataclass(frozen=True)
class Stand:
    proxy: Ambush
    sidecar: Sidecar
    app: App

    def begin(self) -> None:
        """Start the sidecar again; the engine may give it another port."""
        self.sidecar.begin()

    def target(self, service: str, quiesce: str, size: str = "64M") -> str:
        labels = {"strategy": "filesystem", "filesystem.paths": "/data", "quiesce": quiesce}
        command = ("sh", "-c", f"mkdir -p /data; truncate -s {size} /data/file; exec sleep infinity")
        container = self.app.target(service, labels, "--stop-timeout", "0", command=command)
        self.sidecar.wait(service)
        return container

    def is_up(self) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", self.sidecar.container) == "true"

    def journal(self) -> list[str]:
        """The names of the facts, also of a sidecar that is dead."""
        listed = said("sh", "-c", f"docker cp {self.sidecar.container}:{JOURNAL} - | tar t").stdout.splitlines()
        return [name for name in listed if name.endswith(".json")]


@pytest.fixture(scope="module")
def both(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("proxy")
    folder.chmod(0o755)
    config = config_folder(folder / "config", token, defaults={"schedule": "none", "timeout": "60s", "retries": 0})
    options = ("--volume", f"{folder}:/proxy", "--env", "DOCKER_HOST=unix:///proxy/proxy.sock")
    with (
        Ambush(folder) as proxy,
        stage.sidecar(f"held-{secrets.token_hex(3)}", config, token, *options) as (sidecar, app),
    ):
        yield Stand(proxy, sidecar, app)


@pytest.fixture
def stand(both: Stand) -> Iterator[Stand]:
    with App(both.sidecar.project) as app:
        yield Stand(both.proxy, both.sidecar, app)
        both.proxy.calm()
        if not both.is_up():
            both.begin()
    eventually(lambda: both.sidecar.http.get("/readyz").is_success, what="ready again")
    both.sidecar.forgets(app.started)


def status(container: str) -> str:
    return docker("inspect", "--format", "{{.State.Status}}", container)


HELD = {"pause": "paused", "stop": "exited"}


@pytest.mark.fault(31, "sidecar killed at any moment of pause or stop", "at start the container is as it was before")
@pytest.mark.parametrize("quiesce", HELD)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_sidecar_that_is_killed_lets_its_target_go_when_it_starts(quiesce: str, step: Step, stand: Stand) -> None:
    container = stand.target("held", quiesce)
    stand.proxy.strike = lambda: docker("kill", stand.sidecar.container)
    stand.proxy.step = step

    run = stand.sidecar.start("held")
    eventually(lambda: not stand.is_up(), what="the sidecar is dead")
    assert status(container) == (HELD[quiesce] if step.held else "running")
    assert len(stand.journal()) == 1
    stand.begin()

    eventually(lambda: status(container) == "running", what="the target runs again")
    eventually(lambda: not stand.journal(), what="the journal is empty")
    assert stand.sidecar.report(run)["state"] == "interrupted"
    assert stand.sidecar.stored("held") == []


@pytest.mark.fault(31, "sidecar killed while it reads what somebody else has paused", "that stays paused")
def test_a_target_that_somebody_else_has_paused_stays_so_after_a_kill(stand: Stand) -> None:
    container = stand.target("theirs", "pause")
    docker("pause", container)
    stand.proxy.strike = lambda: docker("kill", stand.sidecar.container)
    stand.proxy.step = STEPS["during the dump"]

    stand.sidecar.start("theirs")
    eventually(lambda: not stand.is_up(), what="the sidecar is dead")
    stand.begin()
    time.sleep(2)

    assert status(container) == "paused"
    docker("unpause", container)


@pytest.mark.fault(31, "the engine goes away before the undo", "undone when it is back, a problem meanwhile")
@pytest.mark.parametrize("quiesce", HELD)
def test_a_target_is_let_go_when_the_engine_is_back(quiesce: str, stand: Stand) -> None:
    container = stand.target("away", quiesce)
    stand.proxy.strike = stand.proxy.go_away
    stand.proxy.step = STEPS["before the undo"]

    report = stand.sidecar.ended(stand.sidecar.start("away"))
    assert (report["state"], report["failure"]["transient"]) == ("failed", True), report
    assert status(container) == HELD[quiesce]
    assert metric_of_problem(stand) == 1
    stand.proxy.come_back()

    eventually(lambda: status(container) == "running", what="the target runs again")
    eventually(lambda: metric_of_problem(stand) == 0, what="no problem any more")
    assert stand.journal() == []


def metric_of_problem(stand: Stand) -> int:
    return stand.sidecar.http.get("/metrics").text.count('code="still-held"')


@pytest.mark.fault(0, "a proxy that allows no pause", "fails `engine-refused`, naming the request and the feature")
def test_a_proxy_that_refuses_the_pause_is_told_of(stand: Stand) -> None:
    container = stand.target("refused", "pause")
    stand.proxy.change(Fault(match="/pause", status=403))

    report = stand.sidecar.run("refused")

    assert report["failure"]["code"] == "engine-refused"
    assert "/pause" in report["failure"]["message"]
    assert "quiesce" in report["failure"]["message"] + report["failure"]["hint"]
    assert status(container) == "running"
    assert stand.journal() == []
