"""Each kind of data: how a fresh container of it starts, what it holds, and how a run comes back into it."""

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.compare import Things, files, tables
from rehearsal.containers import Container, Failed, docker, start

SCRIPTS = Path(__file__).parent
PASSWORD = "for a minute"
FIRST = ("pg_globals",)
"""Formats that come before others: databases need the roles that own them."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fresh container of a kind of data needs, before anything is restored, and how it is described."""

    script: str
    """Prints what a container holds, source and copy alike, by tools that have no part in making backups."""
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    volume: str | None = None
    ready: tuple[str, ...] = ("true",)

    def start(self, image: str) -> Container:
        """A fresh container; it may not be ready yet."""
        return start(image, *self.command, environment=self.environment, volume=self.volume)

    def look(self, container: Container) -> Things:
        """What it holds."""
        said = container.script(SCRIPTS / self.script)
        return files(said) if self.volume else tables(said.decode())

    def rows(self, container: Container, name: str, path: Path) -> None:
        """Write the sorted rows behind the name of a table into a file."""
        with path.open("wb") as file:
            container.script(SCRIPTS / self.script, name, stdout=file)


KINDS = {
    "postgres": Kind(
        script="postgres.sh",
        command=("postgres", "-c", "fsync=off"),
        environment={"POSTGRES_USER": "bank", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "postgres"},
        ready=("pg_isready", "--quiet", "--host=127.0.0.1"),
    ),
    "mariadb": Kind(
        script="mariadb.sh",
        command=("mariadbd", "--innodb-flush-log-at-trx-commit=0"),
        environment={"MARIADB_ROOT_PASSWORD": PASSWORD},
        ready=("mariadb-admin", "--host=127.0.0.1", "--user=root", f"--password={PASSWORD}", "--silent", "ping"),
    ),
    "app": Kind(script="filesystem.sh", command=("sleep", "infinity"), volume="/data"),
}
"""By service."""


def unpack(download: Path, artifacts: list[dict[str, Any]], folder: Path) -> None:
    """Put the artifacts of a download into a folder under their names, and check each digest.

    A run with one artifact is downloaded as that artifact, one with several as a tar of its folder.
    """
    if len(artifacts) == 1:
        download.rename(folder / artifacts[0]["name"])
    else:
        strip = "--strip-components=3"  # project, service, run
        subprocess.run(["tar", "--extract", f"--file={download}", f"--directory={folder}", strip], check=True)
    for artifact in artifacts:
        with (folder / artifact["name"]).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != artifact["sha256"]:
            raise Failed(f"{artifact['name']} has SHA-256 {digest}, its manifest says {artifact['sha256']}")


def restore(artifacts: list[dict[str, Any]], folder: Path, container: Container) -> None:
    """Run the manifest's line of each artifact: `zstd -dc NAME` here, what that is piped into in the container."""
    for artifact in sorted(artifacts, key=lambda artifact: artifact["format"] not in FIRST):
        decode, _, load = artifact["restore"].partition(" | ")
        with subprocess.Popen(["sh", "-c", decode], cwd=folder, stdout=subprocess.PIPE) as process:
            docker("exec", "--interactive", container.name, "sh", "-c", load, stdin=process.stdout)
        if process.returncode:
            raise Failed(f"`{decode}` ended with {process.returncode}")
