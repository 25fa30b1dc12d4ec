"""The composition root: build the parts, start the loops, stop them in order."""

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version

from loguru import logger

from config.loading import Loaded
from config.problems import ConfigurationError, Problem
from controller.api.server import Server
from controller.app import folders, log, privileges
from controller.app.identity import identity
from controller.app.reload import Reloader
from controller.app.startup import CATALOG, CONFIGURATION, OK, SOCKET, checked, config_folder, configuration
from controller.backup.anomaly import HISTORY
from controller.backup.executor import Executor
from controller.backup.jobs import Job, Jobs
from controller.backup.orphans import Orphans
from controller.backup.quiesce import Quiescing
from controller.core.errors import SidecarError, Stopping, StoreError
from controller.core.events import Bus, RunEnded
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.loop import Loop
from controller.core.run import Report
from controller.drill.attempt import Driller
from controller.drill.drills import Drills
from controller.engine.client import Engine
from controller.outbound.heartbeat import Heartbeat
from controller.outbound.pings import Pings
from controller.restore.plan import Decider
from controller.restore.restores import Restores
from controller.storage import disk, journal, marks
from controller.storage.catalog import GONE
from controller.storage.leases import Leases
from controller.storage.rebuild import opened
from controller.storage.store import Store
from controller.targets.helper_containers import Helpers
from controller.targets.survey import Surveyor
from controller.targets.target import Target
from controller.targets.watch import Watch
from controller.upkeep.drill_schedule import DrillSchedule
from controller.upkeep.expectations import Expectations
from controller.upkeep.pruner import Pruner
from controller.upkeep.scheduler import Scheduler
from controller.upkeep.verifier import Verifier
from strategies import discover

GRACE = 10.0
"""Seconds that runs under way get to end by themselves when the sidecar is stopped."""


class Sidecar:
    """The parts of a running sidecar, and what API, CLI and heartbeat may ask of them."""

    def __init__(self, loaded: Loaded) -> None:
        """Raises `StoreError` when the store cannot be used."""
        settings, paths = loaded.settings, loaded.settings.paths
        self._reloader = Reloader(loaded, config_folder(), checked, self._reloaded)
        strategies = discover()
        self.store = Store(paths.artifacts)
        self.store.acquire()
        self._passing = disk.passing(paths.artifacts)
        self.catalog = opened(paths.workdir / CATALOG)
        self.engine = Engine(pool=settings.policy.max_concurrent_runs + 8)
        self.identity = identity(paths.workdir)
        self._helpers = Helpers(self.engine, self.identity, allowed=settings.policy.create_containers)
        surveyor = Surveyor(self.engine, strategies, self._helpers)
        self._quiescing = Quiescing(self.engine, paths.workdir / "quiesced")
        self._orphans = Orphans(self.engine)
        executor = Executor(
            self.engine,
            self.store,
            surveyor,
            self.target,
            lambda: self.loaded.secrets,
            self._quiescing,
            self._orphans,
            self._good,
        )
        self.events = Bus()
        self.jobs = Jobs(executor, self.catalog, settings.policy.max_concurrent_runs, self.events)
        self.events.subscribe(RunEnded, lambda event: finished(event.report))
        self.watch = Watch(
            self.engine, surveyor, lambda: self.loaded, strategies, remembered=self._is_remembered, looked=self._looked
        )
        self.leases = Leases()
        self.pruner = Pruner(
            self.store,
            self.catalog,
            self.leases,
            self.targets,
            paths.workdir,
            safety=lambda: self.loaded.settings.policy.safety,
            clock=now,
        )
        self.events.subscribe(RunEnded, lambda event: self.pruner.ended(event.report))
        decider = Decider(
            self.engine,
            store=self.store,
            catalog=self.catalog,
            surveyor=surveyor,
            strategies=strategies,
            secrets=lambda: self.loaded.secrets,
            targets=self.targets,
            scope=lambda: self.watch.scope,
        )
        self.restores = Restores(decider, self.jobs, self.leases, self.catalog, paths.workdir / "restores")
        orchestrated = settings.orchestrator is not None
        self._scheduler = Scheduler(
            self.targets, self.start, self.jobs.record, paths.workdir, orchestrated=orchestrated, clock=now
        )
        self.events.subscribe(RunEnded, lambda event: self._ended(event.report))
        self.expectations = Expectations(
            self.targets, self.catalog, self.jobs, paths.workdir, orchestrated=lambda: orchestrated, clock=now
        )
        self.verifier = Verifier(
            self.store,
            self.catalog,
            self.leases,
            paths.workdir,
            settings=lambda: self.loaded.settings.verify,
            give_way=self._give_way,
            clock=now,
        )
        driller = Driller(
            self.engine,
            self.store,
            surveyor,
            self._helpers,
            strategies,
            self.target,
            lambda: self.loaded.secrets,
            self.leases,
            settings.drills,
            self.identity,
        )
        allowed = settings.policy.create_containers
        self.drills = Drills(driller, self.catalog, self.store, allowed=allowed)
        self._loops = (
            Loop("schedule", self._scheduler.look, seconds=1),
            Loop("restore", self.restores.look, seconds=5),
            Loop("drill", DrillSchedule(self.drills, self.catalog, self.targets, clock=now).look, seconds=5),
            Loop("prune", self.pruner.look, seconds=10),
            Loop("promises", self.expectations.look, seconds=2),
            Loop("reload", self._reloader.look, seconds=1),
            Loop("scrub", self.verifier.look, seconds=5),
        )
        self.instance = f"{os.uname().nodename}-{os.getpid()}"
        self.version = version("backup-sidecar")
        self.socket = paths.workdir / SOCKET
        self._server = Server(self)
        self._heartbeat = Heartbeat(self) if settings.orchestrator else None
        self._pings = Pings(self)

    @property
    def loaded(self) -> Loaded:
        """What holds now."""
        return self._reloader.loaded

    def redact(self, text: str) -> str:
        """Take the secrets that hold now out of a text."""
        return self.loaded.secrets.redact(text)

    def targets(self) -> list[Target]:
        """By key."""
        return self.watch.targets()

    def target(self, key: Key) -> Target:
        """Raises `UnknownTarget`."""
        return self.watch.target(key)

    def start(self, key: Key, trigger: str) -> Job:
        """Queue a run; raises `UnknownTarget`, `TargetUnsuitable`, `TargetGone`, `Busy`."""
        self.target(key).demand_runnable()
        return self.jobs.start(key, trigger)

    def next_due(self, key: Key) -> datetime | None:
        """By its schedule; None for never."""
        return self._scheduler.next_due(key)

    @property
    def watching(self) -> bool:
        return self.watch.watching

    @property
    def reconnects(self) -> int:
        return self.watch.reconnects

    @property
    def alive(self) -> bool:
        is_announced = self._heartbeat is None or self._heartbeat.alive
        return self.watch.alive and is_announced and self._pings.alive and all(loop.alive for loop in self._loops)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What concerns no single target."""
        own = (self._passing,) if self._passing else ()
        set_aside = journal.problems(self.loaded.settings.paths.workdir)
        return (*self._reloader.problems, *own, *set_aside, *self.watch.problems, *self._quiescing.problems)

    def ping_counts(self) -> Mapping[tuple[str, str], int]:
        """By check and outcome."""
        return self._pings.counts()

    @property
    def own_address(self) -> str | None:
        """The IPv4 address on `scope.external`; None when the sidecar is not there."""
        return self.watch.own_address

    def open(self) -> None:
        """Clear up after a predecessor, then start the loops."""
        if self._passing:
            logger.bind(code=self._passing.code).warning("{}", self._passing)
        self._recover()
        self.watch.start()
        self._server.start()
        self._pings.start()
        for loop in self._loops:
            loop.start()
        if self._heartbeat:
            self._heartbeat.start()

    def close(self) -> None:
        """Stop in order: no new work, runs ended or cancelled, and reported, lease ended, store released."""
        until = time.monotonic() + GRACE
        self.jobs.refuse()
        self._server.stop()
        for loop in self._loops:
            loop.stop()
        self.restores.stop()
        self.drills.stop()
        self.jobs.stop(grace=max(0.0, until - time.monotonic()))
        self._pings.stop()
        if self._heartbeat:
            self._heartbeat.stop()
        self.watch.stop()
        self.engine.close()
        self.catalog.close()
        self.store.release()

    def _recover(self) -> None:
        """What a dead process left: partial runs go, manifests are entered, other runs under way are `interrupted`."""
        for run in self.store.sweep():
            logger.bind(run=run).warning("removed the partial run of a process that died")
        present = set()
        for found in self.store.manifests():
            if isinstance(found, StoreError):
                logger.bind(code=found.code).error("{}", found)
            else:
                present.add(found.run)
                self.catalog.adopt(marks.report(self.store, found))
                if drill := marks.drill(self.store, found):
                    self.catalog.adopt_drill(drill)
                self.pruner.finish(found)
        for run in self.catalog.reconcile(present):
            logger.bind(run=run, code="damaged").error("run {} is lost: {}", run, GONE)
        self.restores.recover()
        self.drills.recover()
        for report in self.catalog.unfinished(Report):
            self._orphans.add(report.target, report.id)
            interrupted = {"state": "interrupted", "failure": Failure.interrupted(), "finished": datetime.now(UTC)}
            ended = report.model_copy(update=interrupted)
            self.catalog.keep(ended)
            self._scheduler.owe(report)
            self._pings.ended(ended)

    def _looked(self) -> None:
        """The engine is there, and the list is new: make up for what could not be undone or ended before."""
        self._quiescing.recover()
        self._orphans.end_all(self.targets())
        self.drills.sweep(self.engine, self.identity)
        self._helpers.sweep()

    def _reloaded(self) -> None:
        """What keeps something of its own takes over the operator's new words."""
        settings = self.loaded.settings
        log.configure(settings.log.level, settings.log.format, self.redact)
        self.jobs.resize(settings.policy.max_concurrent_runs)
        self.watch.wake()

    def _ended(self, report: Report) -> None:
        """What was cut by the end of the sidecar, and by nobody else, is still to be done."""
        if report.state == "cancelled" and self.jobs.stopping:
            self._scheduler.owe(report)

    def _good(self, key: Key) -> list[Report]:
        return self.catalog.good(key, limit=HISTORY)

    def _give_way(self) -> None:
        """Wait while a run needs the disk; raises `Stopping`."""
        while self.jobs.active() and not self.jobs.stopping:
            time.sleep(0.2)
        if self.jobs.stopping:
            raise Stopping("the sidecar is shutting down")

    def _is_remembered(self, key: Key) -> bool:
        return self.catalog.last_good(key) is not None


def now() -> datetime:
    """The clock of schedules and retention."""
    return datetime.now(UTC)


def finished(report: Report) -> None:
    """The one line of a finished run."""
    facts = {
        "target": str(report.target),
        "run": report.id,
        "state": report.state,
        "seconds": report.seconds,
        "size": report.size,
    }
    bound = logger.bind(**facts, proof=report.proof)
    if report.failure:
        bound.bind(code=report.failure.code).error(
            "run {}: {}. {}", report.state, report.failure.message, report.failure.hint
        )
    elif report.suspicious:
        hint = f"Look at it; `backup-sidecar accept {report.id}` takes it for good."
        bound.warning("run succeeded, but it is suspicious: {}. {}", "; ".join(report.suspicious), hint)
    else:
        bound.info("run {}", report.state)


def serve(stop: threading.Event) -> int:
    """Run until `stop` is set; gives the exit code."""
    try:
        loaded = configuration()
    except ConfigurationError as error:
        sys.stderr.writelines(f"{problem.severity}: {problem}\n" for problem in error.problems)
        return CONFIGURATION
    paths = loaded.settings.paths
    privileges.drop((paths.workdir, paths.artifacts, paths.tmp))
    log.configure(loaded.settings.log.level, loaded.settings.log.format, loaded.secrets.redact)
    loaded = replace(loaded, problems=(*loaded.problems, *folders.problems(loaded)))
    for problem in loaded.problems:
        logger.bind(code=problem.code).log(problem.severity.upper(), "{}", problem)
    if reason := privileges.closed_socket():
        logger.bind(code="engine-refused").error("{}", reason)
    if reason or any(problem.severity == "error" for problem in loaded.problems):
        return CONFIGURATION
    try:
        sidecar = Sidecar(loaded)
        sidecar.open()
    except SidecarError as error:
        logger.bind(code=error.code).error("{}", error)
        return CONFIGURATION
    logger.bind(id=sidecar.identity, version=sidecar.version, port=loaded.settings.api.port).info("sidecar is serving")
    stop.wait()
    sidecar.close()
    logger.info("sidecar has stopped")
    return OK
