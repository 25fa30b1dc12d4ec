"""Admission of drills, one at a time; apart from the drill, which knows one only.

The catalog keeps them, so that the last good one is known when the run that was rehearsed is pruned; beside that run
lies its own last drill, so that the catalog can be made anew.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

from loguru import logger

from controller.backup.jobs import Job
from controller.core.drill import Drill
from controller.core.errors import Busy, ContainersForbidden, Stopping, StoreError, UnknownRun
from controller.core.failure import Failure
from controller.core.key import Key
from controller.engine import drill_container
from controller.engine.client import Engine
from controller.storage import marks
from controller.storage.catalog import Catalog
from controller.storage.store import Store

HINT = "Set `policy.create-containers: true` in config.yaml: a drill makes a throw-away container."


class Drills:
    """The queue, and the memory. Safe to use from several threads."""

    def __init__(
        self, execute: Callable[[Drill, Job], Drill], catalog: Catalog, store: Store, *, allowed: bool
    ) -> None:
        self._execute, self._catalog, self._store, self.allowed = execute, catalog, store, allowed
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="drill")
        self._lock = threading.Lock()
        self._active: dict[str, tuple[Drill, Job]] = {}
        self._stopping = self._swept = False

    def start(self, key: Key, trigger: str, run: str | None = None) -> Drill:
        """Queue a drill of a run, by default the last good one.

        Raises `ContainersForbidden`, `UnknownRun`, `Busy` while the target has one, `Stopping`.
        """
        if not self.allowed:
            raise ContainersForbidden("drills are not allowed here", hint=HINT)
        run = self._store.manifest(key, run).run if run else self._newest(key)
        with self._lock:
            if self._stopping:
                raise Stopping("the sidecar is shutting down", hint="Try again when it is back.")
            if under_way := next((drill for drill, _ in self._active.values() if drill.target == key), None):
                raise Busy(f"{key} has drill {under_way.id} under way", run=under_way.id, hint="Wait for it.")
            job = Job(key, trigger)
            drill = Drill(id=job.report.id, target=key, run=run, trigger=trigger, created=datetime.now(UTC))
            self._active[drill.id] = (drill, job)
            self._pool.submit(self._work, drill, job)
        return drill

    def get(self, drill: str) -> Drill:
        """Live while it is under way; raises `UnknownRun`."""
        with self._lock:
            if drill in self._active:
                return self._active[drill][0]
        return self._catalog.drill(drill)

    def last(self, key: Key) -> Drill | None:
        """The newest one that has ended."""
        return self._catalog.last_drill(key)

    def last_good(self, key: Key) -> Drill | None:
        return self._catalog.last_drill(key, good=True)

    def recover(self) -> None:
        """What a dead process left under way becomes `interrupted`."""
        for drill in self._catalog.unfinished(Drill):
            changes = {"state": "interrupted", "failure": Failure.interrupted(), "finished": datetime.now(UTC)}
            self._keep(drill.model_copy(update=changes))

    def sweep(self, engine: Engine, owner: str) -> None:
        """Once: remove the throw-away containers that this sidecar left when it died, and those of no other one."""
        with self._lock:
            swept, alive = self._swept, set(self._active)
        if swept:
            return
        for container in engine.containers():
            drill = container.labels.get(drill_container.LABEL)
            if drill and drill not in alive and container.labels.get(drill_container.OWNER) == owner:
                engine.remove_own_container(container.id)
                logger.bind(container=container.name).warning("removed the throw-away container of a drill that died")
        self._swept = True

    def stop(self) -> None:
        """Take no more, cancel what is under way and wait until its container is gone."""
        with self._lock:
            self._stopping = True
            jobs = [job for _, job in self._active.values()]
        for job in jobs:
            job.cancel()
        self._pool.shutdown(wait=True)

    def _newest(self, key: Key) -> str:
        good = self._catalog.last_good(key)
        if good is None:
            raise UnknownRun(f"{key} has no good run to rehearse", hint="Back it up first.")
        return good.id

    def _work(self, drill: Drill, job: Job) -> None:
        running = drill.model_copy(update={"state": "running", "started": datetime.now(UTC)})
        with self._lock:
            self._active[drill.id] = (running, job)
        self._keep(running)
        ended = self._execute(running, job)
        self._keep(ended)
        with self._lock:
            del self._active[drill.id]
        told(ended)

    def _keep(self, drill: Drill) -> None:
        """In the catalog, and, once it has ended, beside the manifest of its run."""
        self._catalog.keep(drill)
        if drill.final:
            try:
                with suppress(UnknownRun):  # Its run was deleted meanwhile.
                    marks.keep_drill(self._store, drill)
            except StoreError as error:
                logger.bind(drill=drill.id, code=error.code).error("{}", error)


def told(drill: Drill) -> None:
    """The one line of a finished drill."""
    bound = logger.bind(target=str(drill.target), run=drill.run, drill=drill.id, seconds=drill.seconds)
    if drill.failure:
        failure = drill.failure
        bound.bind(code=failure.code).error("drill {}: {}. {}", drill.state, failure.message, failure.hint)
    else:
        bound.info("drill {}", drill.state)
