"""What may be wrong with the sidecar itself, as its operator sees it: a part that is dead, and a second sidecar."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import stage
from tests.kit.stage import LABEL, PROJECT, SIDECAR_IMAGE, App, Sidecar, docker, eventually, said

pytestmark = pytest.mark.e2e

DIES = """#!/opt/backup-sidecar/bin/python3
import os, sys
from controller.app.reload import Reloader
look = Reloader.look

def dies(self):
    if os.path.exists("/tmp/die"):
        os.unlink("/tmp/die")
        sys.exit("enough")
    return look(self)

Reloader.look, sys.argv = dies, ["backup-sidecar", "serve"]
from controller.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def stand(
    sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Sidecar, App, Path]]:
    """A sidecar of which one part dies when it is told to."""
    assert sidecar_image
    folder = tmp_path_factory.mktemp("itself")
    folder.chmod(0o755)
    (config := folder / "config").mkdir()
    (config / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    (folder / "serve").write_text(DIES)
    (folder / "serve").chmod(0o755)
    options = ("--volume", f"{folder}:/test:ro", "--entrypoint", "/test/serve", "--restart", "on-failure")
    with stage.sidecar(f"itself-{secrets.token_hex(3)}", config, token, *options) as (sidecar, app), app:
        yield sidecar, app, config


def log(container: str) -> str:
    done = said("docker", "logs", container)
    return done.stdout + done.stderr


def test_two_sidecars_of_one_project_both_say_so_and_go_on(stand: tuple[Sidecar, App, Path]) -> None:
    sidecar, app, config = stand
    second = f"{app.project}-second"
    labels = [flag for key in (LABEL, PROJECT) for flag in ("--label", f"{key}={app.project}")]
    mounts = ("--volume", f"{config}:/etc/sidecar:ro", "--volume", "/var/run/docker.sock:/var/run/docker.sock")
    docker("run", "--detach", "--name", second, *labels, "--network", app.network, *mounts, SIDECAR_IMAGE)
    app.started.append(second)
    app.target("db", {"commands.backup": "echo data"})

    for name, other in ((sidecar.container, second), (second, sidecar.container)):
        says_so = f"container {other}: is a sidecar of these containers too"
        eventually(lambda name=name, says_so=says_so: says_so in log(name), what=f"{name} says so")
    assert sidecar.backup("db")["proof"] == "sealed"


def test_a_part_that_is_dead_ends_the_process_with_its_reason_and_it_is_started_again(
    stand: tuple[Sidecar, App, Path],
) -> None:
    sidecar, _, _ = stand
    docker("exec", "--user", "10001", sidecar.container, "touch", "/tmp/die")

    restarts = ("inspect", "--format", "{{.RestartCount}}", sidecar.container)
    eventually(lambda: docker(*restarts) == "1", seconds=60, what="it is started again")
    assert "reload: ended by SystemExit: enough" in sidecar.log()
    assert "reload has ended by itself: the sidecar ends too" in sidecar.log()
    eventually(lambda: sidecar.cli("runs").returncode == 0, seconds=60, what="it serves again")
