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
    """An engine whose container runs, with its main programs one after the other, the last again."""

    def __init__(self, *programs: str) -> None:
        self.programs = list(programs)

    def inspect(self, container: str) -> Any:
        return SimpleNamespace(running=True)

    def ask(self, context: object, argv: object) -> Any:
        name = self.programs.pop(0) if len(self.programs) > 1 else self.programs[0]
        return SimpleNamespace(stdout=f"{name}\0")


class Answering(DrillAttempt):
    """What its container says when it is asked, one after the other."""

    said: list[Exception | str]

    def planned(self, container: str, rehearsal: Any) -> Any:
        if isinstance(answer := self.said.pop(0), Exception):
            raise answer
        return answer


def ready(*said: Exception | str, programs: tuple[str, ...] = ("postgres",)) -> Any:
    key, run = Key(project="shop", service="db"), new_run_id(datetime.now(UTC))
    drill = Drill(id=run, target=key, run=run, trigger="cli", created=datetime.now(UTC))
    parts = SimpleNamespace(secrets=lambda: SimpleNamespace(redact=str), engine=Starting(*programs))
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


def test_what_a_server_lacks_that_is_only_being_prepared_the_next_one_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the first server of MariaDB's image, before its script has given root its rights."""
    unfit = TargetUnsuitable("root may not make databases", hint="", code="no-right")
    assert ready(unfit, unfit, "the restore", programs=("bash", "bash", "mariadbd")) == "the restore"

    with pytest.raises(Unsupported):
        ready(unfit, unfit, "the restore", programs=("bash", "mariadbd"))

    monkeypatch.setattr(attempt, "SETTLING_SECONDS", -1.0)
    with pytest.raises(Unsupported):
        ready(unfit, "the restore", programs=("bash",))
