"""An app takes the sidecar in as the README tells it: cloned to `sidecar/`, and nothing edited but the copies."""

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.stage import copy_repository, image_files

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
IMAGE = os.environ.get("BUSYBOX_IMAGE", "busybox:1.37")

APP = f"""
services:
  app:
    image: {IMAGE}
    command: sleep infinity
    init: false
    stop_signal: SIGKILL
    labels:
      backup-sidecar.test: ""
      backup.enable: "true"
      backup.strategy: filesystem
      backup.filesystem.paths: /etc
    networks: [app_internal]
"""
NETWORK = """
networks:
  app_internal:
    internal: true
    labels: [backup-sidecar.test]
"""
EXTENDS = """
  sidecar:
    extends:
      file: sidecar/compose.sidecar.yml
      service: sidecar
"""
SHARED = """
  backups_net:
    external: true
volumes:
  sidecar_store:
"""
INCLUDE = "include: [sidecar/compose.sidecar.yml]\n"

BOTH_FILES = ("-f", "docker-compose.yml", "-f", "sidecar/docker-compose.yml")
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "two files": (APP + NETWORK, BOTH_FILES),
    "extends": (APP + EXTENDS + NETWORK + SHARED, ()),
    "include": (INCLUDE + APP + NETWORK, ()),
}


class App:
    """The app's own repository, with a Compose project of its own."""

    def __init__(self, folder: Path, compose_file: str, files: tuple[str, ...]) -> None:
        self.folder, self.files = folder, files
        self.project = f"joining-{secrets.token_hex(3)}"
        self.environment = os.environ | {"COMPOSE_PROJECT_NAME": self.project}
        folder.mkdir()
        (folder / "docker-compose.yml").write_text(compose_file)
        copy_repository(folder / "sidecar")
        config = folder / "sidecar" / "config"
        shutil.copy(config / "config.example.yaml", config / "config.yaml")
        (config / ".env").write_text(f"BACKUP_API_TOKEN={secrets.token_hex(16)}\n")

    def compose(self, *args: str, files: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", *self.files, *files, *args],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def up(self) -> None:
        result = self.compose("up", "-d")
        assert result.returncode == 0, result.stderr

    def inspect(self, service: str) -> dict[str, Any]:
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        output = subprocess.run(["docker", "inspect", container], capture_output=True, check=True).stdout
        return json.loads(output)[0]

    def wait_for_target(self, key: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            listed = self.compose("exec", "-T", "sidecar", "backup-sidecar", "targets", "--json")
            if listed.returncode == 0 and f'"{key}"' in listed.stdout:
                return
            time.sleep(0.5)
        pytest.fail(f"{key} was not listed: {listed.stdout}{listed.stderr}{self.compose('logs', 'sidecar').stdout}")


@pytest.fixture(params=["app", "my app"], ids=["plain path", "path with a space"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


@pytest.fixture(params=WAYS)
def app(request: pytest.FixtureRequest, folder: Path) -> Iterator[App]:
    joined = App(folder, *WAYS[request.param])
    yield joined
    joined.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")


def test_the_sidecar_joins_and_the_app_stays_as_it_is(app: App) -> None:
    app.up()

    own = app.inspect("app")
    assert own["Config"]["Image"] == IMAGE
    assert own["State"]["Running"]
    assert set(own["NetworkSettings"]["Networks"]) == {f"{app.project}_app_internal"}

    sidecar = app.inspect("sidecar")
    networks = sidecar["NetworkSettings"]["Networks"]
    assert set(networks) == {f"{app.project}_app_internal", "backups_net"}
    assert "sidecar" in networks["backups_net"]["Aliases"]
    mounts = {mount["Destination"]: mount for mount in sidecar["Mounts"]}
    assert mounts["/etc/sidecar"]["Source"] == str(app.folder / "sidecar" / "config")
    assert mounts["/var/lib/sidecar"]["Name"] == f"{app.project}_sidecar_store"

    app.wait_for_target(f"{app.project}/app")


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_backups_net_is_named(way: str, tmp_path: Path) -> None:
    app = App(tmp_path / "app", *WAYS[way])
    missing = f"missing-{secrets.token_hex(3)}"
    (app.folder / "missing.yml").write_text(f"networks: {{backups_net: {{name: {missing}, external: true}}}}\n")

    base = () if app.files else ("-f", "docker-compose.yml")
    result = app.compose("up", "-d", files=(*base, "-f", "missing.yml"))
    app.compose("down", "--volumes", files=(*base, "-f", "missing.yml"))

    assert result.returncode != 0
    assert re.search(rf"network {missing} .*(not found|could not be found)", result.stderr)


def test_the_image_is_built_from_the_joined_folder(tmp_path: Path) -> None:
    app = App(tmp_path / "my app", *WAYS["two files"])
    image = f"backup-sidecar:{app.project}"
    planted = f"planted-{secrets.token_hex(8)}"
    with (app.folder / "sidecar" / "config" / ".env").open("a") as env:
        env.write(f"SSH_PRIVATE_KEY={planted}\n")
    app.environment["SIDECAR_IMAGE"] = image  # The environment of the tests names another one.

    built = app.compose("build", "sidecar")
    try:
        assert built.returncode == 0, built.stderr
        found = dict(image_files(image))
        assert [path for path, content in found.items() if planted.encode() in content] == []
        assert any("/backup_sidecar-" in path for path in found)
    finally:
        subprocess.run(["docker", "image", "rm", "--force", image], capture_output=True, check=False)


def test_compose_accepts_each_file_of_the_readme(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    files = [block for block in blocks if "services:" in block]
    assert len(files) > 1
    for number, file in enumerate(files):
        app = App(tmp_path / f"app{number}", file, ())
        app.environment["POSTGRES_PASSWORD"] = "secret"
        result = app.compose("config", "--quiet")
        assert result.returncode == 0, result.stderr


def test_the_minimal_example_runs_alone(request: pytest.FixtureRequest) -> None:
    example = REPOSITORY / "examples" / "compose" / "minimal"
    project = f"minimal-{secrets.token_hex(3)}"

    def compose(*args: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"COMPOSE_PROJECT_NAME": project, "BACKUP_API_TOKEN": secrets.token_hex(16)}
        return subprocess.run(
            ["docker", "compose", *args], cwd=example, env=environment, capture_output=True, text=True, check=False
        )

    request.addfinalizer(lambda: compose("down", "--volumes", "--timeout", "10"))
    started = compose("up", "-d")
    assert started.returncode == 0, started.stderr
    assert set(compose("ps", "--services").stdout.split()) == {"app", "sidecar"}
