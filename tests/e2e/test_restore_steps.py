"""A step of a restore that hangs is ended and undone; one that works for long is not."""

import time
from collections.abc import Iterator

import pytest

from controller.core.errors import Stalled
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.restore.apply import Applying
from controller.targets.session import Session
from strategies.plan import Argv, Restore, Run
from tests.e2e.engine_fixtures import SLEEP, container
from tests.kit.stage import image, within

pytestmark = pytest.mark.e2e

STALL_SECONDS = 2.0


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with container(image("BUSYBOX"), *SLEEP) as made:
        yield made


def applying(engine: Engine, place: str, *argv: Argv) -> Applying:
    """A restore whose steps are these commands."""
    deadline = time.monotonic() + 120
    session = Session(engine, ExecContext(place, "sh", run="r-steps", deadline=deadline, stall=STALL_SECONDS), str)
    steps = tuple(Run(each, undo=("touch", "/tmp/undone")) for each in argv)
    return Applying(session, Restore("there", steps=steps), {})


def test_a_step_that_waits_for_ever_is_ended_and_undone(engine: Engine, place: str) -> None:
    restore = applying(engine, place, ("sh", "-c", "sleep 300"))
    with pytest.raises(Stalled, match="neither moved a byte nor worked for 2 s"):
        restore.run()
    assert (restore.undone, restore.warnings) == (True, [])
    assert within(place, "ls /tmp/undone; pgrep -f 'sleep 300' || true") == "/tmp/undone"


def test_a_step_that_works_without_a_word_may_take_its_time(engine: Engine, place: str) -> None:
    busy = f'end=$(($(date +%s) + {3 * STALL_SECONDS:.0f})); while [ "$(date +%s)" -lt "$end" ]; do :; done'
    applying(engine, place, ("sh", "-c", busy)).run()
