"""The real `serve` as a process of this machine, so that it can be traced, killed and started again as one likes."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

from controller.core.manifest import Manifest
from controller.storage.draft import MANIFEST
from tests.faults.starting import PROGRAM
from tests.kit.stage import LABEL, PROJECT, App, Sidecar, administrator, clear, docker, eventually, said

START = 60
"""Seconds in which it serves, also on a busy machine."""
NOT_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000") if os.getuid() == 0 else ()
"""Root seems to be somebody else: `serve` would become a user who may not be able to read this Python."""


class Process(Sidecar):
    """A sidecar without a container. What it makes lies in `folder`, which outlives it."""

    def __init__(self, folder: Path, project: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        super().__init__("", project, f"http://127.0.0.1:{port}", secrets.token_hex(16))
        self.folder, self.store = folder, folder / "artifacts"
        paths = {"artifacts": str(self.store), "workdir": str(folder / "work"), "tmp": str(folder / "tmp")}
        settings = {
            "schema": 1,
            "paths": paths,
            "scope": {"project": "any", "network": project},
            "api": {"host": "127.0.0.1", "port": port},
            "defaults": {"schedule": "none", "retention": {"keep-last": 1000}},
        }
        (folder / "config").mkdir()
        (folder / "config" / "config.yaml").write_text(yaml.safe_dump(settings))
        (folder / "config" / ".env").write_text(f"BACKUP_API_TOKEN={self.token}\n")
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it, and wait until it watches the engine."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*NOT_ROOT, PROGRAM, "serve"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._is_up, seconds=START, what="the sidecar is ready")

    def end(self, how: int = signal.SIGKILL) -> int:
        """Make an end of it; gives its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.died()

    def died(self) -> int:
        """The exit code of a process that somebody else ends; negative for a signal."""
        assert self.process is not None
        return self.process.wait(30)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stored(self, service: str) -> list[str]:
        return [str(path) for path in (self.store / self.project / service).rglob("*") if path.is_file()]

    def manifests(self) -> dict[str, Manifest]:
        """What lies in the store, by run."""
        found = [Manifest.model_validate_json(path.read_bytes()) for path in self.store.rglob(MANIFEST)]
        return {manifest.run: manifest for manifest in found}

    def left(self) -> Iterator[tuple[str, bytes]]:
        files = [self.folder / "log", *(self.folder / "work").rglob("*"), *self.store.rglob("*.json")]
        return ((path.name, path.read_bytes()) for path in files if path.is_file())

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return said(*NOT_ROOT, PROGRAM, *arguments, env=self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
        return inherited | administrator(self.token) | {"SIDECAR_CONFIG": str(self.folder / "config")}

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended with exit code {self.process.returncode}: {self.log()}"
        with contextlib.suppress(httpx.TransportError):
            return self.http.get("/readyz").is_success
        return False


@contextlib.contextmanager
def process() -> Iterator[tuple[Process, App]]:
    """A sidecar with an app of its own, not yet begun; everything goes away at the end."""
    project = f"sidecar-fault-{secrets.token_hex(3)}"
    folder = Path(tempfile.mkdtemp(prefix=f"{project}-"))
    folder.chmod(0o755)  # It gives up root.
    labels = (f"com.docker.compose.network={project}", f"{PROJECT}={project}", f"{LABEL}={project}")
    docker("network", "create", *(flag for label in labels for flag in ("--label", label)), project)
    try:
        with contextlib.closing(Process(folder, project)) as running, App(project, project) as app:
            try:
                yield running, app
            finally:
                if running.process is not None and running.process.poll() is None:
                    running.end()
    finally:
        clear(project)
        shutil.rmtree(folder)
