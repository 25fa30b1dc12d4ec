"""What a sidecar does with copies by itself: it holds runs for them, and deletes them in two steps."""

import pytest

from tests.e2e.copies_stand import PLACE, Stand, commanded, told
from tests.kit.stage import WORK, Json, Sidecar, docker, eventually, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ONE = {"keep-within": "0s", "keep-last": 1}
COPIES = f"{WORK}/copies"
AGES_AGO = f"""
import contextlib, sqlite3
with contextlib.closing(sqlite3.connect("{COPIES}/nas.sqlite")) as ledger, ledger:
    print(ledger.execute("UPDATE tombs SET since = '2026-01-01T00:00:00.000Z'").rowcount)
"""
"""What was decided was decided long ago; prints for how many copies."""


def copied(sidecar: Sidecar) -> list[str]:
    """Ids of the runs that lie there."""
    listed = within(sidecar.container, f"cd {PLACE}; find runs -name run.json")
    return sorted(line.split("/")[-2] for line in listed.splitlines())


def entombed(sidecar: Sidecar, script: str) -> str:
    command = ("exec", "--interactive", "--user", "10001", sidecar.container, "python", "-")
    return docker(*command, input=script.encode())


def once_a_day(sidecar: Sidecar) -> None:
    """Let the day be over, once its work is written down: what is done once in it is due."""
    eventually(lambda: "nas-pruned.json" in within(sidecar.container, f"ls {COPIES}"), seconds=60, what="it was done")
    within(sidecar.container, f"rm -f {COPIES}/nas-pruned.json")
    docker("restart", sidecar.container)
    sidecar.is_back()


@pytest.mark.slow
def test_runs_wait_for_their_copies_and_copies_go_in_two_steps(stand: Stand) -> None:
    def words(words: Json) -> None:
        words["defaults"] = {"retention": ONE}
        words["copies"]["destinations"]["nas"]["retention"] = ONE

    stand.configure(words)
    with stand.host() as (sidecar, _, container):
        within(container, "head -c 100000 /dev/urandom >/data/one")
        first = sidecar.backup("files")["id"]
        within(container, "head -c 100000 /dev/urandom >/data/one")
        second = sidecar.backup("files")["id"]
        # Nothing could be copied yet: what no rule keeps waits.
        held = {row["run"]: row["rules"] for row in commanded(sidecar, "prune", "--dry-run")}
        commanded(sidecar, "prune")
        kept = len(sidecar.stored("files"))
        commanded(sidecar, "copies", "prepare")
        commanded(sidecar, "copies", "send")
        both = copied(sidecar)
        commanded(sidecar, "prune")
        let_go = sidecar.report(first)["pruned"]
        eventually(lambda: entombed(sidecar, AGES_AGO) == "1", seconds=150, what="it is decided for the first time")
        still = copied(sidecar)
        once_a_day(sidecar)
        eventually(lambda: copied(sidecar) == [second], seconds=150, what="the first copy is gone")
        objects = within(sidecar.container, f"find {PLACE}/objects -type f").splitlines()
        commanded(sidecar, "copies", "send")
        verified = commanded(sidecar, "copies", "verify")
        after = told(sidecar)

    assert set(held) == {first, second}
    assert held[first]
    assert kept
    assert both == still == [first, second]
    assert let_go
    assert len(objects) == 1
    assert verified[0]["wrong"] == []
    assert {*verified[0]["proved"]} == {second}
    assert (after["missed"], after["waiting"]) == (0, 0)
