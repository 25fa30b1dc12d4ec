"""Decides a restore: which run goes into which container, as a plan that can be shown before anything is done."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from config.secrets import Secrets
from controller.core.errors import TargetGone, TargetUnsuitable, UnknownRun, UnknownTarget
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.core.run import Report
from controller.engine.client import Engine
from controller.engine.models import Listed
from controller.storage.catalog import Catalog, began
from controller.storage.source import Source, sources_of
from controller.storage.store import Store
from controller.targets.runnable import RunnableTarget
from controller.targets.scope import Scope
from controller.targets.session import Session
from controller.targets.survey import Probed, Surveyor, restoring, suitable
from controller.targets.target import LIVE, Target
from strategies.base import Strategy
from strategies.plan import Restore, RestoreRequest

DEADLINE_SECONDS = 24 * 3600.0
"""After which a restore is given up; one that goes on is seen, and can be cancelled, all the time."""


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """A restore as somebody asks for it; `run` wins over `at`, and without both it is the newest good run."""

    key: Key
    run: str = ""
    at: datetime | None = None
    to: str = ""
    """Name or id of the container; the target's own without."""
    replace: bool = False
    in_place: bool = False
    into: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a restore goes."""

    container: Listed
    target: RunnableTarget
    """Whose settings hold there: the run's own target, or one of the container."""
    targets: tuple[Target, ...]
    """Those whose container it is."""


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
    elsewhere: str
    """The options that name another place, for a message."""


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
    ) -> None:
        self._engine, self._store, self._catalog = engine, store, catalog
        self._surveyor, self._strategies, self._secrets = surveyor, strategies, secrets
        self._targets, self._scope = targets, scope

    def choose(self, order: RestoreOrder) -> tuple[Manifest, Destination]:
        """Which run goes where; raises `UnknownRun`, `UnknownTarget`, `TargetGone`, `TargetUnsuitable`."""
        report = self._run(order)
        manifest = self._store.manifest(report.target, report.id)
        return manifest, self._destination(order, manifest.strategy)

    def prepare(self, order: RestoreOrder, name: str, manifest: Manifest, destination: Destination) -> PreparedRestore:
        """Ask the container, and make the plan, without changing anything; `name` is the restore's id."""
        strategy = self._strategies[manifest.strategy]
        if (order.into or order.in_place) and not strategy.into_folders:
            message = f"a run of {manifest.strategy} goes into no folder"
            raise TargetUnsuitable(message, hint="Leave `into` and `in-place` out.", code="no-folder")
        sources = sources_of(manifest, self._store.folder(manifest.target, manifest.run))
        probed, session = self._probe(destination, name)
        request = RestoreRequest(
            run=manifest.run,
            artifacts=tuple(source.stored for source in sources.values()),
            in_place=order.in_place,
            into=order.into or None,
        )
        about = (probed.container, probed.facts, destination.target.options)
        with suitable():
            restore = strategy.restore(*about, request)
            in_the_way = tuple(line for question in restore.occupied for line in session.in_the_way(question))
            if in_the_way and order.replace:
                restore = strategy.restore(*about, replace(request, replace=True))
        restore = replace(restore, warnings=(*self._passed_over(order, manifest.run), *restore.warnings))
        elsewhere = "--to or --into" if strategy.into_folders else "--to"
        return PreparedRestore(order, manifest, destination, session, restore, sources, in_the_way, elsewhere)

    def again(self, order: RestoreOrder, strategy: str, name: str, container_id: str) -> Session | None:
        """The place of a restore that is over; None once the container is no more, or another one has its place.

        Raises the engine's errors, and what `choose` does, while nothing can be run there.
        """
        try:
            self._engine.inspect(container_id)
        except TargetGone:
            return None
        destination = self._destination(order, strategy)
        return self._probe(destination, name)[1] if destination.container.id == container_id else None

    def _probe(self, destination: Destination, name: str) -> tuple[Probed, Session]:
        """What the container answers to the probes, and the session of the restore."""
        probed = self._surveyor.probe(destination.target, destination.container.id)
        deadline = time.monotonic() + DEADLINE_SECONDS
        known = self._secrets()
        return probed, restoring(self._engine, destination.target, probed, known, run=name, deadline=deadline)

    def _run(self, order: RestoreOrder) -> Report:
        """The run that is request, a safety backup only by its id; raises `UnknownRun`."""
        if order.run:
            report = self._catalog.get(order.run)
            if report.target != order.key:
                raise UnknownRun(f"run {order.run} is of {report.target}, not of {order.key}", hint="Name its target.")
            return report
        if newest := self._catalog.last_begun(order.key, order.at):
            return newest
        when = f" that began by {order.at.isoformat()}" if order.at else ""
        message, hint = f"{order.key} has no good run{when}", "`backup-sidecar runs` lists them."
        if ahead := self._catalog.future(order.key):
            message += f", but {len(ahead)} of the future"
            hint = f"Set the clock, or name the run that is wanted; the newest is {ahead[0].id}."
        raise UnknownRun(message, hint=hint)

    def _passed_over(self, order: RestoreOrder, chosen: str) -> tuple[str, ...]:
        """Younger runs that nobody has named, and that are no good ones, in words."""
        if order.run:
            return ()
        since = began(self._catalog.get(chosen))
        younger = [run for run in self._catalog.stored(order.key) if not run.good and since < began(run)]
        return tuple(
            f"passed-over: run {run.id} is younger and {'damaged' if run.damaged else 'suspicious'}; --run restores it"
            for run in younger
            if order.at is None or began(run) <= order.at
        )

    def _destination(self, order: RestoreOrder, strategy: str) -> Destination:
        """The container and the settings; raises `UnknownTarget`, `TargetGone`, `TargetUnsuitable`."""
        everything = self._targets()
        own = next((target for target in everything if target.key == order.key), None)
        container = self._container(order.to) if order.to else own.container if own else None
        if container is None:
            hint = "Name a container with --to, or write the dump to a file with --to-file."
            raise UnknownTarget(f"no target {order.key}", hint=hint)
        if container.state not in LIVE or (own and own.state == "absent" and not order.to):
            raise TargetGone(f"{order.key} has no running container", hint="Start it, or name another with --to.")
        there = tuple(target for target in everything if target.container.id == container.id)
        for target in (own, *there):
            if target and (described := target.described) and target.strategy == strategy:
                return Destination(container, described, there)
        hint = f"Restore into a target whose strategy is {strategy}, or take --to-file."
        raise TargetUnsuitable(
            f"the run was made by {strategy}, and neither {order.key} nor {container.name} has that strategy now",
            hint=hint,
            code="other-strategy",
        )

    def _container(self, name: str) -> Listed:
        """A container in scope by its name or id; raises `TargetGone` for any other."""
        scope = self._scope()
        for container in self._engine.containers():
            if name == container.name or (len(name) >= 12 and container.id.startswith(name)):
                if scope and scope.reaches(container):
                    return container
                hint = "A restore goes only where a backup could come from: same network, same project."
                raise TargetUnsuitable(f"container {name} is not in scope", hint=hint, code="not-in-scope")
        raise TargetGone(f"there is no container {name[:80]!r}", hint="`docker ps` lists them.")
