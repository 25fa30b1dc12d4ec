"""Drills under way, and those that were: starting, listing, cancelling; one at a time.

The catalog keeps them, so that the last good one is known when the run that was rehearsed is pruned; beside that run
lies its own last drill, so that the catalog can be made anew.
"""

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from loguru import logger

from controller.backup.turns import Turns
from controller.core.activity import Activities, Activity
from controller.core.drill import AUTO, Drill
from controller.core.errors import Busy, Cancelled, ContainersForbidden, Stopping, StoreError, UnknownRun
from controller.core.events import Bus, DrillEnded
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.run import new_run_id
from controller.engine import drill_container
from controller.engine.client import Engine
from controller.storage import marks
from controller.storage.catalog import Catalog
from controller.storage.store import Store

HINT = "Set `policy.create-containers: true` in config.yaml: a drill makes a throw-away container."


class Drills:
    """The queue. `execute` does one drill and gives its final report without raising. Safe from several threads."""

    def __init__(
        self, execute: Callable[[Activity[Drill]], Drill], catalog: Catalog, store: Store, events: Bus, *, allowed: bool
    ) -> None:
        self._execute, self._catalog, self._store, self._events, self.allowed = execute, catalog, store, events, allowed
        self._turns, self._numbers = Turns(1), itertools.count()
        self._lock = threading.Lock()
        self._activities = Activities[Activity[Drill], Drill]()
        """By target."""
        self._stopping = self._swept = False

    def start(self, key: Key, trigger: str, run: str | None = None, *, by: str = "") -> Drill:
        """Queue a drill of a run, by default the last good one; where it is just rehearsed by itself, that is the one.

        Raises `ContainersForbidden`, `UnknownRun`, `Busy` while the target has one, `Stopping`.
        """
        if not self.allowed:
            raise ContainersForbidden("drills are not allowed here", hint=HINT)
        run = self._store.manifest(key, run).run if run else self._newest(key)
        with self._lock:
            if self._stopping:
                raise Stopping("the sidecar is shutting down", hint="Try again when it is back.")
            if other := self._activities.at(str(key)):
                if other.report.trigger == AUTO and other.report.run == run:
                    return other.report
                raise Busy(f"{key} has drill {other.id} under way", run=other.id, hint="Wait for it, or cancel it.")
            now, number = datetime.now(UTC), next(self._numbers)
            activity = Activity(Drill(id=new_run_id(now), target=key, run=run, trigger=trigger, by=by, created=now))
            self._catalog.keep(activity.report)
            self._activities.start(str(key), activity, lambda drill: self._work(drill, number))
        return activity.report

    def page(self, key: Key | None = None, *, before: str = "", limit: int = 50) -> list[Drill]:
        """As the catalog's, live."""
        return self._activities.live(self._catalog.page(Drill, key, before=before, limit=limit))

    def active(self, drill: str) -> Activity[Drill] | None:
        return self._activities.get(drill)

    def report(self, drill: str) -> Drill:
        """Live while it is under way; raises `UnknownRun`."""
        activity = self.active(drill)
        return activity.report if activity else self._catalog.drill(drill)

    @property
    def busy(self) -> bool:
        """Whether one is queued or under way."""
        return bool(self._activities.all())

    def cancel(self, trigger: str, why: str) -> None:
        """End those with this trigger; may wait for the engine."""
        for activity in self._activities.all():
            if activity.report.trigger == trigger:
                activity.cancel(why)

    def recover(self) -> None:
        """What a dead process left under way becomes `interrupted`."""
        for drill in self._catalog.unfinished(Drill):
            changes = {"state": "interrupted", "failure": Failure.interrupted(), "finished": datetime.now(UTC)}
            self._keep(drill.model_copy(update=changes))

    def sweep(self, engine: Engine, owner: str) -> None:
        """Once: remove the throw-away containers that this sidecar left when it died, and those of no other one."""
        if self._swept:
            return
        alive = {activity.id for activity in self._activities.all()}
        for container in engine.containers():
            drill = container.labels.get(drill_container.LABEL)
            if drill and drill not in alive and container.labels.get(drill_container.OWNER) == owner:
                engine.remove_own_container(container.id)
                logger.bind(container=container.name).warning("removed the throw-away container of a drill that died")
        self._swept = True

    def stop(self) -> None:
        """Take no more, cancel what is under way and wait until its container is gone, or for the next start."""
        with self._lock:
            self._stopping = True
        self._activities.stop()

    def _newest(self, key: Key) -> str:
        good = self._catalog.last_good(key)
        if good is None:
            raise UnknownRun(f"{key} has no good run to rehearse", hint="Back it up first.")
        return good.id

    def _work(self, activity: Activity[Drill], number: int) -> None:
        try:
            with self._turns.taken(number, activity.check):
                self._catalog.keep(activity.update(state="running", started=datetime.now(UTC)))
                drill = self._execute(activity)
        except Cancelled as error:  # While it was queued.
            changes = {"state": "cancelled", "failure": Failure.of(error), "finished": datetime.now(UTC)}
            drill = activity.report.model_copy(update=changes)
        self._keep(drill)
        self._activities.finish(activity, drill)
        self._events.publish(DrillEnded(drill))

    def _keep(self, drill: Drill) -> None:
        """In the catalog, and beside the manifest of its run, unless that was deleted meanwhile."""
        self._catalog.keep(drill)
        try:
            with suppress(UnknownRun):
                marks.keep_drill(self._store, drill)
        except StoreError as error:
            logger.bind(drill=drill.id, code=error.code).error("{}", error)
