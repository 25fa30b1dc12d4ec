"""A stack on a swarm of one engine: the example is backed up as it is written, and goes on over each kind of change."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.second_engine import NEWEST, make_images
from tests.kit.swarm import Node

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

APP = "shop/app"


@pytest.fixture
def node(sidecar_image: str, tmp_path: Path) -> Iterator[Node]:
    make_images(f"engine:{NEWEST}")
    with Node(NEWEST, tmp_path, f"swarm-{secrets.token_hex(3)}") as only:
        only.start()
        only.load_stack()
        only.create_swarm("127.0.0.1")
        only.deploy()
        yield only


def test_a_stack_is_backed_up_and_its_key_outlives_every_change(node: Node) -> None:
    first = node.waits({APP: "ready"})["container"]["name"]
    host = json.loads(node.docker("inspect", "--format={{json .HostConfig}}", node.task("sidecar")))
    assert (host["Memory"], host["PidsLimit"], host["NanoCpus"]) == (512 << 20, 512, 2 * 10**9)
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    runs = {node.backup()["id"]}

    node.update("--env-add", "CHANGED=1")
    second = node.waits({APP: "ready"}, but=first)["container"]["name"]
    runs.add(node.backup()["id"])

    node.update("--force")
    node.waits({APP: "ready"}, but=second)
    runs.add(node.backup()["id"])
    assert node.runs() == runs

    node.docker("service", "scale", "--detach", "shop_app=3")
    replicas = {f"{APP}@shop_app.2": "replica", f"{APP}@shop_app.3": "replica"}
    assert node.waits({APP: "ready"} | replicas)["container"]["name"].startswith("shop_app.1.")
    node.docker("service", "scale", "--detach", "shop_app=1")
    node.waits({APP: "ready"})

    # A task that is stopped is replaced, and its container's own data is gone.
    node.update("--container-label-add", "backup.quiesce=stop")
    node.waits({APP: "problem"})
    (problem,) = node.sidecar("explain", APP)["problems"]
    assert problem["code"] == "no-stop"
