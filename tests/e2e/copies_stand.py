"""A place for copies, and hosts that come and go beside it: what the tests of copies on the real engine share."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.kit import stage
from tests.kit.stage import LABEL, SIDECAR_IMAGE, App, Json, Sidecar, docker, execute, within

PLACE = "/copies/nas"
FILES = 'mkdir -p /data/deep; echo one >"/data/it\'s"; head -c 300000 /dev/urandom >/data/deep/noise'
SUM = "cd /data; find . -type f -exec sha256sum {} + | sort"


@dataclass
class Stand:
    """What outlives a host: the operator's words, the recovery kit, and the share."""

    project: str
    config: Path
    kit: str
    signing_key: str
    volume: str
    token: str
    secrets: dict[str, str] = field(default_factory=dict)
    """Further ones of the operator, which are written by `write_secrets`."""
    signs: bool = True

    def write_secrets(self) -> None:
        """The file `.env`, in the place of the one before."""
        signing = {"COPIES_SIGNING_KEY": self.signing_key} if self.signs else {}
        known = {"BACKUP_API_TOKEN": self.token} | signing | self.secrets
        fresh = self.config / ".env.new"
        fresh.write_text("".join(f'{name}="{value}"\n' for name, value in known.items()))
        fresh.rename(self.config / ".env")

    def configure(self, change: Callable[[Json], None]) -> None:
        """Change the operator's words; a sidecar takes them over within seconds."""
        path = self.config / "config.yaml"
        words = yaml.safe_load(path.read_text())
        change(words)
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(words))
        fresh.rename(path)

    @contextmanager
    def host(self, *more: str, signs: bool = True) -> Iterator[tuple[Sidecar, App, str]]:
        """One with nothing on it but an app with an empty folder; gives sidecar, app and the folder's container.

        `more` are options of the sidecar's container.
        """
        self.signs = signs
        self.write_secrets()
        options = more or ("--volume", f"{self.volume}:{PLACE}")
        with stage.sidecar(self.project, self.config, self.token, *options) as (sidecar, app):
            labels = {"strategy": "filesystem", "filesystem.paths": "/data"}
            container = app.target("files", labels, of="DEBIAN")
            within(container, "mkdir -p /data")
            yield sidecar, app, container


@contextmanager
def place_of_copies(token: str, folder: Path) -> Iterator[Stand]:
    """A share that outlives its hosts, and its keys; `folder` is for the operator's words."""
    project = f"sidecar-copies-{secrets.token_hex(3)}"
    made = json.loads(docker("run", "--rm", SIDECAR_IMAGE, "copies", "keys", "--json"))
    settings = {
        "schema": 1,
        "copies": {
            "recipients": made["recipients"],
            "destinations": {"nas": {"path": PLACE, "same-disk": True, "max-age": "26h"}},
        },
    }
    config = folder / "config"
    config.mkdir()
    (config / "config.yaml").write_text(yaml.safe_dump(settings))
    kit = f"# of the safe\n{made['identities'][0]}\nverify: {made['verify']}\n"
    docker("volume", "create", "--label", f"{LABEL}={project}-nas", f"{project}-nas")
    try:
        yield Stand(project, config, kit, made["signing_key"], f"{project}-nas", token)
    finally:
        execute("docker", "volume", "rm", "--force", f"{project}-nas")


def commanded(sidecar: Sidecar, *arguments: str, kit: str = "", code: int = 0) -> Any:
    command = ("docker", "exec", "--interactive", sidecar.container, "backup-sidecar", *arguments, "--json")
    done = execute(*command, input=kit.encode())
    assert done.returncode == code, done.stderr.decode()
    return json.loads(done.stdout) if done.stdout else done.stderr.decode()


def told(sidecar: Sidecar) -> Json:
    """Of the only destination."""
    (destination,) = sidecar.http.get("/v1/copies").raise_for_status().json()["destinations"]
    found: Json = destination
    return found


def objects(sidecar: Sidecar) -> list[str]:
    return within(sidecar.container, f"cd {PLACE}; find objects runs -type f").splitlines()
