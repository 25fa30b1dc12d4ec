"""Keeps the list of targets equal to what the engine runs: list, stream, list again.

An event only means "look again": the whole picture is rebuilt and compared, so a burst costs one look, and a lost event
costs at most the time to the next resync.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

from loguru import logger

from config.loading import Loaded
from config.problems import Problem
from controller.core.errors import EngineError, SidecarError, UnknownTarget
from controller.core.key import Key
from controller.engine.client import Engine
from controller.engine.events import EventStream
from controller.targets.discovery import Strategies, find, nearest
from controller.targets.scope import Scope, find_scope
from controller.targets.survey import Surveyor
from controller.targets.target import LIVE, Target

RESYNC = 60.0
"""Seconds after which the list is made anew without any event."""
SETTLE = 0.1
"""Seconds in which a burst of events is taken for one."""
PULSE = 5.0
"""Seconds between two questions whether the engine is there, and those that it has for an answer."""
RECONNECT = (0.1, 0.5, 1.0, 2.0)
"""Seconds between attempts at an engine that is away; it is near, and nothing can be backed up without it."""
RETRY = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between questions to a target that is not ready."""
NEVER = float("inf")
"""Due time of a target that is being asked."""
SURVEYORS = 4


@dataclass(frozen=True, slots=True)
class Retry:
    """When to ask a target again."""

    due: float
    count: int


class Watch:
    """Two threads: one reads events, one looks. Everything else asks `targets`."""

    def __init__(
        self,
        engine: Engine,
        surveyor: Surveyor,
        loaded: Callable[[], Loaded],
        strategies: Strategies,
        *,
        remembered: Callable[[Key], bool],
        looked: Callable[[], None],
    ) -> None:
        """`remembered` tells whether a key has a good run: then it stays listed, as `absent`, without a container.

        `looked` is called whenever the list was made anew, so that the engine must be there.
        """
        self._engine, self._surveyor, self._loaded = engine, surveyor, loaded
        self._strategies, self._remembered, self._looked = strategies, remembered, looked
        self._own_id = engine.own_container_id()
        self._lock = threading.Lock()
        self._targets: dict[str, Target] = {}
        self._retries: dict[tuple[str, str], Retry] = {}
        self._scope: Scope | None = None
        self._dirty, self._stopping = threading.Event(), threading.Event()
        self._stream: EventStream | None = None
        self._streaming = self._listed = False
        self._answered = 0.0
        """When the engine last answered the looking thread."""
        self._troubles: set[tuple[str, str]] = set()
        """Codes and hints of what is wrong with the engine, as they were logged."""
        self.reconnects = 0
        """How often events flowed again after they had been cut."""
        self._pool = ThreadPoolExecutor(SURVEYORS, thread_name_prefix="survey")
        self._threads = [
            threading.Thread(target=loop, name=loop.__name__, daemon=True) for loop in (self._listen, self._look_on)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._dirty.set()
        if self._stream is not None:
            self._stream.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.join(timeout=2)

    def wake(self) -> None:
        """Look again now: the operator's words have changed."""
        self._dirty.set()

    @property
    def watching(self) -> bool:
        """Events are flowing, the list was made since, and the engine still answers."""
        return self._streaming and self._listed and time.monotonic() - self._answered < 2 * PULSE

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the sidecar itself lacks."""
        return self._scope.problems if self._scope else ()

    @property
    def own_address(self) -> str | None:
        """IPv4 on the network shared with the orchestrator, as of the last look."""
        return self._scope.address if self._scope else None

    @property
    def scope(self) -> Scope | None:
        """Where the sidecar is and looks, as of the last look; None before it."""
        return self._scope

    def targets(self) -> list[Target]:
        """By key."""
        with self._lock:
            return [self._targets[key] for key in sorted(self._targets)]

    def target(self, key: Key) -> Target:
        """Raises `UnknownTarget` with the nearest keys."""
        with self._lock:
            if target := self._targets.get(str(key)):
                return target
            known = list(self._targets)
        raise UnknownTarget(f"no target {key}", hint=nearest(key, known))

    def look(self) -> None:
        """Make the list anew. Raises `EngineError`."""
        listed = self._engine.containers()
        loaded = self._loaded()
        scope = find_scope(loaded, self._own_id, listed, self._engine.networks())
        found = find(loaded, scope, listed, self._strategies)
        for problem in scope.problems:
            if self._scope is None or problem not in self._scope.problems:
                logger.bind(code=problem.code).error("{}", problem)
        with self._lock:
            before, self._scope = self._targets, scope
            kept = {key: carry_over(before.get(key), target) for key, target in found.items()}
            gone = {key: target for key, target in before.items() if key not in kept and self._remembered(target.key)}
            self._targets = kept | {key: as_absent(target) for key, target in gone.items()}
            asked = {ticket(target) for target in kept.values() if target.state in ("pending", "problem")}
            self._retries = {asking: retry for asking, retry in self._retries.items() if asking in asked}
            now = list(self._targets.values())
        self._tell(before, now)
        self._survey([target for target in now if target.state == "pending"])

    def _tell(self, before: dict[str, Target], now: list[Target]) -> None:
        """One line for each target that is new or changed."""
        for target in now:
            old = before.get(str(target.key))
            if old is None or (old.state, old.problems) != (target.state, target.problems):
                told(target)
        for key in before.keys() - {str(target.key) for target in now}:
            logger.bind(target=key).info("target left")

    def _survey(self, targets: list[Target]) -> None:
        for target in targets:
            with self._lock:
                if ticket(target) in self._retries:
                    continue
                self._retries[ticket(target)] = Retry(NEVER, 0)
            self._pool.submit(self._survey_one, target, 0)

    def _survey_one(self, target: Target, count: int) -> None:
        """Ask one target and enter the answer, unless the container was replaced meanwhile."""
        key = str(target.key)
        retry: Retry | None = None
        try:
            answer = target.with_survey(self._surveyor.survey(target.runnable()))
        except SidecarError as error:
            answer = unanswered(target, error)
            retry = Retry(time.monotonic() + RETRY[min(count, len(RETRY) - 1)], count + 1)
        except Exception as error:  # noqa: BLE001  # One target's defect must not stop the others.
            logger.opt(exception=error).error("survey of {} ended by a defect of this program", key)
            problem = Problem(
                "internal-error", f"container {target.container.name}", type(error).__name__, "Please report it."
            )
            answer = target.with_problem(problem)
        with self._lock:
            current = self._targets.get(key)
            self._retries.pop(ticket(target), None)
            if (
                current is None
                or current.state == "absent"
                or (ticket(current), current.resolved) != (ticket(target), target.resolved)
            ):
                self._dirty.set()
                return
            self._targets[key] = answer
            if retry:
                self._retries[ticket(target)] = retry
        if (current.state, current.problems) != (answer.state, answer.problems):
            told(answer)

    def _ask_again(self) -> None:
        """Ask those targets whose time has come."""
        with self._lock:
            now = time.monotonic()
            due = [(self._targets[key], retry) for (key, _), retry in self._retries.items() if retry.due <= now]
            for target, retry in due:
                self._retries[ticket(target)] = Retry(NEVER, retry.count)
        for target, retry in due:
            self._pool.submit(self._survey_one, target, retry.count)

    def _look_on(self) -> None:
        """The loop of the looking thread."""
        next_resync, failures = 0.0, 0
        while not self._stopping.is_set():
            self._dirty.wait(timeout=0.5)
            try:
                if self._dirty.is_set() or time.monotonic() >= next_resync:
                    self._dirty.clear()
                    self.look()
                    self._looked()
                    self._listed, self._answered, failures = True, time.monotonic(), 0
                    next_resync = self._answered + RESYNC
                    self._stopping.wait(SETTLE)
                elif time.monotonic() - self._answered >= PULSE:
                    self._engine.ping(PULSE)
                    self._answered = time.monotonic()
            except SidecarError as error:
                self._listed = False
                self._lost(error, failures)
                failures += 1
                self._dirty.set()
            self._recovered()
            self._ask_again()

    def _listen(self) -> None:
        """The loop of the listening thread."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                with closing(self._engine.events()) as stream:
                    self._subscribed(stream)
                    for _ in stream:
                        self._dirty.set()
            except SidecarError as error:
                self._streaming = False
                self._engine.renegotiate()
                failures = 0 if time.monotonic() - began > RECONNECT[-1] else failures
                self._lost(error, failures)
                failures += 1

    def _subscribed(self, stream: EventStream) -> None:
        """Look again, since nobody knows what happened before."""
        if self._stream is not None and not self._streaming:
            self.reconnects += 1
        self._stream, self._streaming = stream, True
        self._dirty.set()

    def _lost(self, error: SidecarError, failures: int) -> None:
        """Log each thing that is wrong with the engine, once, and wait before the next attempt."""
        if self._stopping.is_set():
            return
        if (trouble := (error.code, error.hint)) not in self._troubles:
            self._troubles.add(trouble)
            logger.bind(code=error.code).warning("cannot watch the engine: {}", error)
        self._stopping.wait(RECONNECT[min(failures, len(RECONNECT) - 1)])

    def _recovered(self) -> None:
        """Once all is well again: say so, and ask at once those targets that wait to be asked."""
        if not self._troubles or not self.watching:
            return
        self._troubles.clear()
        logger.bind(reconnects=self.reconnects).info("the engine is being watched again")
        with self._lock:
            for asking, retry in self._retries.items():
                if retry.due != NEVER:
                    self._retries[asking] = replace(retry, due=0.0)


def unanswered(target: Target, error: SidecarError) -> Target:
    """A target that could not be asked: its own problem, unless it is the engine that is away for a while."""
    if isinstance(error, EngineError) and error.transient:
        return target
    return target.with_problem(Problem(error.code, f"container {target.container.name}", error.message, error.hint))


def ticket(target: Target) -> tuple[str, str]:
    """Names a survey: the same target in another container has to be asked anew."""
    return (str(target.key), target.container.id)


def carry_over(old: Target | None, new: Target) -> Target:
    """What was found out before still holds while container and settings are the same."""
    if old is None or new.state != "pending" or old.container.state not in LIVE:
        return new
    if (
        old.container.id != new.container.id
        or not old.resolved
        or old.resolved != new.resolved
        or old.state not in ("ready", "problem")
    ):
        return new
    return replace(new, state=old.state, problems=old.problems, survey=old.survey)


def as_absent(target: Target) -> Target:
    return replace(target, state="absent", problems=(), survey=None)


def told(target: Target) -> None:
    """Log a target's state, and its problems with their remedies."""
    bound = logger.bind(target=str(target.key), state=target.state, container=target.container.name)
    bound.info("target {} is {}", target.key, target.state)
    for problem in target.problems:
        bound.bind(code=problem.code).log("ERROR" if problem.severity == "error" else "WARNING", "{}", problem)
