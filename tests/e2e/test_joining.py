"""An app takes the sidecar in as the README tells it: cloned to `sidecar/`, and nothing edited but the copies."""

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit import planted
from tests.kit.few import few
from tests.kit.stage import copy_repository, eventually, image_files, said

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
      backup.filesystem.paths: /etc
    networks: [app_internal]
"""
NETWORK = """
networks:
  app_internal:
    internal: true
    labels: [backup-sidecar.test]
"""
PLAIN_NETWORK = """
networks:
  app_internal: {}
"""
SHARED = """
  backups_net:
    external: true
volumes:
  sidecar_store:
"""


def extends(file: str, name: str = "sidecar") -> str:
    return f"""
  {name}:
    extends:
      file: {file}
      service: sidecar
"""


BOTH_FILES = ("-f", "docker-compose.yml", "-f", "sidecar/docker-compose.yml")
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "two files": (APP + NETWORK, BOTH_FILES),
    "extends": (APP + extends("sidecar/compose.sidecar.yml") + NETWORK + SHARED, ()),
    "include": ("include: [sidecar/compose.sidecar.yml]\n" + APP + NETWORK, ()),
    "extends docker-compose.yml": (APP + extends("sidecar/docker-compose.yml") + NETWORK + SHARED, ()),
    "include docker-compose.yml": ("include: [sidecar/docker-compose.yml]\n" + APP + PLAIN_NETWORK, ()),
}
VARIABLES = """\
SIDECAR_STRATEGY_TYPE=filesystem
DATABASE_URL=postgresql://user:pass@db:5432/app
SSH_PRIVATE_KEY="-----BEGIN OPENSSH PRIVATE KEY-----..."
BACKUP_API_TOKEN={token}
"""
ASK = """
import sys, urllib.request
headers = {"Authorization": f"Bearer {sys.argv[1]}"}
print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8000/v1/targets", headers=headers)).status)
"""


class App:
    """The app's own repository, with a Compose project of its own, in which `sidecar/` is a copy or a submodule."""

    def __init__(
        self, folder: Path, compose_file: str, files: tuple[str, ...], submodule_of: Path | None = None
    ) -> None:
        self.folder, self.files, self.token = folder, files, secrets.token_hex(16)
        self.project = f"joining-{secrets.token_hex(3)}"
        self.environment = os.environ | {"COMPOSE_PROJECT_NAME": self.project}
        folder.mkdir()
        (folder / "docker-compose.yml").write_text(compose_file)
        if submodule_of is None:
            copy_repository(folder / "sidecar")
        else:
            git(folder, "init", "--quiet")
            git(folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", submodule_of, "sidecar")
        config = folder / "sidecar" / "config"
        shutil.copy(config / "config.example.yaml", config / "config.yaml")

    def write_env(self, place: str = "sidecar/.env", **changes: str) -> None:
        """What the app's operator sets, in one of the places for it."""
        (self.folder / place).write_text(VARIABLES.format_map({"token": self.token} | changes))

    def compose(self, *args: str, files: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        for place in (".env", "sidecar/.env", "sidecar/config/.env"):
            planted.plant_file(self.folder / place)
        return said("docker", "compose", *self.files, *files, *args, cwd=self.folder, env=self.environment)

    def up(self) -> None:
        result = self.compose("up", "-d")
        assert result.returncode == 0, result.stderr

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.compose("exec", "-T", "sidecar", "backup-sidecar", *args)

    def lets_in(self, token: str) -> bool:
        """Whether the running sidecar takes a token."""
        done = self.compose("exec", "-T", "sidecar", "python3", "-c", ASK, token)
        return done.stdout.strip() == "200"

    def inspect(self, service: str) -> dict[str, Any]:
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        output = subprocess.run(["docker", "inspect", container], capture_output=True, check=True).stdout
        return json.loads(output)[0]

    def wait_for_target(self, key: str, seconds: float = 60) -> None:
        def is_ready() -> bool:
            listed = self.cli("targets", "--json")
            found = json.loads(listed.stdout) if listed.returncode == 0 else []
            return [target["state"] for target in found if target["key"] == key] == ["ready"]

        eventually(is_ready, seconds=seconds, what=f"{key} is ready")


def git(folder: Path, *args: str | Path) -> str:
    identity = ("-c", "user.name=Tests", "-c", "user.email=tests@example.com")
    done = subprocess.run(["git", *identity, *args], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository to clone from, with what is being tested."""
    folder = copy_repository(tmp_path_factory.mktemp("origin") / "sidecar")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "As it is")
    return folder


@pytest.fixture
def stack() -> Iterator[Callable[[App], App]]:
    """Has an app removed at the end."""
    with ExitStack() as apps:

        def begun(app: App) -> App:
            apps.callback(app.down)
            return app

        yield begun


@pytest.mark.parametrize(
    ("way", "name", "is_submodule", "env"),
    [
        ("two files", "app", False, "sidecar/.env"),
        pytest.param("two files", "my app", True, ".env", marks=pytest.mark.slow),
        ("extends", "my app", False, "sidecar/config/.env"),
        ("include", "my app", True, ".env"),
        pytest.param("extends docker-compose.yml", "app", True, "sidecar/.env", marks=pytest.mark.slow),
        pytest.param("include docker-compose.yml", "my app", False, "sidecar/.env", marks=pytest.mark.slow),
    ],
)
def test_the_sidecar_joins_and_the_app_stays_as_it_is(
    way: str, name: str, is_submodule: bool, env: str, tmp_path: Path, origin: Path, stack: Callable[[App], App]
) -> None:
    app = stack(App(tmp_path / name, *WAYS[way], submodule_of=origin if is_submodule else None))
    app.write_env(env)
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
    assert Path(mounts["/etc/sidecar"]["Source"]).samefile(app.folder / "sidecar" / "config")
    assert not mounts["/etc/sidecar-repository"]["RW"]
    assert mounts["/var/lib/sidecar"]["Name"] == f"{app.project}_sidecar_store"

    app.wait_for_target(f"{app.project}/app")
    assert app.lets_in(app.token)
    if env != ".env":  # Compose keeps its own to itself.
        assert f"warning: {env}:3 SSH_PRIVATE_KEY" in app.cli("check").stderr
    if is_submodule:
        assert git(app.folder / "sidecar", "status", "--porcelain") == ""


def test_a_change_of_the_env_file_that_compose_reads_too_holds_also_after_a_restart(
    tmp_path: Path, stack: Callable[[App], App]
) -> None:
    app = stack(App(tmp_path / "app", *WAYS["include"]))
    app.write_env()
    app.up()
    app.wait_for_target(f"{app.project}/app")
    assert f"BACKUP_API_TOKEN={app.token}" in app.inspect("sidecar")["Config"]["Env"]
    new = secrets.token_hex(16)

    app.write_env(token=new)

    eventually(lambda: app.lets_in(new), seconds=30, what="the new token holds")
    assert not app.lets_in(app.token)
    app.compose("restart", "sidecar")
    eventually(lambda: app.lets_in(new), seconds=60, what="it still holds")


def test_without_any_configuration_a_token_is_made_and_the_readmes_copies_stay_private(
    tmp_path: Path, stack: Callable[[App], App]
) -> None:
    app = stack(
        App(
            tmp_path / "app", APP.replace("labels:", "labels:\n      backup.strategy: filesystem") + NETWORK, BOTH_FILES
        )
    )
    (app.folder / "sidecar" / "config" / "config.yaml").unlink()
    app.up()
    app.wait_for_target(f"{app.project}/app")

    token = app.cli("token").stdout.strip()

    assert app.lets_in(token)
    assert not app.lets_in("")
    assert token not in app.compose("logs").stdout
    copies = re.findall(r"(?m)^(?:cp|install) .*sidecar/config.*$", (REPOSITORY / "README.md").read_text())
    for line in copies:
        subprocess.run(["sh", "-c", line], cwd=app.folder, check=True)
    env = app.folder / "sidecar" / "config" / ".env"
    assert (env.stat().st_mode & 0o777, env.stat().st_uid) == (0o600, 10001)
    env.write_text(f"BACKUP_API_TOKEN={app.token}\n")
    eventually(lambda: app.lets_in(app.token), seconds=30, what="the token holds")

    os.chown(env, 0, 0)
    app.compose("restart", "sidecar")
    eventually(lambda: app.lets_in(app.token), seconds=60, what="root has read it")
    assert "Run `chown 10001 sidecar/config/.env`" in app.cli("status").stderr


def test_a_file_and_a_folder_elsewhere_are_told_by_variables(tmp_path: Path) -> None:
    app = App(tmp_path / "app", *WAYS["two files"])
    (app.folder / "deploy").mkdir()
    (app.folder / "docker-compose.yml").rename(app.folder / "deploy" / "docker-compose.yml")
    app.files = ("-f", "deploy/docker-compose.yml", "-f", "sidecar/docker-compose.yml")
    elsewhere = tmp_path / "operators"
    app.environment |= {"SIDECAR_DIR": "../sidecar", "SIDECAR_CONFIG_DIR": str(elsewhere)}

    seen = app.compose("config", "--format", "json")

    assert seen.returncode == 0, seen.stderr
    service = json.loads(seen.stdout)["services"]["sidecar"]
    mounts = {mount["target"]: mount["source"] for mount in service["volumes"]}
    assert mounts["/etc/sidecar"] == service["environment"]["SIDECAR_CONFIG_DIR"] == str(elsewhere)
    assert Path(mounts["/etc/sidecar-repository"]).samefile(app.folder / "sidecar")


def test_an_app_with_a_service_of_the_same_name_is_told(tmp_path: Path, stack: Callable[[App], App]) -> None:
    own = f"  sidecar: {{image: {IMAGE}, command: sleep infinity}}\n"
    app = stack(App(tmp_path / "app", APP + own + NETWORK, BOTH_FILES))
    app.up()

    eventually(lambda: "by `extends` under another name" in app.compose("logs", "sidecar").stdout, what="it is told")

    renamed = App(
        tmp_path / "renamed", APP + own + extends("sidecar/compose.sidecar.yml", "backups") + NETWORK + SHARED, ()
    )
    seen = renamed.compose("config", "--services")
    assert set(seen.stdout.split()) == {"app", "sidecar", "backups"}, seen.stderr


@pytest.mark.parametrize("way", few(WAYS, "two files", "include"))
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
    app = App(tmp_path / "my app", *WAYS["include docker-compose.yml"])
    image = f"backup-sidecar:{app.project}"
    secret = f"planted-{secrets.token_hex(8)}"
    with (app.folder / "sidecar" / "config" / ".env").open("a") as env:
        env.write(f"SSH_PRIVATE_KEY={secret}\n")
    app.environment["SIDECAR_IMAGE"] = image  # The environment of the tests names another one.

    built = app.compose("build", "sidecar")
    try:
        assert built.returncode == 0, built.stderr
        found = dict(image_files(image))
        assert [path for path, content in found.items() if secret.encode() in content] == []
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
        return said("docker", "compose", *args, cwd=example, env=environment)

    request.addfinalizer(lambda: compose("down", "--volumes", "--timeout", "10"))
    started = compose("up", "-d")
    assert started.returncode == 0, started.stderr
    assert set(compose("ps", "--services").stdout.split()) == {"app", "sidecar"}
