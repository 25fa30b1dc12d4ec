"""The chapter of the README about a host that is gone: its lines are taken out of it, and run as they stand."""

import os
import re
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.kit.second_engine import NEWEST, SecondEngine, make_images
from tests.kit.stage import REPOSITORY, SIDECAR_IMAGE, copy_repository, docker, eventually, image, said

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]
README = (REPOSITORY / "README.md").read_text()
COPIES = (REPOSITORY / "docs/copies.md").read_text()
CHAPTER = "### The host is gone\n"
SHARE = "/copies/nas"
FILES = {
    "image": "${BUSYBOX_IMAGE}",
    "command": "sleep infinity",
    "stop_signal": "SIGKILL",
    "networks": ["app_internal"],
    "volumes": ["db_data:/data"],
    "labels": {"backup.enable": "true", "backup.strategy": "filesystem"},
}
PSQL = ("psql", "--host=127.0.0.1", "--username=postgres", "--no-align", "--tuples-only", "--command")
"""By TCP, which answers only when the first start is over."""
READY = {"files": ("true",), "rows": (*PSQL, "SELECT 1")}
FILL = {
    "files": ("sh", "-c", "mkdir /data/deep; echo here >/data/deep/one; chmod 640 /data/deep/one"),
    "rows": (*PSQL, "CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 9999) g"),
}
LOOK = {
    "files": ("sh", "-c", "cd /data; find . -exec stat -c '%n %a %u' {} + | sort; cat deep/one"),
    "rows": (*PSQL, "SELECT count(*), md5(string_agg(md5, ' ' ORDER BY g)) FROM t"),
}


def chapter() -> str:
    """Its only block of commands."""
    (block,) = re.findall(r"```sh\n(.*?)```", README.split(CHAPTER)[1].split("\n## ")[0], re.DOTALL)
    return str(block)


def app(kind: str) -> dict[str, object]:
    """The quick start's file, with the line by which the page on copies mounts a share."""
    words = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)[0])
    (line,) = re.findall(r"`(include: .*?sidecar-copies\.yml.*?)`", COPIES)
    words |= yaml.safe_load(line)
    if kind == "files":
        words["services"]["db"] = FILES
    return dict(words)


def mounted(share: Path) -> str:
    """That page's file for it."""
    (block,) = (block for block in re.findall(r"```yaml\n(.*?)```", COPIES, re.DOTALL) if "volumes:" in block)
    return str(block.replace("/mnt/nas", str(share)))


@dataclass
class Host:
    """A folder with the app and the sidecar, and an engine."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return said(*command, cwd=self.folder, env=os.environ | self.environment, input=given)

    def compose(self, *arguments: str, given: str = "") -> str:
        done = self.run("docker", "compose", *arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sidecar(self, *arguments: str) -> str:
        return self.compose("exec", "-T", "sidecar", "backup-sidecar", *arguments)

    def answers(self, kind: str) -> bool:
        return self.run("docker", "compose", "exec", "-T", "db", *READY[kind]).returncode == 0


def written(folder: Path, share: Path, kind: str, project: str, recipients: list[str]) -> Host:
    """The app's repository with the operator's words, and no secret but the app's own."""
    folder.mkdir()
    copy_repository(folder / "sidecar")
    (folder / "docker-compose.yml").write_text(yaml.safe_dump(app(kind)))
    (folder / "sidecar-copies.yml").write_text(mounted(share))
    copies = {"recipients": recipients, "destinations": {"nas": {"path": SHARE, "same-disk": True}}}
    (folder / "sidecar/config/config.yaml").write_text(yaml.safe_dump({"copies": copies}))
    lines = {
        "COMPOSE_PROJECT_NAME": project,
        "SIDECAR_IMAGE": SIDECAR_IMAGE,
        "BUSYBOX_IMAGE": image("BUSYBOX"),
        "POSTGRES_PASSWORD": "for a minute",
    }
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    return Host(folder)


@dataclass
class Lost:
    """What is left of a host: its share, its kit, and what was on it."""

    folder: Path
    kit: str
    before: str
    project: str
    recipients: list[str]

    @property
    def share(self) -> Path:
        return self.folder / "nas"

    def new_host(self, kind: str) -> Host:
        return written(self.folder / "new", self.share, kind, self.project, self.recipients)


@pytest.fixture(params=["files", pytest.param("rows", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lost(kind: str, sidecar_image: str, tmp_path: Path) -> Lost:
    """A host with copies on a share, which is gone."""
    assert sidecar_image
    project, share = f"gone-{secrets.token_hex(3)}", tmp_path / "nas"
    share.mkdir()
    share.chmod(0o777)
    made = yaml.safe_load(docker("run", "--rm", SIDECAR_IMAGE, "copies", "keys", "--json"))
    host = written(tmp_path / "old", share, kind, project, made["recipients"])
    host.environment = {"COPIES_SIGNING_KEY": made["signing_key"]}
    override = host.folder / "docker-compose.yml"
    override.write_text(override.read_text().replace("postgres:17", image("POSTGRES")))
    try:
        host.compose("up", "-d")
        eventually(lambda: host.answers(kind), seconds=60, what="the app answers")
        host.compose("exec", "-T", "db", *FILL[kind])
        before = host.compose("exec", "-T", "db", *LOOK[kind])
        host.sidecar("run", f"{project}/db")
        host.sidecar("copies", "prepare")
        host.sidecar("copies", "send")
    finally:
        host.compose("down", "--volumes", "--timeout", "5")
    kit = f"{made['identities'][0]}\nverify: {made['verify']}\n"
    return Lost(tmp_path, kit, before, project, made["recipients"])


def comes_back(host: Host, lost: Lost, kind: str, *flags: str) -> None:
    """By the lines of the chapter alone, and with no secret but those that it names; `flags` are of bash."""
    (host.folder / "kit").write_text(lost.kit)
    done = host.run("bash", *flags, "-c", chapter())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 targets came back" in done.stdout
    assert host.compose("exec", "-T", "db", *LOOK[kind]) == lost.before
    environment = host.compose("exec", "-T", "sidecar", "env")
    assert re.findall(r"(?m)^(?:COPIES_SIGNING_KEY|SSH_PRIVATE_KEY|BACKUP_API_TOKEN)=.+$", environment) == []
    assert lost.kit.splitlines()[0] not in host.compose("logs", "sidecar")


def test_the_lines_of_the_readme_bring_everything_back(kind: str, lost: Lost) -> None:
    """On this machine's engine, whose network of that name is there already; the long form has an engine of its own."""
    host = lost.new_host(kind)
    file = host.folder / "docker-compose.yml"
    file.write_text(file.read_text().replace("postgres:17", image("POSTGRES")))
    try:
        comes_back(host, lost, kind)
    finally:
        host.compose("down", "--volumes", "--timeout", "5")


@pytest.mark.slow
def test_a_bare_host_comes_back_by_the_lines_of_the_readme(kind: str, lost: Lost) -> None:
    """An engine with an empty disk, another host name, and a share that belongs to another user and is only read."""
    make_images(f"engine:{NEWEST}")
    host, place = lost.new_host(kind), lost.folder / "engine"
    place.mkdir()
    within = f"chown -R 4711:4711 {lost.share}; chmod -R a+rX,go-w {lost.share}"
    subprocess.run(["sh", "-c", within], check=True)
    options = ("--hostname", "new-host", "--volume", f"{lost.folder}:{lost.folder}")
    with SecondEngine(NEWEST, place, lost.project, *options) as engine:
        engine.start()
        assert engine.docker("images", "--quiet") + engine.docker("volume", "ls", "--quiet") == ""
        assert engine.docker("info", "--format", "{{.Name}}") == "new-host"
        needed = image("BUSYBOX" if kind == "files" else "POSTGRES")
        engine.load(SIDECAR_IMAGE, needed)
        if kind == "rows":
            engine.docker("tag", needed, "postgres:17")
        host.environment = {"DOCKER_HOST": f"unix://{place}/docker.sock"}
        comes_back(host, lost, kind, "-ex")
