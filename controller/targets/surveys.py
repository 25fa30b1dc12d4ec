"""Asks the targets that nobody knows yet, a few at a time, and again those that were not ready."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from loguru import logger

from config.problems import Problem
from controller.core.errors import EngineError, SidecarError
from controller.targets.inventory import Inventory
from controller.targets.resolution import defect
from controller.targets.survey import Surveyor
from controller.targets.target import Target

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Between questions to a target that is not ready."""
NEVER = float("inf")
"""Due time of a target that is being asked."""
AT_A_TIME = 4


@dataclass(frozen=True, slots=True)
class Retry:
    """When to ask a target again."""

    due: float
    """Of `time.monotonic()`."""
    count: int = 0


class Surveys:
    """Enters each answer in the inventory. Safe to use from several threads."""

    def __init__(self, surveyor: Surveyor, inventory: Inventory) -> None:
        self._surveyor, self._inventory = surveyor, inventory
        self._lock = threading.Lock()
        self._retries: dict[tuple[str, str], Retry] = {}
        """Of the targets that are being asked, or will be again."""
        self._pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="survey")

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def look(self) -> None:
        """Ask what is pending, and again what is due."""
        now = time.monotonic()
        unknown = {
            question(target): target for target in self._inventory.targets() if target.state in ("pending", "problem")
        }
        with self._lock:
            new = {name: Retry(now) for name, target in unknown.items() if target.state == "pending"}
            self._retries = new | {name: retry for name, retry in self._retries.items() if name in unknown}
            due = {name: retry for name, retry in self._retries.items() if retry.due <= now}
            self._retries |= {name: replace(retry, due=NEVER) for name, retry in due.items()}
        for name, retry in due.items():
            self._pool.submit(self._ask, unknown[name], retry.count)

    def hurry(self) -> None:
        """Ask at once those that wait to be asked again."""
        with self._lock:
            waiting = {name: retry for name, retry in self._retries.items() if retry.due != NEVER}
            self._retries |= {name: replace(retry, due=0.0) for name, retry in waiting.items()}

    def _ask(self, target: Target, count: int) -> None:
        retry: Retry | None = None
        try:
            answer = target.with_survey(self._surveyor.survey(target.runnable()))
        except SidecarError as error:
            answer = unanswered(target, error)
            retry = Retry(time.monotonic() + RETRY_SECONDS[min(count, len(RETRY_SECONDS) - 1)], count + 1)
        except Exception as error:  # noqa: BLE001  # One target's defect must not stop the others.
            logger.opt(exception=error).error("survey of {} ended by a defect of this program", target.key)
            answer = target.with_problem(defect(target.container, "it could not be asked", error))
        is_current = self._inventory.enter(target, answer)  # Else the target is asked anew at the next look.
        with self._lock:
            self._retries.pop(question(target), None)
            if retry and is_current:
                self._retries[question(target)] = retry


def question(target: Target) -> tuple[str, str]:
    """Names a question: the same target in another container has to be asked anew."""
    return (str(target.key), target.container.id)


def unanswered(target: Target, error: SidecarError) -> Target:
    """A target that could not be asked: its own problem, unless it is the engine that is away for a while."""
    if isinstance(error, EngineError) and error.transient:
        return target
    return target.with_problem(Problem(error.code, f"container {target.container.name}", error.message, error.hint))
