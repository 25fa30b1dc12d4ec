"""What holds the container of a drill, as the engine shows it, and what it may write; of the sidecar: `test_image`."""

import json
import re
import secrets
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.test_drill import Allowed, drilled, throwaways
from tests.kit import stage
from tests.kit.stage import Json, Sidecar, docker, eventually, said

pytestmark = pytest.mark.e2e

WAITING = {"drill.check": "while [ ! -e /tmp/go ]; do sleep 0.1; done"}
FILES = {"strategy": "filesystem", "filesystem.paths": "/etc"}


@pytest.fixture(scope="module")
def frugal(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Allowed]:
    """A sidecar whose drills may write little."""
    folder = tmp_path_factory.mktemp("frugal")
    settings = {"schema": 1, "policy": {"create-containers": True}, "drills": {"disk": "64MiB", "timeout": "3m"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"sidecar-frugal-{secrets.token_hex(3)}", folder, token) as (running, app), app:
        yield running, app


def inspected(container: str) -> Json:
    found: Json = json.loads(docker("inspect", container))[0]
    return found


def test_the_container_of_a_drill_has_what_holds_its_target_and_more(frugal: Allowed) -> None:
    sidecar, app = frugal
    options = ("--read-only", "--tmpfs=/tmp", "--pids-limit=99", "--cpus=0.5", "--memory=128m", "--runtime=runc")
    app.target("held", FILES | WAITING, *options, "--cap-drop=NET_RAW", "--volume=/var/tmp", of="DEBIAN")
    sidecar.backup("held")

    drill = sidecar.admin.post(f"/v1/targets/{sidecar.key('held')}/drills").json()["id"]
    (container,) = eventually(lambda: throwaways(drill), seconds=60, what="a throw-away container")
    host = inspected(container)["HostConfig"]
    eventually(lambda: said("docker", "exec", container, "touch", "/tmp/go").returncode == 0, seconds=60)
    ended = eventually(lambda: ended_drill(sidecar, drill), seconds=60)

    assert ended["state"] == "passed", ended
    assert (host["Runtime"], host["ReadonlyRootfs"], host["NetworkMode"]) == ("runc", True, "none")
    assert (host["SecurityOpt"], host["Privileged"]) == (["no-new-privileges:true"], False)
    assert [name.removeprefix("CAP_") for name in host["CapDrop"]] == ["NET_RAW"]
    assert (host["PidsLimit"], host["NanoCpus"], host["Memory"]) == (99, 500_000_000, 128 << 20)
    assert host["MemorySwap"] == host["Memory"]


def ended_drill(sidecar: Sidecar, drill: str) -> Json | None:
    found: Json = sidecar.http.get(f"/v1/drills/{drill}").json()
    return found if found["finished"] else None


@pytest.mark.parametrize(
    ("service", "of", "labels", "command", "place"),
    [
        pytest.param("layer", "DEBIAN", FILES, stage.SLEEP, "/fill", marks=pytest.mark.slow),
        ("volume", "REDIS", {"strategy": "redis"}, ("redis-server", "--save", ""), "/data/fill"),
    ],
    ids=["own layer", "volume of the image"],
)
def test_a_drill_that_writes_too_much_is_ended(
    service: str, of: str, labels: dict[str, str], command: tuple[str, ...], place: str, frugal: Allowed
) -> None:
    sidecar, app = frugal
    check = {"drill.check": f"dd if=/dev/zero of={place} bs=1M count=200; sleep 300"}
    app.target(service, labels | check, of=of, command=command)
    sidecar.backup(service)

    found = drilled(sidecar, service)

    assert (found["state"], found["failure"]["code"]) == ("failed", "disk-limit"), found
    assert re.search(r"wrote \d+ MiB, and may write \d+ MiB: 3 times", found["failure"]["message"])
    assert "`drills.disk`" in found["failure"]["hint"]
    assert found["seconds"] < 120
