"""One Compose project for the whole session: the sidecar, and the databases, which start when a test asks for them."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from pytest_docker.plugin import Services

from controller.engine.client import Engine
from tests.e2e.copies_stand import Stand, place_of_copies
from tests.kit import planted, stage
from tests.kit.stage import REPOSITORY, App, Sidecar

PRIVATE_KEY = "\n".join(
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        secrets.token_hex(35),
        secrets.token_hex(35),
        'with = "quotes" and $x',
        "-----END OPENSSH PRIVATE KEY-----",
        "",
    ]
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def password() -> str:
    """Of the databases; what it holds means something to shells, SQL and YAML."""
    return f'it\'s "{secrets.token_hex(8)}" \\ %s'


@pytest.fixture(scope="session")
def operator_secrets() -> dict[str, str]:
    """What the operator wrote into `.env` for the commands of the file."""
    return {
        "DATABASE_URL": f"postgres://shop:{secrets.token_hex(12)}@db/shop?x=1&y=#2",
        "SSH_PRIVATE_KEY": PRIVATE_KEY,
    }


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    return f"sidecar-e2e-{secrets.token_hex(3)}"


@pytest.fixture(scope="session")
def docker_compose_file() -> list[str]:
    return [str(REPOSITORY / "tests" / "e2e" / "compose" / "docker-compose.yml")]


@pytest.fixture(scope="session")
def config_folder(
    tmp_path_factory: pytest.TempPathFactory,
    docker_compose_project_name: str,
    token: str,
    password: str,
    operator_secrets: dict[str, str],
) -> Path:
    """The operator's folder of the shared sidecar."""
    folder = tmp_path_factory.mktemp("stand") / "config"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration(docker_compose_project_name)))
    values = {"BACKUP_API_TOKEN": token, "GREETING": "hello from .env", **operator_secrets}
    (folder / ".env").write_text("".join(f"{name}={quoted(value)}\n" for name, value in values.items()))
    planted.plant_all(values | {"PASSWORD": password})
    (folder.parent / "postgres-password").write_text(password)
    return folder


def configuration(project: str) -> dict[str, object]:
    """For targets that name no strategy, commands that see the secrets; for some targets, words of their own."""
    show = 'printf "%s\\n" "$DATABASE_URL" "$SSH_PRIVATE_KEY" >/tmp/seen-by-file'
    return {
        "schema": 1,
        "strategy": {"type": "postgres", "commands": {"pre": [show], "post": ["echo ${GREETING} >/tmp/greeting"]}},
        "secrets": ["DATABASE_URL", "SSH_PRIVATE_KEY"],
        "defaults": {"schedule": "none", "timeout": "90s", "compression": "zstd:1", "retries": 0},
        "targets": {
            f"{project}/overruled": {"timeout": "45s", "compression": "gzip"},
            f"{project}/url": {"commands": {"backup": ['printf "%s\\n" "$DATABASE_URL" "$SSH_PRIVATE_KEY"']}},
            f"{project}/leaky": {
                "commands": {"backup": ['echo "$DATABASE_URL$SSH_PRIVATE_KEY$OWN_PASSWORD" >&2; exit 1']}
            },
        },
        "policy": {"labels": {"lock": ["workdir"]}, "max-concurrent-runs": 4},
    }


def quoted(value: str) -> str:
    """As a person writes a value into `.env`: in double quotes."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.fixture(scope="session")
def docker_setup(
    sidecar_image: str, config_folder: Path, token: str, password: str, docker_compose_project_name: str
) -> Iterator[list[str]]:
    """What pytest-docker brings up; what is left after its `down` is removed here, also when `up` has failed."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stage.administrator(token).items():
            patch.setenv(name, value)
        patch.setenv("TEST_CONFIG", str(config_folder))
        patch.setenv("TEST_PASSWORD", password)
        patch.setenv("SIDECAR_IMAGE", sidecar_image)
        yield ["up --detach --wait --quiet-pull sidecar web"]
        stage.clear(docker_compose_project_name)


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["down --volumes --remove-orphans --timeout 3"]


@pytest.fixture(scope="session")
def sidecar(docker_services: Services, docker_compose_project_name: str, token: str) -> Iterator[Sidecar]:
    """The shared sidecar."""
    address = f"http://127.0.0.1:{docker_services.port_for('sidecar', 8000)}"
    container = f"{docker_compose_project_name}-sidecar-1"
    with closing(Sidecar(container, docker_compose_project_name, address, token)) as running:
        yield running


@pytest.fixture
def stand(sidecar_image: str, token: str, tmp_path: Path) -> Iterator[Stand]:
    """A share for copies that outlives its hosts, and a recovery kit."""
    assert sidecar_image
    with place_of_copies(token, tmp_path) as stand:
        yield stand


@pytest.fixture(scope="session")
def postgres(sidecar: Sidecar, docker_services: Services) -> str:
    """The shared PostgreSQL; gives its container."""
    return started(sidecar, docker_services, "postgres")


@pytest.fixture(scope="session")
def mariadb(sidecar: Sidecar, docker_services: Services) -> str:
    """The shared MariaDB; gives its container."""
    return started(sidecar, docker_services, "mariadb")


def started(sidecar: Sidecar, services: Services, service: str) -> str:
    services._docker_compose.execute(f"up --detach --wait {service}")
    return str(sidecar.wait(service)["container"]["name"])


@pytest.fixture
def app(sidecar: Sidecar) -> Iterator[App]:
    """The shared sidecar's app, for one test: what it starts there goes away with it."""
    with App(sidecar.project) as joined:
        yield joined
    sidecar.forgets(joined.started)
