"""A bus: who does something publishes what happened, and does not know who listens."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from loguru import logger

from config.problems import Problem
from controller.core.drill import Drill
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.core.run import Report


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A run has left the queue for the first time."""

    report: Report


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has ended, or never was; the report is final, and the target is free again."""

    report: Report
    cut: bool = False
    """By the end of the sidecar and by nobody else, so that it is still to be done."""


@dataclass(frozen=True, slots=True)
class RestoreEnded:
    """A restore has ended; what it still owes is another matter."""

    report: Restoration


@dataclass(frozen=True, slots=True)
class DrillEnded:
    """A drill has ended."""

    report: Drill


@dataclass(frozen=True, slots=True)
class TargetChanged:
    """A target is new, or its state or its problems are others than before."""

    key: Key
    state: str
    """`gone`: it is not listed any more."""
    container: str
    """Name."""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigReloaded:
    """The operator's words have changed, and what holds now is to be asked for anew."""


Event = TypeVar("Event")


class Bus:
    """Hands each event to its subscribers, in the order in which they came, in the thread that publishes it.

    Subscribe while the parts are put together; from then on it is safe to use from several threads.
    """

    def __init__(self) -> None:
        self._subscribers: defaultdict[type, list[Callable[[Any], None]]] = defaultdict(list)

    def subscribe(self, kind: type[Event], subscriber: Callable[[Event], None]) -> None:
        """Call `subscriber` with every event of a kind; it must not wait."""
        self._subscribers[kind].append(subscriber)

    def publish(self, event: object) -> None:
        """Never raises: a subscriber's defect is logged, and neither the others nor the publisher see it."""
        for subscriber in self._subscribers[type(event)]:
            try:
                subscriber(event)
            except Exception as error:  # noqa: BLE001  # A run must not suffer from who hears of it.
                kind = type(event).__name__
                logger.opt(exception=error).error("{}: a subscriber ended by a defect of this program", kind)
