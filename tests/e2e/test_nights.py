"""What a sidecar does by itself, as a person sees it by the commands: due, missed, caught up, pruned."""

import json
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.kit import stage
from tests.kit.stage import WORK, App, Sidecar, docker, eventually, within

pytestmark = pytest.mark.e2e
JOURNAL = f"{WORK}/schedule.json"
HOUR = (datetime.now(UTC).hour + 12) % 24
"""Far from now, so that no night comes while the test looks."""
NIGHTLY = {"commands.backup": "date", "schedule": f"0 {HOUR} * * *", "timezone": "UTC"}


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    """A sidecar of our own, since it is stopped and started again."""
    assert sidecar_image
    config = tmp_path_factory.mktemp("nights")
    (config / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    (config / "config.yaml").write_text("policy: {min-interval: 1m}\n")
    with stage.sidecar(f"nights-{secrets.token_hex(3)}", config, token) as (sidecar, app), app:
        yield sidecar, app


def parsed(sidecar: Sidecar, *arguments: str) -> Any:
    done = sidecar.cli(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def target(sidecar: Sidecar, service: str, container: str = "") -> dict[str, Any]:
    """As `targets` lists it, once it is ready, in the container of this name."""

    def listed() -> dict[str, Any]:
        found = {one["key"]: one for one in parsed(sidecar, "targets")}.get(sidecar.key(service), {})
        is_ready = found.get("state") == "ready" and found["container"]["name"].startswith(container)
        return found if is_ready else {}

    return eventually(listed, seconds=20, what=f"{service} is ready")


def runs(sidecar: Sidecar, service: str) -> list[tuple[str, str, str | None]]:
    """State, trigger and failure of each run, oldest first."""
    found = parsed(sidecar, "runs", sidecar.key(service))
    return [(run["state"], run["trigger"], (run["failure"] or {}).get("code")) for run in reversed(found)]


def reached(sidecar: Sidecar, service: str, wanted: list[tuple[str, str, str | None]], seconds: float = 20) -> bool:
    return eventually(lambda: runs(sidecar, service) == wanted, seconds=seconds, what=f"{wanted} of {service}")


def again(sidecar: Sidecar, how: str) -> None:
    """`start` or `restart` it, and wait until it answers; its port is another one then."""
    docker(how, sidecar.container)
    eventually(lambda: sidecar.cli("targets").returncode == 0, seconds=60, what="it serves again")


def on_disk(sidecar: Sidecar, service: str) -> set[str]:
    """The runs that are backups, by what lies in the store."""
    return {Path(path).parent.name for path in sidecar.stored(service) if path.endswith("/manifest.json")}


def as_if_decided(sidecar: Sidecar, folder: Path, service: str, when: datetime) -> None:
    """Turn a stopped sidecar's memory back, as if it had been stopped then."""
    docker("cp", "-q", f"{sidecar.container}:{JOURNAL}", folder / "journal")
    known = json.loads((folder / "journal").read_text())
    known["targets"][sidecar.key(service)]["decided"] = when.isoformat()
    (folder / "journal").write_text(json.dumps(known))
    (folder / "journal").chmod(0o644)  # It will belong to root there.
    docker("cp", "-q", folder / "journal", f"{sidecar.container}:{JOURNAL}")


@pytest.mark.slow
def test_nights_missed_while_the_sidecar_was_down_are_told_and_caught_up_once(
    stand: tuple[Sidecar, App], tmp_path: Path
) -> None:
    sidecar, app = stand
    app.target("missed", NIGHTLY)
    app.target("forgiven", NIGHTLY | {"catch-up": "false"})
    due = datetime.fromisoformat(target(sidecar, "missed")["next_due"])
    assert (due.hour, due.minute) == (HOUR, 0)
    assert timedelta(0) < due - datetime.now(UTC) <= timedelta(days=1)
    assert f"{due:%Y-%m-%dT%H:00:00.000Z}" in sidecar.cli("targets").stdout
    target(sidecar, "forgiven")

    docker("stop", sidecar.container)
    for service in ("missed", "forgiven"):
        as_if_decided(sidecar, tmp_path, service, due - timedelta(days=3, hours=1))
    again(sidecar, "start")

    missed = [("missed", "schedule", "missed")] * 3
    assert reached(sidecar, "missed", [*missed, ("succeeded", "schedule", None)])
    assert reached(sidecar, "forgiven", missed)
    told = sidecar.cli("runs", sidecar.key("missed")).stdout
    assert len(re.findall(r"\bmissed +schedule +missed *$", told, re.MULTILINE)) == 3
    metrics = docker("exec", sidecar.container, "python", "-c", SCRAPE)
    assert f'backup_runs_total{{outcome="missed",target="{sidecar.key("missed")}"}} 3.0' in metrics
    (told_due,) = re.findall(rf'backup_next_due_timestamp_seconds{{target="{sidecar.key("missed")}"}} (\S+)', metrics)
    assert float(told_due) == due.timestamp()

    again(sidecar, "restart")
    target(sidecar, "missed")
    assert runs(sidecar, "missed") == [*missed, ("succeeded", "schedule", None)]


SCRAPE = f"""
import httpx
transport = httpx.HTTPTransport(uds="{WORK}/sidecar.sock")
print(httpx.Client(transport=transport, base_url="http://sidecar").get("/metrics").text)
"""


@pytest.mark.slow
def test_prune_shows_what_keeps_each_run_and_deletes_the_others(stand: tuple[Sidecar, App]) -> None:
    sidecar, app = stand
    only = {
        "schedule": "none",
        "retention.keep-within": "0s",
        "retention.keep-daily": "none",
        "retention.keep-weekly": "none",
    }
    labels = {"commands.backup": "date"} | only
    first = app.target("pruned", labels | {"retention.keep-last": "3"})
    key = sidecar.key("pruned")
    target(sidecar, "pruned")
    made = sorted(parsed(sidecar, "run", key)["id"] for _ in range(3))  # Two may be of one second.
    time.sleep(11)  # Until it has pruned after the last of them, by the rule that keeps all three.
    docker("rm", "--force", first)
    second = app.target("pruned", labels | {"retention.keep-last": "1"})
    target(sidecar, "pruned", second)

    dry = sidecar.cli("prune", key, "--dry-run").stdout
    rows = {line.split()[1]: line.rstrip() for line in dry.splitlines() if line.startswith(key)}
    assert list(rows) == made[::-1]
    assert re.search(r" stays +keep-last, newest good run$", rows[made[2]])
    assert "would go" in rows[made[0]]
    assert rows[made[1]].endswith("none of keep-last 1 keeps it")
    assert re.search(r"2 of 3 runs would go, \d+ B; then [\d.]+ [GT]iB would be free for the next runs", dry)
    assert len(parsed(sidecar, "artifacts", key)) == 3

    done = parsed(sidecar, "prune", key)
    assert {row["run"]: row["deleted"] for row in done} == {made[2]: False, made[1]: True, made[0]: True}
    assert [row["run"] for row in parsed(sidecar, "artifacts", key)] == [made[2]]
    assert on_disk(sidecar, "pruned") == {made[2]}
    assert [run["id"] for run in parsed(sidecar, "runs", key)] == made[::-1]

    assert sidecar.cli("keep", made[1]).returncode == 1, "it is deleted"
    assert sidecar.cli("undelete", made[1]).stdout.rstrip().endswith("pinned")
    assert on_disk(sidecar, "pruned") == {made[1], made[2]}
    refused = sidecar.cli("delete", made[1])
    assert (refused.returncode, "is pinned" in refused.stderr) == (1, True)
    assert sidecar.cli("keep", made[1], "--release").returncode == 0
    assert sidecar.cli("delete", made[1]).returncode == 0
    assert sidecar.cli("delete", made[2]).returncode == 1, "it is the last good one"
    rows = {line.split()[0]: line.rstrip() for line in sidecar.cli("runs", key).stdout.splitlines()}
    assert re.search(r" pruned +cli .* \S+Z by hand, `undelete` brings it back$", rows[made[1]])
    assert re.search(r" none of keep-last 1 keeps it, `undelete` brings it back$", rows[made[0]])
    assert "is deleted" in sidecar.cli("restore", key, "--run", made[0]).stderr
    assert sidecar.cli("delete", made[0], "--purge").stdout.rstrip().endswith("purged")
    assert sidecar.cli("undelete", made[0]).returncode == 1

    last = parsed(sidecar, "run", key)["id"]
    assert eventually(lambda: on_disk(sidecar, "pruned") == {last}, seconds=20, what="pruned by itself")
    assert [row["run"] for row in parsed(sidecar, "artifacts", key)] == [last]


def test_a_run_by_hand_after_an_accident_does_not_delete_the_nights(stand: tuple[Sidecar, App]) -> None:
    sidecar, app = stand
    container = app.target("accident", {"commands.backup": "cat /tmp/data", "schedule": "none"})
    key = sidecar.key("accident")
    target(sidecar, "accident")
    within(container, "echo good >/tmp/data")
    night = parsed(sidecar, "run", key)["id"]
    within(container, "echo broken >/tmp/data")
    by_hand = parsed(sidecar, "run", key)["id"]

    assert {row["run"]: row["stays"] for row in parsed(sidecar, "prune", key)} == {night: True, by_hand: True}

    docker("exec", sidecar.container, "backup-sidecar", "restore", key, "--run", night, "--to-file", "/tmp/night")
    assert within(sidecar.container, f"cat /tmp/night/{night}/*") == "good"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_minute_is_a_night_and_one_that_comes_too_early_is_missed(stand: tuple[Sidecar, App]) -> None:
    sidecar, app = stand
    app.target("minutely", {"commands.backup": "sleep 65; date", "schedule": "* * * * *"})
    due = datetime.fromisoformat(target(sidecar, "minutely")["next_due"])

    eventually(lambda: runs(sidecar, "minutely"), seconds=65, what="the minute has come")
    (first,) = parsed(sidecar, "runs", sidecar.key("minutely"))
    late = datetime.fromisoformat(first["created"]) - due
    assert timedelta(0) <= late < timedelta(seconds=5)
    assert first["trigger"] == "schedule"

    wanted = [("succeeded", "schedule", None), ("missed", "schedule", "run-in-progress")]
    eventually(lambda: runs(sidecar, "minutely")[:2] == wanted, seconds=90, what="the second minute was missed")
    eventually(lambda: len(runs(sidecar, "minutely")) > 2, seconds=65, what="the third minute has come")
