"""What is started in one order is stopped in the opposite one, whatever goes wrong."""

import threading
import time

import pytest

from controller.app.services import Ending, Services
from controller.core import loop
from controller.core.loop import Loop


class Played:
    """A service that notes what is done to it."""

    def __init__(self, name: str, notes: list[str], *, fails: str = "") -> None:
        self.name, self.notes, self.fails, self.alive = name, notes, fails, True

    def start(self) -> None:
        self._note("start")

    def stop(self) -> None:
        self._note("stop")

    def _note(self, what: str) -> None:
        if self.fails == what:
            raise ZeroDivisionError
        self.notes.append(f"{what} {self.name}")


def test_they_stop_in_the_opposite_order_and_what_only_ends_is_not_started() -> None:
    notes: list[str] = []
    services = Services(Ending(lambda: notes.append("end")), Played("a", notes), Played("b", notes))

    services.start()
    services.stop()

    assert notes == ["start a", "start b", "stop b", "stop a", "end"]


def test_one_that_cannot_start_leaves_none_running() -> None:
    notes: list[str] = []
    services = Services(Played("a", notes), Played("b", notes, fails="start"), Played("c", notes))

    with pytest.raises(ZeroDivisionError):
        services.start()

    assert notes == ["start a", "stop a"]


def test_one_that_cannot_stop_keeps_none_of_the_others_from_it() -> None:
    notes: list[str] = []

    Services(Played("a", notes), Played("b", notes, fails="stop"), Played("c", notes)).stop()

    assert notes == ["stop c", "stop a"]


def test_all_live_until_one_has_ended_by_itself() -> None:
    first, second = Played("a", []), Played("b", [])
    services = Services(first, Ending(lambda: None), second)
    assert services.alive

    second.alive = False

    assert not services.alive
    assert services.ended == ("played",)


def test_loops_whose_steps_hang_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STOP_SECONDS", 0.5)
    hang, begun = threading.Event(), [threading.Event() for _ in range(8)]

    def step(number: int) -> None:
        begun[number].set()
        hang.wait(60)

    services = Services(*(Loop(str(number), lambda number=number: step(number), seconds=1) for number in range(8)))
    services.start()
    assert all(each.wait(15) for each in begun)
    began = time.monotonic()
    services.stop()
    assert time.monotonic() - began < 2, "half a second, and not four"
    hang.set()
