"""Decides a restore: which run goes into which container, as a plan that can be shown before anything is done."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from config.secrets import Secrets
from controller.core.errors import CommandFailed, TargetGone, TargetUnsuitable, UnknownRun
from controller.core.key import Key, runs_of
from controller.core.manifest import Manifest
from controller.core.run import SAFETY, Report
from controller.engine.client import Engine
from controller.restore.destination import Destination, Destinations
from controller.restore.room import Room, look
from controller.storage.catalog import Catalog, began
from controller.storage.source import Source, sources_of
from controller.storage.store import Store
from controller.targets.scope import Scope
from controller.targets.session import Session
from controller.targets.survey import Probed, Surveyor, restoring, suitable
from controller.targets.target import Target
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
    """A target's key, a service, or a container's name or id; the target's own container without."""
    replace: bool = False
    in_place: bool = False
    into: str = ""
    with_passwords: bool = False
    """Roles and accounts that exist get the run's passwords."""


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
    room: Room | None = None
    """None where nobody knows."""


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
        self._destinations = Destinations(engine, targets, scope)

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
            raise TargetUnsuitable(message, hint="Leave `into` and `in-place` out.", code="no-folder")
        sources = sources_of(manifest, self._store.folder(manifest.target, manifest.run))
        probed, session = self._probe(destination, name)
        request = RestoreRequest(
            run=manifest.run,
            artifacts=tuple(source.stored for source in sources.values()),
            in_place=order.in_place,
            into=order.into or None,
            with_passwords=order.with_passwords,
            restore=name,
        )
        about = (probed.container, probed.facts, destination.target.options)
        with suitable():
            restore = strategy.restore(*about, request)
            in_the_way = tuple(line for question in restore.occupied for line in session.in_the_way(question))
            if in_the_way and order.replace:
                restore = strategy.restore(*about, replace(request, replace=True))
        room = look(session, restore.room, manifest.artifacts) if restore.room else None
        known = room.warnings if room else ()
        warnings = (*self._passed_over(order, manifest.run), *restore.warnings, *_notices(restore, session), *known)
        restore = replace(restore, warnings=warnings)
        elsewhere = "--to or --into" if strategy.into_folders else "--to"
        return PreparedRestore(order, manifest, destination, session, restore, sources, in_the_way, elsewhere, room)

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
        """The run that is request, a safety backup only by its id; raises `UnknownRun`."""
        if order.run:
            report = self._catalog.get(order.run)
            if report.target != order.key:
                raise UnknownRun(f"run {order.run} is of {report.target}, not of {order.key}", hint="Name its target.")
            return report
        if newest := self._catalog.last_begun(order.key, order.at):
            return newest
        when = f" that began by {order.at.isoformat()}" if order.at else ""
        message, hint = f"{order.key} has no good run{when}", runs_of(self._catalog.keys())
        if ahead := self._catalog.future(order.key):
            message += f", but {len(ahead)} of the future"
            hint = f"Set the clock, or name the run that is wanted; the newest is {ahead[0].id}."
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


def _notices(restore: Restore, session: Session) -> Iterator[str]:
    """What the place has to say; a server that cannot answer a question has nothing to say to it."""
    for question in restore.notices:
        with suppress(CommandFailed):
            yield from session.ask(question, timeout=60).splitlines()
