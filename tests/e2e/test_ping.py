"""Dead man's switches, as the operator sets them up and as the check's own server sees them."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.kit import stage
from tests.kit.stage import REPOSITORY, Sidecar, eventually, said

pytestmark = pytest.mark.e2e
RECEIVER = REPOSITORY / "tests/kit/receiver.py"


def pings(receiver: str, check: str) -> list[dict[str, Any]]:
    """What came for a check, in its order."""
    lines = said("docker", "logs", receiver).stdout.splitlines()
    return [ping for ping in map(json.loads, lines) if ping["path"].startswith(f"/{check}")]


def set_up(folder: Path, sidecar: Sidecar, receiver: str, check: str) -> None:
    """As the operator does in a running sidecar."""
    at = f"http://{receiver}:8000/{check}"
    told = [f"{sidecar.key(name)}: {{ping: {{url: '{at}-{name}'}}}}" for name in ("db", "web")]
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={sidecar.token}\nCHECK={at}-own\n")
    (folder / "config.yaml").write_text(f"ping: {{url: {{secret: CHECK}}}}\ntargets: {{{', '.join(told)}}}\n")


def test_checks_are_told_how_runs_and_the_sidecar_do(sidecar_image: str, token: str, tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()  # By its mode the sidecar, which is not root, can read it.
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    check = secrets.token_hex(8)
    with stage.sidecar(f"ping-{secrets.token_hex(3)}", folder, token) as (sidecar, app), app:
        program = ("python3", "-u", "/receiver.py", "8000")
        receiver = app.start("checks", {}, "--volume", f"{RECEIVER}:/receiver.py:ro", of="PYTHON", command=program)
        app.target("db", {"commands.backup": "echo data", "expect.max-age": "1h"})
        app.target("web", {"commands.backup": "exit 3", "expect.max-age": "1h"})
        app.target("bold", {"commands.backup": "echo data", "ping.url": "http://elsewhere/x"})
        set_up(folder, sidecar, receiver, check)

        (own,) = eventually(lambda: pings(receiver, f"{check}-own"), seconds=60, what="the sidecar's own check")
        assert own["path"] == f"/{check}-own/fail"
        assert "not safe" in own["body"]
        assert f"{sidecar.key('db')} is never: there is no good run" in own["body"]

        good = sidecar.backup("db")
        start, success = eventually(lambda: two(pings(receiver, f"{check}-db")), what="start and success")
        assert (start["path"], success["path"]) == (f"/{check}-db/start", f"/{check}-db")
        assert start["query"]["rid"] == success["query"]["rid"]
        assert good["id"] in success["body"]

        bad = sidecar.run("web")
        start, fail = eventually(lambda: two(pings(receiver, f"{check}-web")), what="start and fail")
        assert (start["path"], fail["path"]) == (f"/{check}-web/start", f"/{check}-web/fail")
        assert f"run {bad['id']} failed: {bad['failure']['code']}: {bad['failure']['message']}" in fail["body"]

        (problem,) = sidecar.wait("bold", "problem")["problems"]
        assert problem["code"] == "operator-only"
        assert "`targets.<key>.ping.url` in config.yaml" in problem["hint"]
        explained = sidecar.cli("explain", sidecar.key("db")).stdout
        assert "targets." in next(line for line in explained.splitlines() if line.startswith("ping.url"))
        metrics = sidecar.http.get("/metrics").text
        assert f'backup_pings_total{{outcome="delivered",target="{sidecar.key("db")}"}} 2.0' in metrics
        target = sidecar.http.get(f"/v1/targets/{sidecar.key('db')}").text
        assert check not in explained + metrics + target + sidecar.log()


def two(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return found if len(found) == 2 else []
