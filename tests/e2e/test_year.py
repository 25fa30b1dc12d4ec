"""What a user sees of a sidecar that is left alone, as one story: each thing goes wrong that does in a year."""

import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.test_drill_nights import ORCHESTRATOR
from tests.e2e.test_nights import NIGHTLY, again, as_if_decided, on_disk, parsed, reached, runs, target
from tests.kit import stage
from tests.kit.stage import SIDECAR_IMAGE, App, Sidecar, docker, eventually, execute, said, within

pytestmark = pytest.mark.e2e


class Operator:
    """Who leaves a sidecar alone, changes a word now and then, and asks whether all is well."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self.orchestrator = folder, ""
        self.sidecar: Sidecar
        self.app: App
        self.folder.mkdir()  # By its mode the sidecar, which is not root, can read it.
        (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\nORCHESTRATOR_KEY={secrets.token_hex(16)}\n")
        self.write()

    def write(self, **targets: dict[str, Any]) -> None:
        """Other words on some targets, and always the same on all."""
        orchestrator = {"url": "http://orchestrator:5550", "key": {"secret": "ORCHESTRATOR_KEY"}, "interval": "2s"}
        words = {"policy": {"min-interval": "1m"}, "verify": {"every": "1s"}, "orchestrator": orchestrator}
        own = {"targets": {self.sidecar.key(name): layer for name, layer in targets.items()}} if targets else {}
        (self.folder / "config.yaml.new").write_text(yaml.safe_dump(words | own))
        (self.folder / "config.yaml.new").rename(self.folder / "config.yaml")

    def status(self) -> tuple[int, dict[str, str]]:
        """Exit code of `status`, and what it says of each service."""
        told = self.sidecar.cli("status")
        rows = [row.split() for row in told.stdout.splitlines()]
        return told.returncode, {row[0].partition("/")[2]: row[1] for row in rows if row and "/" in row[0]}

    def sees(self, code: int, states: dict[str, str], seconds: float = 20) -> None:
        eventually(lambda: self.status() == (code, states), seconds=seconds, what=f"{states} is told")

    def lease(self) -> dict[str, Any]:
        """What the orchestrator was told last of freshness and damage."""
        done = execute("docker", "exec", self.orchestrator, "cat", "/tmp/told")
        told: dict[str, Any] = json.loads(done.stdout)["freshness"] if done.returncode == 0 and done.stdout else {}
        return told


@pytest.fixture
def operator(sidecar_image: str, token: str, tmp_path: Path) -> Iterator[Operator]:
    found = Operator(tmp_path / "config", token)
    with stage.sidecar(f"year-{secrets.token_hex(3)}", found.folder, token) as (found.sidecar, found.app), found.app:
        program = ("python3", "-c", ORCHESTRATOR)
        alias = ("--network-alias", "orchestrator")
        found.orchestrator = found.app.start("orchestrator", {}, *alias, of="PYTHON", command=program)
        yield found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sidecar_that_is_left_alone_does_its_work_and_says_when_it_cannot(operator: Operator, tmp_path: Path) -> None:
    sidecar, app = operator.sidecar, operator.app
    only = {
        "retention.keep-within": "0s",
        "retention.keep-daily": "none",
        "retention.keep-weekly": "none",
        "retention.keep-last": "1",
    }
    reading = {"commands.backup": "cat /tmp/data", "compression": "none", "retries": "0"}
    minutely = app.target("minutely", only | reading | {"schedule": "* * * * *"})
    nightly = app.target("nightly", NIGHTLY | reading)
    for container in (minutely, nightly):
        within(container, "echo data >/tmp/data")
    due = datetime.fromisoformat(target(sidecar, "nightly")["next_due"])
    assert operator.status()[0] == 3

    # It comes by itself, and what retention does not keep goes.
    sidecar.backup("nightly")
    eventually(lambda: runs(sidecar, "minutely"), seconds=70, what="the minute has come")
    operator.sees(0, {"minutely": "fresh", "nightly": "fresh"})
    assert sidecar.http.get("/freshz").is_success
    (first,) = parsed(sidecar, "runs", sidecar.key("minutely"))
    assert (first["trigger"], first["state"]) == ("schedule", "succeeded")
    second = sidecar.backup("minutely")["id"]
    within(minutely, "rm /tmp/data")
    assert eventually(lambda: on_disk(sidecar, "minutely") == {second}, seconds=20, what="pruned by itself")

    # It was away for three nights.
    docker("stop", sidecar.container)
    as_if_decided(sidecar, tmp_path, "nightly", due - timedelta(days=3, hours=1))
    again(sidecar, "start")
    missed = [("missed", "schedule", "missed")] * 3
    assert reached(sidecar, "nightly", [*missed, ("succeeded", "api", None), ("succeeded", "schedule", None)])
    eventually(lambda: operator.status()[1]["nightly"] == "fresh", what="caught up")
    address = docker("port", sidecar.container, "8000/tcp").splitlines()[0]
    sidecar.http.base_url = f"http://{address}"

    # The operator expects more, and then again what can be had.
    operator.write(nightly={"expect": {"max-age": "2s"}})
    eventually(lambda: operator.status()[1]["nightly"] == "stale", seconds=20, what="the new word holds")
    operator.write()
    eventually(lambda: operator.status()[1]["nightly"] == "fresh", seconds=20, what="the old word holds")

    # The target that fails each minute is late, then stale, and says so to all who ask.
    eventually(lambda: operator.status()[1]["minutely"] == "late", seconds=150, what="one minute has passed")
    assert operator.status()[0] == 3
    operator.sees(3, {"minutely": "stale", "nightly": "fresh"}, seconds=90)
    assert sidecar.http.get("/freshz").status_code == 503
    told = eventually(lambda: said_of(operator.lease(), sidecar.key("minutely"), "stale"), what="the lease tells it")
    assert told["safe"] is False
    within(minutely, "echo data >/tmp/data")
    operator.sees(0, {"minutely": "fresh", "nightly": "fresh"}, seconds=90)

    # What is stored rots.
    rotten = sidecar.target("nightly")["last_good"]["id"]
    path = next(path for path in sidecar.stored("nightly") if rotten in path and path.endswith("/backup"))
    within(sidecar.container, f"cp {path} /tmp/copy; printf D | dd of={path} bs=1 conv=notrunc")
    eventually(lambda: sidecar.report(rotten)["damaged"], seconds=20, what="the scrub has found it")
    told = eventually(lambda: operator.lease().get("damaged"), what="the lease tells it")
    assert [(one["run"], one["key"]) for one in told] == [(rotten, sidecar.key("nightly"))]
    status = sidecar.cli("status")
    assert status.returncode == 3
    assert f"run {rotten} of {sidecar.key('nightly')} is damaged" in status.stdout
    assert sidecar.http.get(f"/v1/runs/{rotten}/artifacts").json()["type"] == "damaged"
    within(sidecar.container, f"cat /tmp/copy >{path}")
    assert sidecar.cli("verify", rotten).returncode == 0
    operator.sees(0, {"minutely": "fresh", "nightly": "fresh"})


def said_of(told: dict[str, Any], key: str, state: str) -> dict[str, Any]:
    """What the lease tells, if it tells this of the target."""
    states = {one["key"]: one["state"] for one in told.get("targets", ())}
    return told if states.get(key) == state else {}


def test_a_catalog_of_a_later_release_ends_the_start_with_78(sidecar_image: str, tmp_path: Path, token: str) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "config").mkdir()
    with closing(sqlite3.connect(tmp_path / "work" / "catalog.sqlite")) as later:
        later.execute("PRAGMA user_version = 99")
    mounts = ("--volume", f"{tmp_path}/work:/var/lib/sidecar/work", "--volume", f"{tmp_path}/config:/etc/sidecar:ro")
    socket = ("--volume", "/var/run/docker.sock:/var/run/docker.sock", "--env", f"BACKUP_API_TOKEN={token}")

    done = said("docker", "run", "--rm", *mounts, *socket, SIDECAR_IMAGE)

    assert done.returncode == 78
    assert "schema 99" in done.stderr
    assert "Run the release that wrote it, or a later one." in done.stderr
