"""The thread beneath schedule and prune."""

import sys
import threading
import time

from loguru import logger

from controller.core.loop import Loop


def test_a_step_is_taken_again_and_again_and_at_once_when_woken() -> None:
    taken = threading.Semaphore(0)
    loop = Loop("test", taken.release, seconds=60)
    loop.start()
    assert taken.acquire(timeout=5)
    assert not taken.acquire(timeout=0.1)
    loop.wake()
    assert taken.acquire(timeout=5)
    loop.stop()
    assert not loop.alive


def test_a_defect_is_told_and_does_not_end_the_loop() -> None:
    steps, told = threading.Semaphore(0), list[str]()
    sink = logger.add(lambda message: told.append(message.record["message"]))

    def step() -> None:
        steps.release()
        raise ZeroDivisionError

    loop = Loop("test", step, seconds=0.01)
    loop.start()
    assert all(steps.acquire(timeout=5) for _ in range(3))
    assert loop.alive
    loop.stop()
    logger.remove(sink)
    assert "test: a step ended by a defect of this program" in told


def test_stop_waits_for_the_step_under_way() -> None:
    ended = threading.Event()
    begun = threading.Event()

    def step() -> None:
        begun.set()
        time.sleep(0.2)
        ended.set()

    loop = Loop("test", step, seconds=60)
    loop.start()
    begun.wait(5)
    loop.stop()
    assert ended.is_set()


def test_a_loop_that_ends_all_the_same_is_dead_and_says_why() -> None:
    loop = Loop("test", lambda: sys.exit("enough"), seconds=60)
    loop.start()
    loop._thread.join(5)
    assert not loop.alive
    assert loop.defect == "SystemExit: enough"
