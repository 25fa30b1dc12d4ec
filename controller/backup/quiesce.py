"""Holds a container still while it is read, and lets it go again whatever happens.

A fact in the journal, `<workdir>/quiesced/<container id>.json`, is written before the container is touched and removed
after it runs again, so that a process that died in between is made up for by the next one. A container that somebody
else has paused or stopped is read as it is, and stays so. What cannot be told apart: somebody else's pause or stop that
falls between our death and our next start is undone with ours.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from loguru import logger

from config.problems import Problem
from controller.core.errors import SidecarError, StoreError, TargetGone, TargetResumed
from controller.core.records import Record, Time
from controller.engine.client import Engine
from controller.engine.models import Inspected
from controller.storage import files, journal

Way = Literal["pause", "stop"]
UNDO: Mapping[Way, Literal["unpause", "start"]] = {"pause": "unpause", "stop": "start"}
ATTEMPTS, RETRY_SECONDS = 3, 1.0
"""How often letting go is tried at once, and seconds in between; after that at every look at the engine."""


class Quiesced(Record):
    """A container that is held still, as a fact."""

    container: str
    """Id."""
    name: str
    hold: Way
    run: str
    at: Time


class Quiescing:
    """The containers that are held by this process, or were by one that died. Safe to use from several threads."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self._lock = threading.Lock()
        self._held: set[str] = set()
        """Ids of the containers that runs of this process hold now."""
        self._problems: dict[str, Problem] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Containers that could not be let go."""
        with self._lock:
            return tuple(self._problems.values())

    @contextmanager
    def held(
        self,
        container_id: str,
        how: Literal["none", "pause", "stop"],
        run: str,
        deadline: float,
        *,
        throughout: bool = True,
    ) -> Iterator[None]:
        """Hold the container for as long as the context is open, for a run or a restore.

        Raises the engine's errors, and `TargetResumed` when somebody let it run meanwhile, if it has to be held
        `throughout`. Letting go raises nothing: what fails is logged, shown as a problem, and tried again at every look
        at the engine.
        """
        if how == "none":
            yield
            return
        before = self._engine.inspect(container_id)
        if before.paused or not before.running:  # By somebody else, who will let it run again.
            yield
            if throughout:
                self._demand_held(before.id, "pause" if before.paused else "stop")
            return
        fact = Quiesced(container=before.id, name=before.name, hold=how, run=run, at=datetime.now(UTC))
        with self._lock:
            self._held.add(before.id)
        try:
            journal.write(self._path(fact), fact)
            try:
                self._engine.transition(before.id, how, deadline=deadline)
                yield
                if throughout:
                    self._demand_held(before.id, how)
            finally:
                self._let_go_soon(fact)
        finally:
            with self._lock:
                self._held.discard(before.id)

    def recover(self) -> None:
        """Let go whatever no run of this process holds; never raises. For each start and each look at the engine."""
        try:
            for fact in journal.facts(self._folder, Quiesced, "container"):
                with self._lock:
                    if fact.container in self._held:
                        continue
                if error := self._let_go(fact):
                    logger.bind(code=error.code).error("{}", error)
        except StoreError as error:
            logger.bind(code=error.code).error("{}", error)

    def _let_go_soon(self, fact: Quiesced) -> None:
        for left in reversed(range(ATTEMPTS)):
            error = self._let_go(fact)
            if error is None:
                return
            if left:
                time.sleep(RETRY_SECONDS)
            else:
                logger.bind(code=error.code).error("{}", error)

    def _let_go(self, fact: Quiesced) -> SidecarError | None:
        """Undo one hold, then forget it; gives what went wrong."""
        try:
            self._undo(fact)
            files.remove(self._path(fact))
        except SidecarError as error:
            self._note(fact, error)
            return error
        with self._lock:
            self._problems.pop(fact.container, None)
        return None

    def _undo(self, fact: Quiesced) -> None:
        """Nothing is to be done where the container runs, or is gone."""
        with suppress(TargetGone):
            container = self._engine.inspect(fact.container)
            if self._is_held(container, fact.hold):
                self._engine.transition(container.id, UNDO[fact.hold])
                logger.bind(run=fact.run).info("container {} runs again", container.name)

    def _note(self, fact: Quiesced, error: SidecarError) -> None:
        message = f"could not be let run again after {fact.run}: {error.message}"
        hint = f"Run `docker {UNDO[fact.hold]} {fact.name}`; it is tried again at every look at the engine."
        with self._lock:
            self._problems[fact.container] = Problem("still-held", f"container {fact.name}", message, hint)

    def _path(self, fact: Quiesced) -> Path:
        return self._folder / f"{fact.container}.json"

    def _demand_held(self, container_id: str, how: Way) -> None:
        if not self._is_held(container := self._engine.inspect(container_id), how):
            hint = "Nothing but the sidecar should let it run while it is read."
            raise TargetResumed(f"somebody let container {container.name} run before it was read whole", hint=hint)

    @staticmethod
    def _is_held(container: Inspected, how: Way) -> bool:
        return container.paused if how == "pause" else not container.running
