"""The API is reached from where it is meant to be, and not from the app, however the networks are called."""

import contextlib
import json
import resource
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.kit import stage
from tests.kit.stage import LABEL, PROJECT, SIDECAR_IMAGE, clear, docker, eventually

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Place:
    """A sidecar on two networks."""

    container: str
    internal: str
    external: str

    def address(self, network: str) -> str:
        ends = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", self.container))
        return str(ends[network]["IPAddress"]) if network in ends else ""

    def answers(self, network: str) -> bool:
        return answers(f"{self.address(network)}:8000")

    def published(self) -> str:
        return docker("port", self.container, "8000/tcp").splitlines()[0]


def answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/healthz", timeout=5).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, sidecar_image: str) -> Iterator[Place]:
    """In a project of this name; the second word publishes the port."""
    name, *options = request.param.split()
    project = f"{name}-{secrets.token_hex(3)}"
    found = Place(f"{project}-sidecar", f"{project}_app_internal", f"backups-{project}")
    labels = [f"--label={label}={project}" for label in (LABEL, PROJECT)]
    config = tmp_path / "config"
    config.mkdir()  # By its mode the sidecar, which is not root, can read it.
    (config / "config.yaml").write_text(f"scope: {{network: {found.internal}, external: {found.external}}}\n")
    try:
        for network in (found.internal, found.external):
            docker("network", "create", labels[0], network)
        docker(
            *("create", "--name", found.container, *labels, "--network", found.internal, *options),
            *("--volume", f"{config}:/etc/sidecar:ro", "--volume", "/var/run/docker.sock:/var/run/docker.sock"),
            SIDECAR_IMAGE,
        )
        docker("network", "connect", found.external, found.container)
        docker("start", found.container)
        eventually(lambda: found.answers(found.external), seconds=60, what="it answers on the external network")
        yield found
    finally:
        clear(project)


@pytest.mark.parametrize("place", ["app", "shop"], indirect=True)
def test_the_app_reaches_no_api_and_the_network_of_the_orchestrator_may_come_and_go(place: Place) -> None:
    assert not place.answers(place.internal)
    docker("network", "disconnect", place.external, place.container)
    docker("network", "connect", place.external, place.container)
    eventually(lambda: place.answers(place.external), what="it answers on the network that it has joined anew")
    assert not place.answers(place.internal)


@pytest.mark.parametrize("place", ["shop --publish=127.0.0.1::8000"], indirect=True)
def test_a_published_port_leads_to_the_api_whichever_network_the_engine_takes(place: Place) -> None:
    assert answers(place.published())
    # The engine leads it to the network whose name comes first.
    assert place.answers(place.internal) == place.internal.startswith("app")


@pytest.mark.slow
def test_a_flood_of_connections_stops_no_backup_and_fills_no_log(
    tmp_path: Path, token: str, sidecar_image: str
) -> None:
    assert sidecar_image
    tmp_path.chmod(0o755)
    (tmp_path / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    options = ("--ulimit", "nofile=1024:20000")
    with (
        stage.sidecar(f"flood-{secrets.token_hex(3)}", tmp_path, token, *options) as (sidecar, app),
        app,
        contextlib.ExitStack() as stack,
    ):
        app.target("files", {"strategy": "filesystem", "filesystem.paths": "/etc"})
        sidecar.wait("files")
        address = docker(
            "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", sidecar.container
        )
        for _ in range(1400):
            connection = stack.enter_context(socket.create_connection((address, 8000), timeout=10))
            with contextlib.suppress(OSError):
                connection.sendall(b"GET / HTTP/1.1\r\nX")
        report = sidecar.run("files")
        log = sidecar.log()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert report["state"] == "succeeded"
    assert "too-many-connections" in log
    assert len(log.splitlines()) < 100


@pytest.mark.parametrize("place", ["app --env=SIDECAR_API_HOST=0.0.0.0"], indirect=True)
def test_the_operator_may_open_all(place: Place) -> None:
    assert place.answers(place.internal)
