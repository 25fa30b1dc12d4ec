"""A drill waits for the server of its container, which starts, stops and starts again when it is new."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from controller.core.activity import Activity
from controller.core.drill import Drill
from controller.core.errors import TargetNotReady, TargetUnsuitable, Unsupported
from controller.core.key import Key
from controller.core.run import new_run_id
from controller.drill import attempt
from controller.drill.attempt import DrillAttempt


class Starting:
    """An engine whose container runs, with a server as its main program."""

    def inspect(self, container: str) -> Any:
        return SimpleNamespace(running=True)

    def ask(self, context: object, argv: object) -> Any:
        return SimpleNamespace(stdout="postgres\0")


class Answering(DrillAttempt):
    """What its container says when it is asked, one after the other."""

    said: list[Exception | str]

    def planned(self, container: str, rehearsal: Any) -> Any:
        if isinstance(answer := self.said.pop(0), Exception):
            raise answer
        return answer


def ready(*said: Exception | str) -> Any:
    key, run = Key(project="shop", service="db"), new_run_id(datetime.now(UTC))
    drill = Drill(id=run, target=key, run=run, trigger="cli", created=datetime.now(UTC))
    parts = SimpleNamespace(secrets=lambda: SimpleNamespace(redact=str), engine=Starting())
    one = Answering(parts, Activity(drill), float("inf"))  # type: ignore[arg-type]
    one.said = list(said)
    return one.ready("c", SimpleNamespace(strategy=SimpleNamespace(serves=True)))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "READY_CHECK_SECONDS", 0.0)


def test_a_server_that_starts_is_waited_for() -> None:
    not_yet = TargetNotReady("the server does not accept connections yet")
    refused = TargetUnsuitable("the server refused: no such role", hint="", code="refused")
    assert ready(not_yet, refused, not_yet, "the restore") == "the restore"


def test_what_no_time_mends_ends_the_drill() -> None:
    with pytest.raises(Unsupported):
        ready(TargetUnsuitable("has no pg_dump", hint="Install it.", code="no-client"), "the restore")
