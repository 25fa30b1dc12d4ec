"""Where the corpus runs: a sidecar of its own, servers beside it, and the four ways in which a run comes back."""

import contextlib
import json
import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.corpus.rows import State
from tests.kit import stage
from tests.kit.stage import App, Json, Sidecar, eventually, execute, restored


@contextlib.contextmanager
def standing(name: str, token: str, folder: Path) -> Iterator[tuple[Sidecar, App]]:
    """A sidecar that may create containers."""
    settings = {
        "schema": 1,
        "policy": {"create-containers": True},
        "drills": {"timeout": "15m"},
        "defaults": {"schedule": "none", "timeout": "15m"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"corpus-{name}-{secrets.token_hex(3)}", folder, token) as (running, app):
        yield running, app


@contextlib.contextmanager
def writing(container: str, statement: str) -> Iterator[None]:
    """Somebody runs a shell line again and again meanwhile."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.2):
            execute("docker", "exec", container, "sh", "-c", statement)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(15)


@dataclass
class Outcome:
    """What one way back has told, and what is there then."""

    told: tuple[str, ...] = ()
    state: State = field(default_factory=dict)
    counted: Mapping[str, int | None] = field(default_factory=dict)
    """What a drill has counted after the restore, of all that the run had counted."""


def ended(sidecar: Sidecar, *arguments: str) -> Json:
    """How a restore or a drill has ended, as its command tells; fails with its report where that is badly."""
    done = sidecar.cli(*arguments, "--json")
    assert done.stdout, done.stderr
    report: Json = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(report.get("failure") or report, indent=1)[:4000]
    return report


def by_hand(sidecar: Sidecar, report: Json, container: str, folder: Path, but: Collection[str] = ()) -> None:
    """Each line of the manifest, in the order in which they stand, but for those of some databases."""
    copy = sidecar.fetch(report, folder)
    for artifact in json.loads((copy / "manifest.json").read_text())["artifacts"]:
        if artifact["subject"] not in but:
            restored(copy, artifact, container)


def is_ready(container: str, *question: str) -> None:
    eventually(
        lambda: execute("docker", "exec", container, *question).returncode == 0,
        seconds=120,
        what=f"{container} is ready",
    )
