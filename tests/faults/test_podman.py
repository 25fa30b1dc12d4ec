"""Podman in Docker's place: an example comes up by Compose as it is written, once the socket may be used."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.second_engine import SecondEngine, make_images
from tests.kit.stage import SIDECAR_IMAGE, Json, copy_repository, eventually, image

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

APP, HELD = "minimal/app", "minimal/held"
MORE: Json = {
    "services": {
        # Its id can then only be told by the files that Podman mounts.
        "sidecar": {"hostname": "backups", "environment": {"SIDECAR_POLICY_CREATE_CONTAINERS": "true"}},
        "held": {
            "extends": {"file": "docker-compose.yml", "service": "app"},
            "labels": {"backup.quiesce": "pause", "backup.filesystem.paths": "/data"},
        },
    }
}


class Podman(SecondEngine):
    """Podman by its Docker API, and the example `minimal` with a service that is paused."""

    kind = "podman"
    flags = ("podman", "system", "service", "--time=0", "unix:///engine/docker.sock")

    def prepare(self, repository: Path) -> None:
        self.example = copy_repository(repository) / "examples" / "compose" / "minimal"
        (self.example / "more.json").write_text(json.dumps(MORE))
        self.load(SIDECAR_IMAGE, image("BUSYBOX"))
        self.docker("network", "create", "backups_net")

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        told = {
            "SIDECAR_IMAGE": SIDECAR_IMAGE,
            "DEBIAN_IMAGE": image("BUSYBOX"),
            "DOCKER_SOCKET": "/engine/docker.sock",
        }
        files = ("--file", self.example / "docker-compose.yml", "--file", self.example / "more.json")
        environment = os.environ | told | {"BACKUP_API_TOKEN": "0123456789abcdef0"}
        return self.execute("compose", *files, *arguments, env=environment)

    def sidecar(self, *arguments: str) -> Any:
        """What the sidecar says as JSON."""
        done = self.compose("exec", "-T", "sidecar", "backup-sidecar", *arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def states(self) -> dict[str, str]:
        done = self.compose("exec", "-T", "sidecar", "backup-sidecar", "targets", "--json")
        return {target["key"]: target["state"] for target in json.loads(done.stdout or "[]")}


@pytest.fixture
def podman(sidecar_image: str, tmp_path: Path) -> Iterator[Podman]:
    make_images("podman:5.4")
    folder, repository = tmp_path / "engine", tmp_path / "repository"
    folder.mkdir()
    here = ("--volume", f"{repository}:{repository}")
    with Podman("5.4", folder, f"podman-{secrets.token_hex(3)}", *here) as engine:
        engine.start()
        engine.prepare(repository)
        yield engine


@pytest.mark.fault(35, "Podman 5.4 in Docker's place", "as with Docker, once the group of its socket may use it")
def test_podman_is_an_engine_too(podman: Podman) -> None:
    up = podman.compose("up", "--detach")
    assert up.returncode == 0, up.stderr
    eventually(lambda: b"SocketMode=0660" in podman.compose("logs", "sidecar").stdout, what="the remedy is told")

    (podman.folder / "docker.sock").chmod(0o660)
    ready = {APP: "ready", HELD: "ready"}
    eventually(lambda: podman.states() == ready, seconds=90, what="both are targets")
    assert podman.sidecar("check")["problems"] == []

    assert podman.sidecar("run", APP)["proof"] == "full"
    assert podman.sidecar("run", HELD)["proof"] == "framed"
    assert podman.sidecar("restore", APP, "--in-place", "--replace")["state"] == "succeeded"
    assert podman.sidecar("drill", APP)["state"] == "passed"

    podman.compose("stop", "--timeout", "1", "app")
    eventually(lambda: podman.states() == ready | {APP: "absent"}, what="its end is seen")
    podman.compose("start", "app")
    eventually(lambda: podman.states() == ready, what="its start is seen")
