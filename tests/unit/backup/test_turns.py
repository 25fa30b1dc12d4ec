"""Turns of runs, and what holds a run up."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from config.target import Commands, TargetSettings
from controller.backup.jobs import Job, Turns
from controller.core.errors import Cancelled, TimedOut
from controller.core.key import Key
from controller.engine.models import Inspected
from controller.targets.survey import hindrance
from tests.kit.stage import eventually

KEY = Key(project="shop", service="db")
RUNS = Inspected.from_json({"Id": "c1", "State": {"Status": "running", "Running": True}})
PAUSED, RESTARTING = replace(RUNS, paused=True), replace(RUNS, restarting=True)


def nothing() -> None:
    """Nothing stands against waiting on."""


def test_turns_are_taken_in_the_order_of_the_numbers() -> None:
    turns, order, waiting = Turns(1), list[int](), set[int]()

    def take(number: int) -> None:
        with turns.taken(number, lambda: waiting.add(number)):
            order.append(number)

    with ThreadPoolExecutor(20) as pool, turns.taken(-1, nothing):
        for number in sorted(range(20), key=lambda number: number * 7 % 20):
            pool.submit(take, number)
        eventually(lambda: len(waiting) == 20, what="all of them wait")
        assert order == []
    assert order == list(range(20))


def test_never_more_turns_than_the_limit_are_taken() -> None:
    turns, lock, going, most = Turns(2), threading.Lock(), 0, 0

    def take(number: int) -> None:
        nonlocal going, most
        with turns.taken(number, nothing):
            with lock:
                going += 1
                most = max(most, going)
            time.sleep(0.03)
            with lock:
                going -= 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(take, range(20)))
    assert most == 2


def test_an_owner_has_at_most_all_turns_but_one() -> None:
    """Later ones of another owner go before his; with a single turn he may have that one."""
    turns, began, go = Turns(3), queue.Queue[tuple[str, int]](), threading.Event()

    def take(number: int, owner: str) -> None:
        with turns.taken(number, nothing, owner):
            began.put((owner, number))
            go.wait(15)

    with ThreadPoolExecutor(6) as pool:
        for number in range(4):
            pool.submit(take, number, "greedy")
        assert {began.get(timeout=15), began.get(timeout=15)} == {("greedy", 0), ("greedy", 1)}
        with pytest.raises(queue.Empty):
            began.get(timeout=0.5)
        pool.submit(take, 4, "other")
        assert began.get(timeout=15) == ("other", 4)
        turns.resize(1)
        go.set()
        assert {began.get(timeout=15), began.get(timeout=15)} == {("greedy", 2), ("greedy", 3)}


def test_who_gives_up_waiting_holds_up_nobody() -> None:
    turns, tired = Turns(1), threading.Event()

    def give_up() -> None:
        tired.set()
        raise TimedOut("tired")

    with turns.taken(0, nothing):
        with pytest.raises(TimedOut), turns.taken(1, give_up):
            pass
        later = threading.Thread(target=lambda: turns.taken(2, nothing).__enter__(), daemon=True)
        later.start()
    later.join(2)
    assert tired.is_set()
    assert not later.is_alive()


def test_a_cancelled_run_stops_waiting_for_its_turn_and_for_its_next_attempt() -> None:
    turns = Turns(1)

    def ended(wait: Callable[[Job], None]) -> float:
        job, began = Job(KEY, "api", turns, 1), time.monotonic()
        threading.Timer(0.1, job.cancel).start()
        with pytest.raises(Cancelled):
            wait(job)
        return time.monotonic() - began

    def turn(job: Job) -> None:
        with job.turn():
            pass

    with turns.taken(0, nothing):
        assert ended(turn) < 2
        assert ended(lambda job: job.wait(60, "retry")) < 2


def test_a_run_is_over_time_from_its_first_turn_on() -> None:
    job = Job(KEY, "api")
    job.check()
    deadline = job.begin(0.05)
    assert job.begin(60) == deadline
    time.sleep(0.06)
    with pytest.raises(TimedOut):
        job.check()


def test_what_holds_a_run_up() -> None:
    settings = TargetSettings()
    assert hindrance(RUNS, settings) is None
    assert hindrance(PAUSED, settings) == "paused"
    assert hindrance(RESTARTING, settings) == "restarting"


def test_what_is_only_read_while_it_is_paused_may_be_paused_already() -> None:
    quiet = TargetSettings(quiesce="pause")
    assert hindrance(PAUSED, quiet) is None
    assert hindrance(RESTARTING, quiet) == "restarting"
    assert hindrance(PAUSED, quiet.model_copy(update={"quiesce": "stop"})) == "paused"
    assert hindrance(PAUSED, quiet.model_copy(update={"commands": Commands(pre=("sync",))})) == "paused"
