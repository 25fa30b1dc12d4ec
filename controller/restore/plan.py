"""Decides a restore: which run goes into which container, as a plan that can be shown before anything is done."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from config.secrets import Secrets
from controller.core.drill import Drill
from controller.core.errors import CommandFailed, SidecarError, TargetGone, TargetUnsuitable, UnknownRun
from controller.core.key import Key, runs_of
from controller.core.manifest import Manifest
from controller.core.run import SAFETY, Report
from controller.engine.client import Engine
from controller.engine.models import Inspected
from controller.restore.destination import Destination, Destinations
from controller.restore.room import Room, look
from controller.restore.stopping import to_stop
from controller.storage.catalog import Catalog, began
from controller.storage.source import Source, sources_of
from controller.storage.store import Store
from controller.targets.runnable import RunnableTarget
from controller.targets.scope import Scope
from controller.targets.session import Session
from controller.targets.survey import Probed, Surveyor, restoring, suitable, why_not_stopped
from controller.targets.target import Target
from strategies.base import Strategy
from strategies.plan import RESTART, Restore, RestoreRequest, Run

PRESENT_SECONDS = 60.0
"""For counting what is there, for somebody who only looks."""
UNSEEN = "unseen: nobody can tell what is there and will be replaced; with --replace it is backed up before"
UNSAVED = "no-safety-backup: what is there is replaced, and no backup is made of it before"
DEADLINE_SECONDS = 24 * 3600.0
"""After which a restore is given up; one that goes on is seen, and can be cancelled, all the time."""


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """A restore as somebody asks for it; `run` wins over `at`, and without both it is the newest good run."""

    key: Key
    run: str = ""
    at: datetime | None = None
    to: str = ""
    """A target's key, a service, or a container's name or id; the target's own container without."""
    replace: bool = False
    in_place: bool = False
    mirror: bool = False
    """What is there and not in the run goes; only with `in_place`."""
    into: str = ""
    with_passwords: bool = False
    """Roles and accounts that exist get the run's passwords."""
    drop_first: bool = False
    """Where there is no room for both, what is there is dropped before anything is loaded."""
    without_safety_backup: bool = False
    """What is replaced is not backed up before."""
    force: bool = False
    """Sessions that are in the way are ended where they would be waited for."""
    stop: tuple[str, ...] = ()
    """Services whose containers are stopped for the while."""
    accept_differences: bool = False
    """What was restored is kept, although it is not what was counted at the dump."""
    search_path: str = ""
    """Where PostgreSQL's functions look for what they name without its schema, while it is loaded."""
    by: str = ""
    """Who asks."""


@dataclass(frozen=True, slots=True)
class PreparedRestore:
    """A restore that is decided."""

    order: RestoreOrder
    manifest: Manifest
    destination: Destination
    session: Session
    restore: Restore
    sources: Mapping[str, Source]
    in_the_way: tuple[str, ...]
    beside: tuple[str, ...]
    """What is where the files came from, so that they go into a folder beside."""
    elsewhere: str
    """The options that name another place, for a message."""
    room: Room | None = None
    """None where nobody knows."""
    stops: tuple[Inspected, ...] = ()
    """What is stopped for the while, in this order."""
    drill: Drill | None = None
    """The last one that the run's target has passed."""

    @property
    def is_saved(self) -> bool:
        """Whether what is there is backed up before."""
        replaces = bool(self.in_the_way) or (self.restore.unseen and self.order.replace)
        return replaces and not self.order.without_safety_backup

    @property
    def size(self) -> int:
        """Plain bytes that are applied, which are more than there are where an artifact is read several times."""
        fed = (step.artifact for step in (*self.restore.steps, *self.restore.swap) if not isinstance(step, Run))
        return sum(self.sources[artifact].artifact.plain_size for artifact in fed)

    @property
    def present(self) -> Mapping[str, int]:
        """What is counted there now, of all artifacts together; without what nobody can count."""
        found = Counter[str]()
        for count in (self.restore.present or self.restore.counts).values():
            with suppress(SidecarError):
                found.update(self.session.count(count, PRESENT_SECONDS))
        return found

    @property
    def stored(self) -> Mapping[str, int]:
        """The same of the run."""
        found = Counter[str]()
        for artifact in self.manifest.artifacts:
            found.update(artifact.counts)
        return found


class RestorePlanner:
    """Decides restores. Holds no state of its own."""

    def __init__(
        self,
        engine: Engine,
        *,
        store: Store,
        catalog: Catalog,
        surveyor: Surveyor,
        strategies: Mapping[str, Strategy[Any]],
        secrets: Callable[[], Secrets],
        targets: Callable[[], Sequence[Target]],
        scope: Callable[[], Scope | None],
        elsewhere: Callable[[Target], RunnableTarget | None],
    ) -> None:
        self._engine, self._store, self._catalog = engine, store, catalog
        self._surveyor, self._strategies, self._secrets = surveyor, strategies, secrets
        self._destinations = Destinations(engine, targets, scope, elsewhere)
        self._targets, self._scope = targets, scope

    def choose(self, order: RestoreOrder) -> tuple[Manifest, Destination]:
        """Which run goes where; raises `UnknownRun`, `UnknownTarget`, `TargetGone`, `TargetUnsuitable`."""
        report = self._run(order)
        manifest = self._store.manifest(report.target, report.id)
        return manifest, self._destinations.choose(order.key, order.to, manifest.strategy)

    def prepare(self, order: RestoreOrder, name: str, manifest: Manifest, destination: Destination) -> PreparedRestore:
        """Ask the container, and make the plan, without changing anything; `name` is the restore's id."""
        strategy = self._strategies[manifest.strategy]
        if (order.into or order.in_place) and not strategy.into_folders:
            message = f"a run of {manifest.strategy} goes into no folder"
            raise TargetUnsuitable(message, hint="Leave `into`, `in-place` and `mirror` out.", code="no-folder")
        if order.search_path and not strategy.has_search_path:
            message = f"a restore of {manifest.strategy} knows no search path"
            raise TargetUnsuitable(message, hint="Leave --search-path out.", code="no-search-path")
        stops = to_stop(self._engine, self._scope(), order.stop, destination.container) if order.stop else ()
        sources = sources_of(manifest, self._store.folder(manifest.target, manifest.run))
        probed, session = self._probe(destination, name)
        undecided = strategy.into_folders and not (order.in_place or order.into)
        request = RestoreRequest(
            run=manifest.run,
            artifacts=tuple(source.stored for source in sources.values()),
            in_place=order.in_place or undecided,
            mirror=order.mirror,
            into=order.into or None,
            with_passwords=order.with_passwords,
            force=order.force,
            search_path=order.search_path,
            restore=name,
        )
        about = (probed.container, probed.facts, destination.target.options)
        with suitable(probed.redact):
            restore, beside = strategy.restore(*about, request), tuple[str, ...]()
            in_the_way = _in_the_way(restore, session)
            if in_the_way and undecided:
                request, beside = replace(request, in_place=False), in_the_way
                restore = strategy.restore(*about, request)
                in_the_way = _in_the_way(restore, session)
            if in_the_way and order.replace:
                request = replace(
                    request, replace=True, drop_first=order.drop_first, unsaved=order.without_safety_backup
                )
                restore = strategy.restore(*about, request)
        if order.drop_first:
            self._demand_droppable(restore, manifest)
        self._demand_restartable(restore, destination)
        room = look(session, restore, manifest.artifacts, drops=order.drop_first)
        known = room.warnings if room else ()
        unsaved = request.unsaved or (restore.unseen and order.replace and order.without_safety_backup)
        told = (*self._passed_over(order, manifest.run), *((UNSAVED,) if unsaved else ()))
        told += (UNSEEN,) if restore.unseen and not order.replace else ()
        warnings = (*told, *restore.warnings, *_notices(restore, session), *known)
        restore = replace(restore, warnings=warnings)
        elsewhere = "--to or --into" if strategy.into_folders else "--to"
        place = (manifest, destination, session, restore, sources)
        drill = self._catalog.last_drill(manifest.target, good=True)
        return PreparedRestore(order, *place, in_the_way, beside, elsewhere, room, stops, drill)

    def _demand_droppable(self, restore: Restore, manifest: Manifest) -> None:
        """Raises `TargetUnsuitable` where nothing can be dropped first, or nobody knows whether the run comes back."""
        if restore.frees is None:
            message = f"a restore of {manifest.strategy} drops nothing first"
            raise TargetUnsuitable(message, hint="Leave --drop-first out.", code="no-drop-first")
        drill = self._catalog.last_of(Drill, manifest.run)
        if drill is None or not drill.passed:
            message = f"run {manifest.run} was not drilled, so nothing is dropped for it"
            hint = f"Run `backup-sidecar drill {manifest.target} --run {manifest.run}` first."
            raise TargetUnsuitable(message, hint=hint, code="not-drilled")

    def _demand_restartable(self, restore: Restore, destination: Destination) -> None:
        """Raises `TargetUnsuitable` where the container would not come back from a restart that is part of the plan."""
        steps = (*restore.steps, *restore.swap)
        if any(isinstance(step, Run) and step.argv == RESTART for step in steps):
            inspected = self._engine.inspect(destination.container.id)
            if why := why_not_stopped(inspected):
                message = f"its server has to be started anew, and container {inspected.name} {why}"
                hint = "Restore --to another container, or by the lines of the manifest."
                raise TargetUnsuitable(message, hint=hint, code="no-restart")

    def keys_of(self, containers: Collection[Inspected]) -> set[Key]:
        """The targets in these containers."""
        ids = {container.id for container in containers}
        return {target.key for target in self._targets() if target.container.id in ids}

    def again(self, order: RestoreOrder, strategy: str, name: str, container_id: str) -> Session | None:
        """The place of a restore that is over; None once the container is no more, or another one has its place.

        Raises the engine's errors, and what `choose` does, while nothing can be run there.
        """
        try:
            self._engine.inspect(container_id)
        except TargetGone:
            return None
        destination = self._destinations.choose(order.key, order.to, strategy)
        return self._probe(destination, name)[1] if destination.container.id == container_id else None

    def _probe(self, destination: Destination, name: str) -> tuple[Probed, Session]:
        """What the container answers to the probes, and the session of the restore."""
        probed = self._surveyor.probe(destination.target, destination.container.id)
        deadline = time.monotonic() + DEADLINE_SECONDS
        known = self._secrets()
        return probed, restoring(self._engine, destination.target, probed, known, run=name, deadline=deadline)

    def _run(self, order: RestoreOrder) -> Report:
        """The run that is asked for, a safety backup only by its id; raises `UnknownRun`."""
        if order.run:
            report = self._catalog.get(order.run)
            if report.target != order.key:
                raise UnknownRun(f"run {order.run} is of {report.target}, not of {order.key}", hint="Name its target.")
            return report
        if newest := self._catalog.last_begun(order.key, order.at):
            return newest
        when = f" that began by {order.at.isoformat()}" if order.at else ""
        message, hint = f"{order.key} has no good run{when}", runs_of(self._catalog.keys())
        if deleted := [run.id for run in self._catalog.deleted() if run.target == order.key]:
            message += f", but {len(deleted)} that can be brought back"
            hint = f"`backup-sidecar undelete {max(deleted)}` brings back the newest."
        elif ahead := self._catalog.future(order.key):
            message += f", but {len(ahead)} of the future"
            hint = f"Set the clock, or name the run that is wanted; the newest is {ahead[0].id}."
        elif any(self._catalog.stored(order.key)):
            hint = f"`backup-sidecar runs {order.key}` lists those that it has; --run restores one of them."
        raise UnknownRun(message, hint=hint)

    def _passed_over(self, order: RestoreOrder, chosen: str) -> tuple[str, ...]:
        """Younger runs that nobody has named, and that count as no backup, in words."""
        if order.run:
            return ()
        since = began(self._catalog.get(chosen))
        future = {run.id for run in self._catalog.future(order.key)}
        younger = (run for run in self._catalog.stored(order.key) if run.trigger != SAFETY and since < began(run))
        doubts = ((run, "of the future" if run.id in future else run.doubt) for run in younger)
        return tuple(
            f"passed-over: run {run.id} is younger and {doubt}; --run restores it"
            for run, doubt in doubts
            if doubt and (order.at is None or began(run) <= order.at)
        )


def _in_the_way(restore: Restore, session: Session) -> tuple[str, ...]:
    return tuple(line for question in restore.occupied for line in session.in_the_way(question))


def _notices(restore: Restore, session: Session) -> Iterator[str]:
    """What the place has to say; a server that cannot answer a question has nothing to say to it."""
    for question in restore.notices:
        with suppress(CommandFailed):
            yield from session.ask(question, timeout=60).splitlines()
