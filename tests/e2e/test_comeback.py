"""A host that is gone comes back by two commands: `adopt`, and `restore --all`."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.e2e.copies_stand import FILES, PLACE, SUM, Stand, commanded
from tests.kit.stage import App, Json, Sidecar, eventually, execute, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
REDIS = {"strategy": "redis"}
ROWS = "redis-cli --raw get of-the-host; redis-cli dbsize"


def cache(app: App) -> str:
    container = app.target("cache", REDIS, of="REDIS", command=())
    eventually(lambda: execute("docker", "exec", container, "redis-cli", "ping").returncode == 0, what="it answers")
    return container


def left(app: App, script: str = "mkdir -p /srv/left; echo one >/srv/left/one") -> str:
    """A service that a new host may not have yet."""
    container = app.target("left", {"strategy": "filesystem", "filesystem.paths": "/srv/left"})
    within(container, script)
    return container


def by_service(rows: list[Json]) -> Mapping[str, Any]:
    return {row["key"].rpartition("/")[2]: row for row in rows}


def test_everything_comes_back_by_two_commands_and_what_does_not_is_told(stand: Stand) -> None:
    with stand.host() as (sidecar, app, container):
        within(container, FILES)
        before, rows = within(container, SUM), cache(app)
        within(rows, "redis-cli set of-the-host here")
        left(app)
        runs = {service: sidecar.backup(service)["id"] for service in ("files", "cache", "left")}
        commanded(sidecar, "copies", "prepare")
        commanded(sidecar, "copies", "send")

    with stand.host(signs=False) as (sidecar, app, container):
        rows = cache(app)
        commanded(sidecar, "adopt", "nas", "--identity", "-", kit=stand.kit)
        restored = by_service(commanded(sidecar, "restore", "--all", code=1))
        after, found = within(container, SUM), within(rows, ROWS)
        late = left(app, "mkdir -p /srv/left")
        sidecar.wait("left")
        table = sidecar.cli("restore", "--all", "--dry-run")
        untouched = within(late, "ls /srv/left")
        within(container, "echo other >/data/deep/noise; rm /data/it*")
        replaced = by_service(commanded(sidecar, "restore", "--all", "--replace"))
        at_last, late_files = within(container, SUM), within(late, "cat /srv/left/one")

    assert {name: row["run"] for name, row in restored.items()} == runs
    assert (restored["left"]["state"], restored["left"]["error"]["code"]) == ("not restored", "unknown-target")
    assert {restored[name]["state"] for name in ("files", "cache")} == {"restored"}
    assert after == before
    assert found.split() == ["here", "1"]
    assert table.returncode == 1
    assert [line.split()[2] for line in table.stdout.splitlines()[1:4]] == ["not", "not", "would"]
    assert "1 of 3 targets would come back" in table.stdout
    assert untouched == ""
    assert {row["state"] for row in replaced.values()} == {"restored"}
    assert replaced["files"]["report"]["safety"]
    assert at_last == before
    assert late_files == "one"


@pytest.mark.slow
@pytest.mark.fault(39, "the newest copy is rotten when the host comes back", "told; the one before it is taken")
def test_a_copy_that_is_rotten_gives_way_to_the_one_before(stand: Stand) -> None:
    with stand.host() as (sidecar, _, container):
        within(container, FILES)
        first = sidecar.backup("files")["id"]
        commanded(sidecar, "copies", "prepare")
        commanded(sidecar, "copies", "send")
        known = within(sidecar.container, f"find {PLACE}/objects -type f").split()
        within(container, "echo two >/data/two")
        second = sidecar.backup("files")["id"]
        commanded(sidecar, "copies", "send")
        (new,) = {*within(sidecar.container, f"find {PLACE}/objects -type f").split()} - {*known}
        within(sidecar.container, f"printf x >>{new}")

    with stand.host(signs=False) as (sidecar, _, container):
        sidecar.wait("files")
        nothing = commanded(sidecar, "restore", "--all", code=1)
        rows = commanded(sidecar, "restore", "--all", "--from", "nas", "--identity", "-", kit=stand.kit)
        told: Sidecar = sidecar
        adopted = {run["id"] for run in told.http.get("/v1/runs").json()["runs"] if run["origin"]}
        files = within(container, "ls /data")

    assert "no run was adopted" in nothing
    assert [(row["run"], row["state"]) for row in rows] == [(first, "restored")]
    assert adopted == {first}
    assert second not in adopted
    assert "two" not in files.split()
