"""Every folder of `examples/compose/` comes up as it is written, and what it says is backed up can be backed up."""

import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import planted, stage
from tests.kit.few import few
from tests.kit.second_engine import make_images
from tests.kit.stage import LABEL, REPOSITORY, copy_repository, eventually, said

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EXAMPLES = sorted(folder.parent.name for folder in REPOSITORY.glob("examples/compose/*/docker-compose.yml"))
PATIENCE = 180
"""Seconds in which every service of an example is to be up, also where a database fills itself."""


class Example:
    """A copy of the repository in which one example is up, under a project name of its own."""

    def __init__(self, name: str, repository: Path) -> None:
        self.project = f"example-{name}-{secrets.token_hex(2)}"
        self.folder = copy_repository(repository) / "examples" / "compose" / name
        text = (self.folder / "docker-compose.yml").read_text()
        wanted = set(re.findall(r"\$\{([A-Z_]+):\?", text))
        given = {name: planted.plant(name, secrets.token_hex(16)) for name in wanted}
        self.environment = os.environ | given | {"ORCHESTRATOR_PORT": "0"}
        self.files: tuple[str, ...] = ()
        self.configuration: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))
        self._label()

    def compose(self, *arguments: str) -> str:
        command = ("docker", "compose", "--project-name", self.project, *self.files, *arguments)
        done = said(*command, cwd=self.folder, env=self.environment, timeout=PATIENCE)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def _label(self) -> None:
        """Let a second file say whose containers, networks and volumes these are."""
        labels = {"labels": {LABEL: self.project}}
        mine = {
            kind: {name: labels for name, facts in (self.configuration.get(kind) or {}).items() if not external(facts)}
            for kind in ("services", "networks", "volumes")
        }
        (self.folder / "labels.json").write_text(json.dumps({kind: found for kind, found in mine.items() if found}))
        self.files = ("--file", "docker-compose.yml", "--file", "labels.json")

    @property
    def services(self) -> dict[str, Any]:
        found: dict[str, Any] = self.configuration["services"]
        return found

    def states(self) -> dict[str, str]:
        """By service `running`, `healthy`, `starting`, or how it ended."""
        rows = [json.loads(line) for line in self.compose("ps", "--all", "--format", "json").splitlines()]
        return {row["Service"]: row["Health"] or row["State"] for row in rows}

    def targets(self) -> dict[str, str]:
        """State by key, as the example's sidecar sees them."""
        # Its exit code is 3 while one that has just started cannot be asked yet.
        asked = ("sh", "-c", "backup-sidecar targets --json || true")
        listed = json.loads(self.compose("exec", "-T", "sidecar", *asked))
        return {target["key"]: target["state"] for target in listed}


def external(facts: dict[str, Any] | None) -> bool:
    return bool((facts or {}).get("external"))


QUICK = ("orchestrator", "shop")
"""`test_joining.py` runs `minimal` too."""
MADE = {"directory": "openldap:2", "settings": "etcd:3", "metrics": "influxdb:1", "broker": "rabbitmq:4"}
"""Images that only these examples need."""


@pytest.fixture(params=few(EXAMPLES, *QUICK))
def example(request: pytest.FixtureRequest, sidecar_image: str, tmp_path: Path) -> Iterator[Example]:
    written = Example(request.param, tmp_path / "repository")
    written.environment["SIDECAR_IMAGE"] = sidecar_image
    if made := MADE.get(request.param):
        make_images(made)
        name = made.partition(":")[0].upper()
        written.environment[f"{name}_IMAGE"] = stage.image(name)
    try:
        yield written
    finally:
        written.compose("down", "--volumes", "--remove-orphans", "--timeout", "3")
        stage.clear(written.project)


def test_an_example_comes_up_and_each_of_its_targets_is_backed_up(example: Example) -> None:
    own = [name for name, service in example.services.items() if "build" in service and name != "sidecar"]
    if own:
        example.compose("build", "--quiet", *own)
    example.compose("up", "--detach", "--quiet-pull")

    states = eventually(lambda: all_up(example), seconds=PATIENCE, what=f"all of {list(example.services)} are up")
    assert set(states) == set(example.services)
    if "sidecar" not in example.services:
        return
    opted_in = {
        f"{example.project}/{name}"
        for name, service in example.services.items()
        if (service.get("labels") or {}).get("backup.enable") == "true"
    }
    assert opted_in
    eventually(lambda: example.targets() == dict.fromkeys(opted_in, "ready"), seconds=30, what="all targets are ready")
    for key in sorted(opted_in):
        report = json.loads(example.compose("exec", "-T", "sidecar", "backup-sidecar", "run", key, "--json"))
        assert report["state"] == "succeeded"
        assert report["proof"] == "full"


def all_up(example: Example) -> dict[str, str]:
    """The services' states, once nothing has to be waited for."""
    states = example.states()
    ended = {service for service, state in states.items() if state not in ("running", "healthy", "starting", "created")}
    assert not ended, example.compose("logs", *ended)
    return states if set(states.values()) <= {"running", "healthy"} else {}


def test_there_are_examples() -> None:
    assert "minimal" in EXAMPLES
