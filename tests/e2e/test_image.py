"""The image holds what it needs and nothing else, and becomes unprivileged before it does anything."""

import json
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.stage import (
    LABEL,
    REPOSITORY,
    Sidecar,
    copy_repository,
    docker,
    eventually,
    execute,
    image,
    image_files,
    within,
)

pytestmark = pytest.mark.e2e

PLANTED = [
    *(".env", "id_rsa", "requirements.txt", "secrets/SSH_PRIVATE_KEY", "examples/compose/minimal/.env"),
    *("config/.env", "config/config.yaml", "config/id_rsa", "strategies/.env", "controller/token.pem"),
    "controller/__pycache__/secret.pyc",
]
VENV = "/opt/backup-sidecar"


@pytest.fixture(scope="module")
def secret() -> str:
    return f"planted-{secrets.token_hex(16)}"


@pytest.fixture(scope="module")
def planted(secret: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which somebody keeps secrets."""
    repository = copy_repository(tmp_path_factory.mktemp("planted") / "repository")
    for name in PLANTED:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(f"{secret}\n")
    return repository


@pytest.fixture(scope="module")
def planted_image(sidecar_image: str, secret: str, planted: Path) -> Iterator[str]:
    """An image that was built there, as always."""
    (planted / ".venv").symlink_to(REPOSITORY / ".venv")
    (planted / ".build").mkdir()
    (planted / ".build" / "images.env").write_bytes((REPOSITORY / ".build" / "images.env").read_bytes())
    name = f"{sidecar_image}-{secret[-8:]}"
    built = execute(planted / "scripts" / "image", env=os.environ | {"SIDECAR_IMAGE": name})
    assert built.returncode == 0, built.stderr.decode()
    yield name
    docker("image", "rm", "--force", name)


def layers(name: str, folder: Path) -> Iterator[bytes]:
    """Everything that `docker save` gives, compressed layers unpacked."""
    saved = folder / "image.tar"
    docker("save", "--output", saved, name)
    with tarfile.open(saved) as tar:
        for member in tar:
            if file := tar.extractfile(member) if member.isfile() else None:
                blob = file.read()
                yield execute("gzip", "-dc", input=blob).stdout if blob.startswith(b"\x1f\x8b") else blob


def test_no_secret_even_reaches_the_build(planted: Path, secret: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image('BUSYBOX')}\nCOPY . /context\n")
    name = f"context:{secret[-8:]}"
    docker("build", "--quiet", "--file", tmp_path / "Dockerfile", "--tag", name, planted)
    try:
        found = dict(image_files(name))
    finally:
        docker("image", "rm", "--force", name)

    assert "context/controller/cli/runs.py" in found
    assert [path for path, content in found.items() if secret.encode() in content] == []


def test_no_file_of_the_context_gets_in_that_is_not_named(planted_image: str, secret: str) -> None:
    found = dict(image_files(planted_image))

    assert [path for path, content in found.items() if secret.encode() in content] == []
    names = {Path(path).name for path in found}
    assert names.isdisjoint({"id_rsa", "token.pem", "secret.pyc", "SSH_PRIVATE_KEY"})
    assert "etc/sidecar/.env" not in found
    assert not [path for path in found if path.startswith(("src/", "wheel/"))]


def test_no_layer_and_no_line_of_the_history_holds_a_secret(planted_image: str, secret: str, tmp_path: Path) -> None:
    assert not any(secret.encode() in blob for blob in layers(planted_image, tmp_path))

    history = docker("history", "--no-trunc", planted_image)
    index = os.environ.get("PIP_INDEX_URL", "")
    assert secret not in history
    assert not index or index not in history


def inspected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", name))
    return found


def test_the_image_says_what_it_is(sidecar_image: str) -> None:
    told = inspected(sidecar_image)

    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in told["Labels"].items()}
    assert labels["title"] == "backup-sidecar"
    assert labels["licenses"] == "MIT"
    assert labels["version"] == docker("run", "--rm", "--label", f"{LABEL}=image", sidecar_image, "version")
    assert labels["description"]
    assert told["Entrypoint"] == ["backup-sidecar"]
    assert told["Cmd"] == ["serve"]
    assert "8000/tcp" in told["ExposedPorts"]
    assert "PYTHONSAFEPATH=1" in told["Env"]
    assert told["Healthcheck"]["Test"]


def test_the_console_script_lives_in_an_environment_of_its_own(sidecar: Sidecar) -> None:
    assert within(sidecar.container, "command -v backup-sidecar") == f"{VENV}/bin/backup-sidecar"
    assert within(sidecar.container, f"head -1 {VENV}/bin/backup-sidecar").startswith(f"#!{VENV}/bin/python")
    system = "PATH=/usr/local/bin:/usr/bin:/bin; ! python3 -c 'import controller' 2>/dev/null && echo apart"
    assert within(sidecar.container, system) == "apart"
    assert within(sidecar.container, f"[ ! -e {VENV}/bin/pip ] && echo none") == "none"
    where = within(sidecar.container, f"cd /tmp && {VENV}/bin/python -c 'import config; print(config.__file__)'")
    assert where.startswith(f"{VENV}/lib/")


def test_the_service_as_it_is_shipped_is_bounded_and_locked_down(sidecar: Sidecar) -> None:
    host = json.loads(docker("inspect", "--format", "{{json .HostConfig}}", sidecar.container))
    log = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert (host["Memory"], host["PidsLimit"], host["CpuShares"], host["LogConfig"]) == (512 << 20, 512, 512, log)
    assert (host["Privileged"], host["ReadonlyRootfs"], host["NetworkMode"] == "host") == (False, True, False)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    capabilities = {name.removeprefix("CAP_") for name in host["CapAdd"]}
    assert (host["CapDrop"], capabilities) == (["ALL"], {"CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"})
    assert host["PidMode"] == host["UTSMode"] == ""


def test_no_file_of_the_image_gives_another_users_rights(sidecar_image: str) -> None:
    search = ("--entrypoint=find", sidecar_image, "/", "-xdev", "-type", "f", "-perm", "/6000")
    assert docker("run", "--rm", "--label", f"{LABEL}=image", *search) == ""


def test_the_sidecar_runs_unprivileged_after_its_start(sidecar: Sidecar) -> None:
    status = docker("exec", sidecar.container, "cat", "/proc/1/status")
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}

    assert facts["Uid"] == ["10001"] * 4
    assert facts["Gid"] == ["10001"] * 4
    assert facts["Groups"] == [str(Path("/var/run/docker.sock").stat().st_gid)]
    assert {facts[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert facts["NoNewPrivs"] == ["1"]


def test_what_the_sidecar_writes_belongs_to_it_alone(sidecar: Sidecar) -> None:
    sidecar.wait("web")
    sidecar.backup("web")

    written = "find /var/lib/sidecar -path '/var/lib/sidecar/tmp/*' -prune -o -printf '%U %m %y %p\\n'"
    listed = within(sidecar.container, written).splitlines()  # In `tmp` lies what people bring, as other tests do.

    foreign = [line for line in listed if not line.startswith("10001 ")]
    assert foreign == []
    open_to_others = [line for line in listed if int(line.split()[1], 8) & 0o007]
    assert open_to_others == []
    sockets = [line.split()[1] for line in listed if line.split()[2] == "s"]
    assert sockets == ["600"]


def test_the_health_check_becomes_healthy_and_tells_when_nobody_answers(sidecar: Sidecar) -> None:
    health = ("inspect", "--format", "{{.State.Health.Status}}", sidecar.container)
    assert docker(*health) == "healthy"

    check = json.loads(docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", sidecar.container))[1:]
    asked = ["docker", "exec", "--env", "SIDECAR_PATHS_WORKDIR=/nowhere", sidecar.container, *check]
    assert execute(*asked).returncode == 1
    assert execute("docker", "exec", sidecar.container, *check).returncode == 0


def test_the_image_is_read_only_but_for_its_volume(sidecar: Sidecar) -> None:
    done = execute("docker", "exec", sidecar.container, "touch", "/etc/planted")

    assert done.returncode != 0
    assert b"Read-only" in done.stderr


def test_the_sidecar_stops_in_order_on_sigterm(sidecar_image: str, config_folder: Path) -> None:
    socket = "/var/run/docker.sock"
    mounts = ("--volume", f"{config_folder}:/etc/sidecar:ro", "--volume", f"{socket}:{socket}")
    container = docker("run", "--detach", "--label", f"{LABEL}=image", *mounts, sidecar_image)
    try:
        eventually(lambda: "sidecar is serving" in log_of(container), seconds=60)
        docker("stop", "--time", "20", container)
        state = json.loads(docker("inspect", "--format", "{{json .State}}", container))

        assert state["ExitCode"] == 0
        assert "sidecar has stopped" in log_of(container)
        assert "Traceback" not in log_of(container)
    finally:
        docker("rm", "--force", "--volumes", container)


def log_of(container: str) -> str:
    done = execute("docker", "logs", container)
    return (done.stdout + done.stderr).decode()
