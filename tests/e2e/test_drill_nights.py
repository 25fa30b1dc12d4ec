"""A drill that comes by itself: fired by its schedule, and told everywhere that a person or a program would look."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from tests.e2e.test_drill import folder_of, throwaways
from tests.kit import stage
from tests.kit.stage import App, Json, Sidecar, docker, eventually, execute, within

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LABELS = {"strategy": "filesystem", "filesystem.paths": "/etc", "drill.schedule": "* * * * *"}
ORCHESTRATOR = """
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ear(BaseHTTPRequestHandler):
    def do_PUT(self):
        told = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/tmp/told", "wb") as file:
            file.write(told)
        self.send_response(204)
        self.end_headers()

HTTPServer(("", 5550), Ear).serve_forever()
"""


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    """A sidecar that may drill every minute, and announces itself to an orchestrator that keeps the last word."""
    folder = tmp_path_factory.mktemp("drill-nights")
    settings = {
        "schema": 1,
        "policy": {"create-containers": True, "min-interval": "1m"},
        "defaults": {"schedule": "none"},
        "orchestrator": {"url": "http://orchestrator:5550", "key": {"secret": "ORCHESTRATOR_KEY"}, "interval": "2s"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\nORCHESTRATOR_KEY={secrets.token_hex(16)}\n")
    with stage.sidecar(f"drill-nights-{secrets.token_hex(3)}", folder, token) as (sidecar, app), app:
        yield sidecar, app


def told(orchestrator: str, key: str) -> Json:
    """The target as the last announcement tells of it; empty before."""
    done = execute("docker", "exec", orchestrator, "cat", "/tmp/told")
    targets = json.loads(done.stdout)["targets"] if done.returncode == 0 and done.stdout else []
    return next((target for target in targets if target["key"] == key), {})


@pytest.mark.timeout(300)
def test_a_drill_comes_by_its_schedule_and_is_told_everywhere(stand: tuple[Sidecar, App]) -> None:
    sidecar, app = stand
    command = ("python3", "-c", ORCHESTRATOR)
    orchestrator = app.start("orchestrator", {}, "--network-alias", "orchestrator", of="PYTHON", command=command)
    app.target("nightly", LABELS)
    key = sidecar.key("nightly")
    assert "never" in sidecar.cli("status").stdout
    backup = sidecar.backup("nightly")
    assert sidecar.target("nightly")["last_drill"] is None

    def passed() -> Json:
        found: Json | None = sidecar.target("nightly")["last_good_drill"]
        return found or {}

    first = eventually(passed, seconds=100, what="the minute has come")

    minute = datetime.fromisoformat(backup["created"]).replace(second=0, microsecond=0) + timedelta(minutes=1)
    drill = sidecar.http.get(f"/v1/drills/{first['id']}").json()
    assert (drill["trigger"], drill["run"], drill["state"]) == ("schedule", backup["id"], "passed")
    assert timedelta(0) <= datetime.fromisoformat(drill["created"]) - minute < timedelta(seconds=15)
    assert throwaways(first["id"]) == []

    beside = json.loads(within(sidecar.container, f"cat {folder_of(sidecar, 'nightly', backup)}/drill.json"))
    assert beside == {name: value for name, value in drill.items() if name != "key"}
    (status,) = [row for row in json.loads(sidecar.cli("status", "--json").stdout)["targets"] if row["key"] == key]
    assert status["last_good_drill"]["finished"] == drill["finished"]
    assert drill["finished"] in sidecar.cli("status", "--utc").stdout
    metric = f'backup_last_drill_timestamp_seconds{{target="{key}"}} '
    (line,) = [one for one in sidecar.http.get("/metrics").text.splitlines() if one.startswith(metric)]
    assert float(line.removeprefix(metric)) == pytest.approx(
        datetime.fromisoformat(drill["finished"]).timestamp(), abs=0.001
    )
    eventually(lambda: told(orchestrator, key).get("last_good_drill"), seconds=20, what="the lease tells it")
    assert told(orchestrator, key)["last_good_drill"]["id"] == first["id"]

    # Once a minute, and not at once again; what was known is known after a restart, too.
    docker("restart", sidecar.container)
    eventually(lambda: sidecar.cli("targets").returncode == 0, seconds=60, what="it serves again")
    again = json.loads(sidecar.cli("status", "--json").stdout)["targets"]
    assert [row["last_good_drill"]["id"] for row in again if row["key"] == key] == [first["id"]]
    assert datetime.now(UTC) - datetime.fromisoformat(drill["created"]) < timedelta(minutes=1), "too slow to be told"
