"""An engine of the tests' own in a privileged container of the machine's, to be killed, frozen and replaced."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.kit.stage import LABEL, PROJECT, REPOSITORY, SERVICE, SLEEP, docker, eventually, execute, image, said

NEWEST, OLDEST = "26.1", "20.10"
PID = "/var/run/docker.pid"


def make_images(*names: str) -> None:
    """Have these images of engines; the first time takes a minute."""
    done = said(REPOSITORY / "scripts" / "base-images", *names)
    assert done.returncode == 0, done.stderr


class SecondEngine:
    """Listens on `docker.sock` in the folder. A context manager; it is started by `start`."""

    kind = "engine"
    flags: tuple[str, ...] = (
        *("dockerd", "--host=unix:///engine/docker.sock", "--host=unix:///var/run/docker.sock"),
        *("--group=root", "--iptables=false", "--ip6tables=false"),
    )

    def __init__(self, version: str, folder: Path, project: str, *options: str) -> None:
        """The options are of the container."""
        self.version, self.folder, self.project, self.options = version, folder, project, options
        self.name, self.image = f"{project}-{self.kind}-{version}", f"{self.kind}:{version}"

    def __enter__(self) -> Self:
        self.folder.chmod(0o755)  # The sidecar gives up root.
        docker(
            *("run", "--detach", "--init", "--privileged", "--name", self.name, "--label", f"{LABEL}={self.project}"),
            *("--volume", f"{self.folder}:/engine", *self.options, f"backup-sidecar-local/{self.image}"),
        )
        return self

    def __exit__(self, *_: object) -> None:
        execute("docker", "rm", "--force", "--volumes", self.name)

    def start(self, *options: str) -> None:
        """Start the engine, and wait until it answers."""
        serve = f"exec {' '.join((*self.flags, *options))} >>/var/log/engine.log 2>&1"
        docker("exec", "--detach", self.name, "sh", "-c", serve)
        eventually(lambda: self.execute("version").returncode == 0, seconds=30, what=f"{self.image} answers")

    def signal(self, name: str) -> None:
        docker("exec", self.name, "sh", "-c", f"kill -s {name} $(cat {PID})")

    def end(self, signal: str) -> None:
        """End the engine by a signal, and wait until it has gone."""
        wait = f"pid=$(cat {PID}); kill -s {signal} $pid; while grep -qs dockerd /proc/$pid/comm; do sleep 0.05; done"
        docker("exec", self.name, "sh", "-c", wait)

    def execute(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        return execute("docker", "--host", f"unix://{self.folder}/docker.sock", *arguments, **options)

    def docker(self, *arguments: str | Path, **options: Any) -> str:
        """What the docker command printed about this engine."""
        return docker("--host", f"unix://{self.folder}/docker.sock", *arguments, **options)

    def load(self, *names: str) -> None:
        """Have images of the machine's engine in this one."""
        with subprocess.Popen(["docker", "save", *names], stdout=subprocess.PIPE) as saved:
            done = self.execute("load", stdin=saved.stdout)
        assert done.returncode == 0, done.stderr

    def app(self) -> None:
        """Have what the targets need: their image, and Compose's network."""
        self.load(image("BUSYBOX"))
        self.docker("network", "create", "--label", "com.docker.compose.network=app_internal", "app_internal")

    def target(self, service: str, command: str, **labels: str) -> str:
        """Start a container that opts in with this backup command; gives its name."""
        return self.start_target(service, {"commands.backup": command, **labels})

    def start_target(
        self, service: str, labels: Mapping[str, str], *options: str, command: tuple[str, ...] = SLEEP
    ) -> str:
        """Start a container that opts in; gives its name. Labels are written without `backup.`."""
        told = {PROJECT: self.project, SERVICE: service, "backup.enable": "true"}
        told |= {f"backup.{key}": value for key, value in labels.items()}
        flags = [flag for key, value in told.items() for flag in ("--label", f"{key}={value}")]
        name = f"{self.project}-{service}"
        self.docker(
            *("run", "--detach", "--init", "--name", name, "--network", "app_internal", *flags, *options),
            *(image("BUSYBOX"), *command),
        )
        return name

    def within(self, container: str, script: str) -> str:
        return self.docker("exec", container, "sh", "-c", script)
