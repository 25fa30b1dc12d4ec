"""Starts the real program on a folder that the operator got wrong, with an engine that must not be touched."""

import functools
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "backup-sidecar"
CONFIGURATION = 78
TOKEN = "gK4c0nT2vQ8yZp1LrX6w"
GOOD_ENV = f"BACKUP_API_TOKEN={TOKEN}\n"


@dataclass(frozen=True)
class Told:
    """What the program printed before it ended."""

    code: int
    text: str
    connections: int
    """To the engine."""

    def line(self, *words: str) -> str:
        """The line that holds all the words."""
        found = [line for line in self.text.splitlines() if all(word in line for word in words)]
        assert found, (words, self.text)
        return found[0]


def told(files: Mapping[str, str | bytes], command: str = "check", **environ: str) -> Told:
    """Run the program on a folder with these files; the same question is asked only once."""
    contents = tuple((name, text.encode() if isinstance(text, str) else text) for name, text in files.items())
    return _told(contents, command, tuple(environ.items()))


@functools.cache
def _told(files: tuple[tuple[str, bytes], ...], command: str, environ: tuple[tuple[str, str], ...]) -> Told:
    with tempfile.TemporaryDirectory() as name, listening(Path(name) / "docker.sock") as connections:
        folder = Path(name) / "config"
        for path, content in files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{name}/docker.sock"}
        environment |= {"SIDECAR_CONFIG": str(folder), "SIDECAR_CONFIG_DIR": "sidecar/config", **dict(environ)}
        done = subprocess.run(
            [PROGRAM, command], env=environment, capture_output=True, text=True, timeout=90, check=False
        )
        return Told(done.returncode, done.stdout + done.stderr, len(connections))


@contextmanager
def listening(path: Path) -> Iterator[list[object]]:
    """An engine that hangs up; gives the connections that were made."""
    connections: list[object] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, address = engine.accept()
                connections.append(address)
                connection.close()

    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        engine.listen()
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield connections
        finally:
            engine.shutdown(socket.SHUT_RDWR)
            thread.join()


def refused(found: Told, *secrets: str) -> None:
    """The program ended for its configuration, told no secret and no traceback, and left the engine alone."""
    assert found.code == CONFIGURATION, found.text
    assert "Traceback" not in found.text
    assert [secret for secret in secrets if secret in found.text] == []
    assert found.connections == 0
