"""Admission of drills, one at a time, and what is remembered of them; apart from the drill, which knows one only.

The last drill and the last good one of each target lie in the work folder, so that they are known when the run that was
rehearsed is pruned; beside that run lies its own last drill.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger

from config.target import TargetSettings
from controller import journal
from controller.catalog import Catalog
from controller.drill import FILE, Drill
from controller.engine import throwaway
from controller.engine.client import Engine
from controller.errors import Busy, ContainersForbidden, Stopping, StoreError, UnknownRun
from controller.jobs import Job
from controller.report import Key
from controller.schedule import rule_of
from controller.store import Store
from controller.targets import Target

HINT = "Set `policy.create-containers: true` in config.yaml: a drill makes a throw-away container."


class Drills:
    """The queue, and the memory. Safe to use from several threads."""

    def __init__(
        self, execute: Callable[[Drill, Job], Drill], catalog: Catalog, store: Store, folder: Path, *, allowed: bool
    ) -> None:
        self._execute, self._catalog, self._store = execute, catalog, store
        self._folder, self._allowed = folder, allowed
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="drill")
        self._lock = threading.Lock()
        self._active: dict[str, tuple[Drill, Job]] = {}
        self._remembered: dict[Key, tuple[Drill | None, Drill | None]] = {}
        self._stopping = self._swept = False

    def start(self, key: Key, trigger: str, run: str | None = None) -> Drill:
        """Queue a drill of a run, by default the last good one.

        Raises `ContainersForbidden`, `UnknownRun`, `Busy` while the target has one, `Stopping`.
        """
        if not self._allowed:
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
        """Live while it is under way, else the last one of its target; raises `UnknownRun`."""
        with self._lock:
            if drill in self._active:
                return self._active[drill][0]
            known = [one for pair in self._remembered.values() for one in pair if one and one.id == drill]
        if not known:
            raise UnknownRun(f"no drill {drill[:60]!r}", hint="Only the last one of each target is kept.")
        return known[0]

    def last(self, key: Key) -> Drill | None:
        return self._remember(key)[0]

    def last_good(self, key: Key) -> Drill | None:
        return self._remember(key)[1]

    def of_run(self, key: Key, run: str) -> Drill | None:
        """The last drill of this very run. Raises `StoreError` where it cannot be read."""
        found = journal.read(self._store.folder(key, run) / FILE)
        return Drill.model_validate(found) if found else None

    def look(self, targets: Iterable[Target], now: datetime) -> None:
        """Start what is due by `drill.schedule`: later than the last drill, or than the oldest run where there is none.

        So what was missed while nobody was there is made up for once. What cannot be started is no run of its own; the
        target's problems tell why.
        """
        for target in targets:
            if not self._allowed or target.state != "ready" or target.settings is None:
                continue
            schedule = target.settings.drill.schedule
            if schedule != "none" and self._is_due(target.key, target.settings, schedule, now):
                with suppress(Busy, UnknownRun, Stopping):
                    self.start(target.key, "schedule")

    def _is_due(self, key: Key, settings: TargetSettings, schedule: str, now: datetime) -> bool:
        rule = rule_of(key, settings.model_copy(update={"schedule": schedule}), orchestrated=False)
        since = self._since(key)
        due = rule.next(since) if rule and since else None
        return due is not None and due <= now

    def _since(self, key: Key) -> datetime | None:
        if last := self.last(key):
            return last.created
        runs = self._catalog.runs(key, states=("succeeded",), limit=10_000)
        return runs[-1].created if runs else None

    def sweep(self, engine: Engine, owner: str) -> None:
        """Once: remove the throw-away containers that this sidecar left when it died, and those of no other one."""
        with self._lock:
            swept, alive = self._swept, set(self._active)
        if swept:
            return
        for container in engine.containers():
            drill = container.labels.get(throwaway.LABEL)
            if drill and drill not in alive and container.labels.get(throwaway.OWNER) == owner:
                engine.remove_throwaway(container.id)
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
        ended = self._execute(running, job)
        self._keep(ended)
        with self._lock:
            del self._active[drill.id]
        told(ended)

    def _keep(self, drill: Drill) -> None:
        """In memory first, so that a full disk hides nothing from those who wait for it."""
        _, good = self._remember(drill.target)
        pair = (drill, drill if drill.passed else good)
        with self._lock:
            self._remembered[drill.target] = pair
        fact = drill.model_dump(mode="json")
        try:
            journal.write(self._path(drill.target), {"last": fact, "good": pair[1] and pair[1].model_dump(mode="json")})
            with suppress(UnknownRun):
                self._store.manifest(drill.target, drill.run)
                journal.write(self._store.folder(drill.target, drill.run) / FILE, fact)
        except StoreError as error:
            logger.bind(code=error.code).error("{}", error)

    def _remember(self, key: Key) -> tuple[Drill | None, Drill | None]:
        with self._lock:
            if key in self._remembered:
                return self._remembered[key]
        found: dict[str, object] = {}
        try:
            found = journal.read(self._path(key)) or {}
        except StoreError as error:
            logger.bind(code=error.code).error("{}", error)
        pair = tuple(Drill.model_validate(found[name]) if found.get(name) else None for name in ("last", "good"))
        with self._lock:
            return self._remembered.setdefault(key, (pair[0], pair[1]))

    def _path(self, key: Key) -> Path:
        return self._folder.joinpath(*key.folders).with_suffix(".json")


def told(drill: Drill) -> None:
    """The one line of a finished drill."""
    bound = logger.bind(target=str(drill.target), run=drill.run, drill=drill.id, seconds=drill.seconds)
    if drill.failure:
        failure = drill.failure
        bound.bind(code=failure.code).error("drill {}: {}. {}", drill.state, failure.message, failure.hint)
    else:
        bound.info("drill {}", drill.state)
