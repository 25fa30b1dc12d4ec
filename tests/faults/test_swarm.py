"""A swarm of three engines: a service moves, a node is lost and comes back, and a run is fetched from another host."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.second_engine import NEWEST, make_images
from tests.kit.stage import LABEL, SIDECAR_IMAGE, WORK, clear, docker, eventually
from tests.kit.swarm import Node

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

Told = Callable[[str, object], None]
APP = "shop/app"
LOST = 90
"""Seconds until the others take a node for lost, and have its tasks elsewhere."""


IDENTITY = f"{WORK}/identity"
FETCH = """
import hashlib, socket, sys, urllib.error, urllib.request
run, name, token = sys.argv[1:]
for address in socket.gethostbyname_ex("tasks.shop_sidecar")[2]:
    request = urllib.request.Request(f"http://{address}:8000/v1/runs/{run}/artifacts/{name}")
    request.add_header("Authorization", f"Bearer {token}")
    try:
        print(hashlib.sha256(urllib.request.urlopen(request, timeout=10).read()).hexdigest())
    except urllib.error.HTTPError as error:
        print(error.code)
"""


class Swarm:
    """A manager and two workers; the app runs where it is allowed to."""

    def __init__(self, project: str, stack: ExitStack, folder: Path) -> None:
        self.project = project
        self.manager, self.one, self.two = (self._started(stack, folder / name) for name in ("manager", "one", "two"))
        self.manager.create_swarm("eth0")
        token = self.manager.docker("swarm", "join-token", "--quiet", "worker")
        for node in (self.one, self.two):
            node.docker("swarm", "join", "--token", token, f"{address(self.manager)}:2377")
        self.manager.deploy()
        self.manager.update("--constraint-add", "node.labels.app==yes")
        for node in (self.manager, self.one, self.two):
            eventually(lambda node=node: node.targets() is not None, seconds=60, what=f"{node.name} has a sidecar")

    def allow(self, *nodes: Node) -> None:
        """Let the app run on these; it leaves any other."""
        for node in (self.one, self.two):
            label = f"app={'yes' if node in nodes else 'no'}"
            self.manager.docker("node", "update", "--label-add", label, node.folder.name)

    def _started(self, stack: ExitStack, folder: Path) -> Node:
        folder.mkdir()
        options = ("--network", self.project, "--hostname", folder.name, "--tmpfs", "/run:exec")
        node = stack.enter_context(Node(NEWEST, folder, f"{self.project}-{folder.name}", *options))
        node.start()
        node.load_stack()
        return node


def address(node: Node) -> str:
    """On the network of the machine that stands for the one between the hosts."""
    return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", node.name)


@pytest.fixture(scope="module")
def swarm(sidecar_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    make_images(f"engine:{NEWEST}")
    project = f"swarm-{secrets.token_hex(3)}"
    try:
        docker("network", "create", "--label", f"{LABEL}={project}", project)
        with ExitStack() as stack:
            yield Swarm(project, stack, tmp_path_factory.mktemp("swarm"))
    finally:
        clear(project)


@pytest.mark.fault(36, "a Swarm service moves to another node", "a target there; `absent` here, where its runs stay")
def test_a_service_that_moves_is_backed_up_where_it_is(swarm: Swarm) -> None:
    swarm.allow(swarm.one)
    swarm.one.waits({APP: "ready"})
    run = swarm.one.backup()["id"]
    before = swarm.two.runs()

    swarm.allow(swarm.two)
    swarm.two.waits({APP: "ready"})
    assert swarm.two.runs() == before
    swarm.two.backup()
    swarm.one.waits({APP: "absent"})
    assert run in swarm.one.runs()
    assert swarm.manager.sidecar("status")["safe"], "nothing is to be backed up there"


@pytest.mark.fault(36, "a run on one node of a swarm is wanted on another", "fetched by backups_net, with its digest")
def test_a_run_is_fetched_from_another_host(swarm: Swarm) -> None:
    swarm.allow(swarm.one)
    swarm.one.waits({APP: "ready"})
    report = swarm.one.backup()
    (artifact,) = report["artifacts"]
    token = swarm.one.docker("exec", swarm.one.task("sidecar"), "cat", "/run/secrets/backup_api_token")

    run = ("run", "--rm", "--network", "backups_net", "--entrypoint", "python3", SIDECAR_IMAGE, "-c", FETCH)
    answers = swarm.manager.docker(*run, report["id"], artifact["name"], token).split()

    assert sorted(answers) == sorted(["404", "404", artifact["sha256"]])


@pytest.mark.fault(
    37, "a node of a swarm is lost, and comes back", "its services are backed up elsewhere; its runs stay"
)
def test_a_node_that_is_lost_and_comes_back_has_its_runs(swarm: Swarm, record_property: Told) -> None:
    swarm.allow(swarm.two)
    swarm.two.waits({APP: "ready"})
    run, identity = swarm.two.backup()["id"], identity_of(swarm.two)
    known = swarm.one.runs()
    swarm.allow(swarm.one, swarm.two)

    docker("kill", swarm.two.name)
    began = time.monotonic()
    swarm.one.waits({APP: "ready"}, seconds=LOST)
    record_property("seen", f"ready on another node after {time.monotonic() - began:.0f} s")
    new = swarm.one.backup()["id"]
    assert swarm.one.runs() == known | {new}

    swarm.two.revive()
    swarm.two.waits({APP: "absent"}, seconds=LOST)
    assert run in swarm.two.runs()
    assert identity_of(swarm.two) == identity


def identity_of(node: Node) -> str:
    return node.docker("exec", node.task("sidecar"), "cat", IDENTITY)
