"""Without the sidecar: the lines of a manifest, literally and in their order, through `docker compose exec`."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit import stage
from tests.kit.stage import LABEL, Sidecar, eventually, image, said

pytestmark = pytest.mark.e2e

PASSWORD = 'it\'s a "new" $one'  # of the tests
LINE = 'line=$1; shift; eval "${line%% | *}" | docker compose "$@" sh -c "${line#* | }"'
"""As docs/restore.md has it."""


def of_maria(text: str) -> str:
    return f"""MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb -uroot -N -e "{text}" """


SERVICES: dict[str, dict[str, Any]] = {
    "pg": {
        "image": "POSTGRES",
        "command": "postgres -c fsync=off",
        "environment": {"POSTGRES_PASSWORD": PASSWORD},
        "tmpfs": "/var/lib/postgresql/data",
        "labels": {"strategy": "postgres"},
        "ready": "pg_isready -h 127.0.0.1",
        "fill": """psql -qU postgres -c "alter role postgres password 'other'; create role bob login password 'bobs'" &&
            psql -qU postgres -c 'create database "b a" owner bob' &&
            psql -qU postgres 'b a' -c 'set role bob; create table t as select 7 as x'""",
        "look": "psql -AtU postgres 'b a' -c 'select tableowner, x from t, pg_tables where tablename = $$t$$'",
        "seen": "bob|7",
    },
    "maria": {
        "image": "MARIADB",
        "environment": {"MARIADB_ROOT_PASSWORD": PASSWORD},
        "tmpfs": "/var/lib/mysql",
        "labels": {"strategy": "mariadb"},
        "ready": of_maria("select 1").replace("-N", "-N -h 127.0.0.1"),
        "fill": of_maria(
            """create database shop; create table shop.t as select 7 as x; create user 'o''brien; GRANT'@'%'
            identified by 'x'; grant select on shop.* to 'o''brien; GRANT'@'%'"""
        ),
        "look": of_maria("select x from shop.t; show grants for 'o''brien; GRANT'@'%'") + "| cut -c 1-35",
        "seen": "7\nGRANT USAGE ON *.* TO `o'brien; GRA\nGRANT SELECT ON `shop`.* TO `o'brie",
    },
    "redis": {
        "image": "REDIS",
        "command": "sh -c 'exec redis-server --requirepass \"$$REDIS_PASSWORD\"'",
        "environment": {"REDIS_PASSWORD": PASSWORD},
        "labels": {"strategy": "redis"},
        "ready": "[ $(REDISCLI_AUTH=$REDIS_PASSWORD redis-cli ping) = PONG ]",
        "fill": "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli set k 7",
        "look": "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli get k",
        "seen": "7",
    },
    "lite": {
        "image": "SQLITE",
        "command": "sleep infinity",
        "labels": {"strategy": "sqlite", "sqlite.paths": "/srv/a b/app.db"},
        "fill": "mkdir -p '/srv/a b' && sqlite3 '/srv/a b/app.db' 'create table t as select 7 as x'",
        "look": "sqlite3 '/srv/a b/app.db' 'select x from t'",
        "seen": "7",
    },
    "files": {
        "image": "DEBIAN",
        "command": "sleep infinity",
        "labels": {"strategy": "filesystem", "filesystem.paths": "/srv"},
        "fill": "echo 7 >'/srv/a b'",
        "look": "cat '/srv/a b'",
        "seen": "7",
    },
    "own": {
        "image": "BUSYBOX",
        "command": "sleep infinity",
        "labels": {"commands.backup": "cat /tmp/data", "commands.restore": 'cat >"/tmp/i\'n"; mv /tmp/i* /tmp/data'},
        "fill": "echo 7 >/tmp/data",
        "look": "cat /tmp/data",
        "seen": "7",
    },
}
OURS = ("ready", "fill", "look", "seen")


class Project:
    """An app that Compose has started beside a sidecar."""

    def __init__(self, name: str, network: str, folder: Path) -> None:
        self.name, self.file = name, folder / "docker-compose.yml"
        services = {}
        for service, facts in SERVICES.items():
            labels = {"backup.enable": "true", LABEL: name}
            labels |= {f"backup.{key}": value.replace("$", "$$") for key, value in facts["labels"].items()}
            environment = {key: value.replace("$", "$$") for key, value in facts.get("environment", {}).items()}
            about = {key: value for key, value in facts.items() if key not in OURS}
            about |= {"image": image(facts["image"]), "labels": labels, "environment": environment}
            services[service] = about | {"init": True, "networks": ["app_internal"], "stop_grace_period": "1s"}
        self.options = ("--project-name", name, "--file", str(self.file))
        networks = {"app_internal": {"external": True, "name": network}}
        self.file.write_text(yaml.safe_dump({"services": services, "networks": networks}))

    def compose(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return said("docker", "compose", *self.options, *arguments)

    def by_hand(self, service: str, line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        """Follow the line of a manifest in this folder."""
        return said("sh", "-c", LINE, "sh", line, *self.options, "exec", "-T", service, cwd=folder)

    def within(self, service: str, script: str) -> str:
        done = self.compose("exec", "-T", service, "sh", "-c", script)
        assert done.returncode == 0, (service, done.stderr)
        return done.stdout.strip()

    def start(self) -> None:
        """Fresh containers, without data."""
        done = self.compose("up", "--detach", "--force-recreate", "--renew-anon-volumes")
        assert done.returncode == 0, done.stderr
        for service, facts in SERVICES.items():
            script = facts.get("ready", "true")
            ready = ("exec", "-T", service, "sh", "-c", script)
            eventually(lambda ready=ready: self.compose(*ready).returncode == 0, seconds=60, what=f"{service} is ready")  # type: ignore[misc]


Beside = tuple[Sidecar, Project]


@pytest.fixture(scope="module")
def beside(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    folder = tmp_path_factory.mktemp("config")
    (folder / "config.yaml").write_text("schema: 1\n")
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"by-hand-{secrets.token_hex(3)}", folder, token) as (running, app):
        yield running, Project(running.project, app.network, tmp_path_factory.mktemp("app"))


def test_every_strategys_lines_bring_everything_back_into_a_fresh_container(beside: Beside, tmp_path: Path) -> None:
    sidecar, project = beside
    project.start()
    for service, facts in SERVICES.items():
        project.within(service, facts["fill"])
        assert project.within(service, facts["look"]) == facts["seen"]
    runs = {service: sidecar.fetch(sidecar.backup(service), tmp_path) for service in SERVICES}
    project.start()

    for service, folder in runs.items():
        for artifact in json.loads((folder / "manifest.json").read_text())["artifacts"]:
            done = project.by_hand(service, artifact["restore"], folder)
            assert done.returncode == 0, (artifact["restore"], done.stderr)
    assert {service: project.within(service, facts["look"]) for service, facts in SERVICES.items()} == {
        service: facts["seen"] for service, facts in SERVICES.items()
    }
    login = 'PGPASSWORD=$1 psql --host="$(hostname -i)" --username="$2" --dbname="b a" -Atc "select 1"'
    for words in ('"$POSTGRES_PASSWORD" postgres', "bobs bob"):
        there = project.within("pg", f"set -- {words}; {login}")
        assert there == "1", "who is there keeps the password, and who is made has the run's"
    ready = project.within("maria", SERVICES["maria"]["ready"])
    assert ready == "1", "the account of the container keeps its password"
