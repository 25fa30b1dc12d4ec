"""What an engine says that it did is looked at before it is believed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.core.errors import EngineError, NotFrozen
from controller.engine import drill_container, pause
from controller.engine.client import Engine
from tests.kit.played_engine import ID, INSPECTED, VERSION, PlayedEngine, answer, playing

OWNED = {"Config": {"Labels": {drill_container.OWNER: "me"}}}
RUNNING, PAUSED = {"Status": "running", "Running": True}, {"Status": "paused", "Running": True, "Paused": True}
EXITED = {"Status": "exited", "Running": False, "StartedAt": "then"}
NOT_THERE = answer({"message": "No such container"}, 404)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedEngine]:
    for room, name in ((pause, "SETTLING_SECONDS"), (drill_container, "REMOVAL_SECONDS")):
        monkeypatch.setattr(room, name, 0.2)
    with playing(tmp_path) as engine:
        yield engine


def saying(played: PlayedEngine, *states: Any, status: int = 204) -> Engine:
    """An engine that says it did everything; the states of the container one after the other, the last again."""
    left = list(states)

    def script(request: str) -> bytes:
        if "/version" in request:
            return answer(VERSION)
        if not request.startswith("GET"):
            return answer(b"" if status == 204 else {"message": "removal of it is already in progress"}, status)
        state = left.pop(0) if len(left) > 1 else left[0]
        return state if isinstance(state, bytes) else answer(INSPECTED | OWNED | {"State": state})

    played.script = script
    return Engine(played.address)


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        ("pause", RUNNING, PAUSED),
        ("unpause", PAUSED, RUNNING),
        ("stop", RUNNING, EXITED),
        ("start", EXITED, RUNNING),
        ("start", EXITED, EXITED | {"StartedAt": "later"}),
        ("restart", RUNNING, RUNNING | {"StartedAt": "later"}),
    ],
)
def test_it_is_done_once_it_is_seen(played: PlayedEngine, what: pause.Transition, before: Any, after: Any) -> None:
    saying(played, before, before, after).transition(ID, what)
    with pytest.raises(EngineError, match=f"says that it did {what} container shop-web-1"):
        saying(played, before).transition(ID, what)


@pytest.mark.parametrize("why", ["unable to freeze", "timeout of 10s reached waiting for the cgroup to freeze"])
def test_what_does_not_freeze_at_once_is_asked_again(
    played: PlayedEngine, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """As runc says it of processes that fork faster than it looks."""
    monkeypatch.setattr(pause, "FREEZING_SECONDS", (0.0, 0.0))
    refusal = answer({"message": f"cannot pause container {ID}: OCI runtime pause failed: {why}: unknown"}, 500)
    engine, asked = saying(played, RUNNING, PAUSED), list[str]()
    plain = played.script

    def script(request: str) -> bytes:
        if request.startswith("POST"):
            asked.append(request)
            return refusal if len(asked) % 3 else plain(request)
        return plain(request)

    played.script = script
    engine.transition(ID, "pause")
    assert len(asked) == 3

    played.script = lambda request: refusal if request.startswith("POST") else plain(request)
    with pytest.raises(NotFrozen, match=why):
        engine.transition(ID, "pause")


@pytest.mark.parametrize("status", [204, 409])
def test_a_container_that_was_removed_is_gone(played: PlayedEngine, status: int) -> None:
    saying(played, RUNNING, RUNNING, NOT_THERE, status=status).remove_own_container(ID)
    with pytest.raises(EngineError, match="says that it did remove"):
        saying(played, RUNNING, status=status).remove_own_container(ID)
