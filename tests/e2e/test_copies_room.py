"""A destination that is full: nothing that lies there is lost, and what is missing comes once there is room."""

import json

import pytest

from tests.e2e.copies_stand import PLACE, Stand, commanded
from tests.kit.stage import Sidecar, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def copied(sidecar: Sidecar) -> list[str]:
    """Ids of the runs that lie there."""
    listed = within(sidecar.container, f"cd {PLACE}; find runs -name run.json")
    return sorted(line.split("/")[-2] for line in listed.splitlines())


@pytest.mark.slow
@pytest.mark.fault(
    42, "a destination of copies is full", "`destination-full`; nothing there goes; copied once there is room"
)
def test_a_destination_that_is_full_loses_nothing_and_is_filled_once_there_is_room(stand: Stand) -> None:
    with stand.host("--tmpfs", f"{PLACE}:size=3m,mode=777") as (sidecar, _, container):
        within(container, "head -c 1000000 /dev/urandom >/data/one")
        first = sidecar.backup("files")["id"]
        commanded(sidecar, "copies", "prepare")
        commanded(sidecar, "copies", "send")
        within(sidecar.container, f"head -c 1500000 /dev/urandom >{PLACE}/of-somebody-else")
        within(container, "head -c 1000000 /dev/urandom >/data/one")
        second = sidecar.backup("files")
        failed = commanded(sidecar, "copies", "send", code=1)
        status, there = json.dumps(sidecar.http.get("/v1/status").json()), copied(sidecar)
        partial = within(sidecar.container, f"find {PLACE} -name '*.partial'")
        within(sidecar.container, f"rm {PLACE}/of-somebody-else")
        commanded(sidecar, "copies", "send")
        both = copied(sidecar)

    assert second["state"] == "succeeded"
    assert failed[0]["failure"]["code"] == "destination-full"
    assert "destination-full" in status
    assert there == [first]
    assert partial == ""
    assert both == [first, second["id"]]
