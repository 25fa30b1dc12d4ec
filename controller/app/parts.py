"""The parts of the program, each made of those that it needs when it is first asked for; nothing is started here.

`serve` uses all of them, a command without `serve` a few; tests and benchmarks put others in the place of some.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from config.loading import Loaded
from config.secrets import Secrets
from controller.app.identity import identity
from controller.app.program import CATALOG, config_folder, env_files
from controller.app.reload import Reloader
from controller.app.startup import checked
from controller.backup.adoption import Adoption
from controller.backup.anomaly import HISTORY
from controller.backup.executor import Executor
from controller.backup.jobs import Job, Jobs
from controller.backup.orphans import Orphans
from controller.backup.quiesce import Quiescing
from controller.core.errors import Stopping, Tampered
from controller.core.events import Bus
from controller.core.key import Key
from controller.core.run import Report
from controller.drill.attempt import Driller
from controller.drill.drills import Drills
from controller.engine.client import Engine
from controller.restore.plan import RestorePlanner
from controller.restore.restores import Restores
from controller.storage import access
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.storage.own_marks import OwnMarks, told
from controller.storage.rebuild import opened
from controller.storage.store import Store
from controller.targets.discovery import Strategies, elsewhere
from controller.targets.helper_containers import Helpers
from controller.targets.holders import Holders
from controller.targets.inventory import Inventory
from controller.targets.resolution import Resolution
from controller.targets.scope import Scope
from controller.targets.survey import Surveyor
from controller.targets.surveys import Surveys
from controller.targets.target import Target
from controller.targets.watch import Watch
from controller.upkeep.attendance import Attendance
from controller.upkeep.clock_watch import ClockWatch
from controller.upkeep.drill_schedule import DrillSchedule
from controller.upkeep.expectations import Expectations
from controller.upkeep.forgetting import Forgetting
from controller.upkeep.pruner import Aging, Pruner
from controller.upkeep.scheduler import Scheduler
from controller.upkeep.verifier import Verifier
from strategies import discover


class Parts:
    """To be asked from one thread until everything is made. A part raises `StoreError` where its files do."""

    def __init__(self, loaded: Loaded) -> None:
        """What the operator wrote, at the start; what holds later is `loaded`."""
        self._at_start = loaded
        self.events, self.leases = Bus(), Leases()

    @cached_property
    def reloader(self) -> Reloader:
        return Reloader(self._at_start, config_folder(), checked, self.events, env_files())

    @property
    def loaded(self) -> Loaded:
        """What holds now."""
        return self.reloader.loaded

    @property
    def workdir(self) -> Path:
        return self.loaded.settings.paths.workdir

    def secrets(self) -> Secrets:
        """Those that hold now."""
        return self.loaded.secrets

    def redact(self, text: str) -> str:
        """Take the secrets that hold now out of a text."""
        return self.secrets().redact(text)

    def clock(self) -> datetime:
        """Of schedules and retention."""
        return datetime.now(UTC)

    @cached_property
    def identity(self) -> str:
        return identity(self.workdir)

    @cached_property
    def strategies(self) -> Strategies:
        return discover()

    @cached_property
    def engine(self) -> Engine:
        return Engine(pool=self.loaded.settings.policy.max_concurrent_runs + 8)

    @cached_property
    def store(self) -> Store:
        own_marks = OwnMarks(self.workdir, self.known, self.tampered)
        return Store(self.loaded.settings.paths.artifacts, lambda: self.pruner, own_marks)

    def known(self, run: str) -> Report | None:
        """What the catalog has of a run."""
        return self.catalog.known(run)

    def tampered(self, error: Tampered, run: str) -> None:
        """A run is not what was published, which is told as soon as anybody sees it."""
        told(self.catalog, error, run)

    @cached_property
    def unreadable(self) -> Sequence[Path]:
        """The store's folders that this process may not enter, as of the start."""
        return tuple(access.unreadable(self.store.root))

    @cached_property
    def catalog(self) -> Catalog:
        return opened(self.workdir / CATALOG, self.clock)

    # --- targets ------------------------------------------------------------------------------------------------------

    @cached_property
    def helpers(self) -> Helpers:
        return Helpers(self.engine, self.identity, allowed=self.loaded.settings.policy.create_containers)

    @cached_property
    def surveyor(self) -> Surveyor:
        return Surveyor(self.engine, self.strategies, self.helpers)

    @cached_property
    def resolution(self) -> Resolution:
        return Resolution(self.strategies, self.holders)

    @cached_property
    def holders(self) -> Holders:
        return Holders(self.workdir)

    @cached_property
    def inventory(self) -> Inventory:
        return Inventory(self.catalog.has_good, self.is_forgotten, self.events, self.catalog.last_good)

    def is_forgotten(self, key: Key) -> bool:
        """Whether somebody has let go of a target that is gone."""
        return self.forgetting.is_forgotten(key)

    @cached_property
    def surveys(self) -> Surveys:
        return Surveys(self.surveyor, self.inventory)

    @cached_property
    def watch(self) -> Watch:
        return Watch(
            self.engine, self.resolution, self.inventory, self.surveys, loaded=lambda: self.loaded, looked=self.make_up
        )

    def targets(self) -> Sequence[Target]:
        """By key."""
        return self.inventory.targets()

    def target(self, key: Key) -> Target:
        """Raises `UnknownTarget`, and `EngineUnreachable` where there was no look at the engine yet."""
        return self.inventory.target(key)

    def scope(self) -> Scope | None:
        """Where the sidecar is and looks; None before the first look."""
        return self.inventory.scope

    def make_up(self) -> None:
        """The engine is there, and the list is new: undo and end what could not be before."""
        self.quiescing.recover()
        self.orphans.end_all(self.targets())
        self.drills.sweep(self.engine, self.identity)
        self.helpers.sweep()

    # --- backups ------------------------------------------------------------------------------------------------------

    @cached_property
    def quiescing(self) -> Quiescing:
        return Quiescing(self.engine, self.workdir / "quiesced")

    @cached_property
    def orphans(self) -> Orphans:
        return Orphans(self.engine)

    @cached_property
    def executor(self) -> Executor:
        return Executor(
            self.engine, self.store, self.surveyor, self.target, self.secrets, self.quiescing, self.orphans, self.good
        )

    def good(self, key: Key) -> Sequence[Report]:
        """The last good runs of a target that a new one is compared with, the newest first."""
        return self.catalog.good(key, limit=HISTORY, safety=False)

    @cached_property
    def jobs(self) -> Jobs:
        limit = self.loaded.settings.policy.max_concurrent_runs
        return Jobs(self.executor, self.catalog, limit, self.events, clock=self.clock)

    def start(self, key: Key, trigger: str, by: str = "") -> Job:
        """Queue a run; raises `UnknownTarget`, `TargetUnsuitable`, `TargetGone`, `Busy`."""
        self.target(key).runnable()
        return self.jobs.start(key, trigger, by=by)

    # --- restores and drills ------------------------------------------------------------------------------------------

    @cached_property
    def planner(self) -> RestorePlanner:
        return RestorePlanner(
            self.engine,
            store=self.store,
            catalog=self.catalog,
            surveyor=self.surveyor,
            strategies=self.strategies,
            secrets=self.secrets,
            targets=self.targets,
            scope=self.scope,
            elsewhere=lambda target: elsewhere(self.loaded, target, self.strategies),
        )

    @cached_property
    def restores(self) -> Restores:
        folder = self.workdir / "restores"
        parts = (self.planner, self.jobs, self.leases, self.catalog, folder)
        return Restores(*parts, quiescing=self.quiescing, events=self.events)

    @cached_property
    def driller(self) -> Driller:
        asking = (self.engine, self.store, self.surveyor, self.helpers, self.strategies, self.target, self.secrets)
        return Driller(*asking, self.leases, self.loaded.settings.drills, self.identity)

    @cached_property
    def drills(self) -> Drills:
        allowed = self.loaded.settings.policy.create_containers
        return Drills(self.driller, self.catalog, self.store, self.events, allowed=allowed)

    @cached_property
    def adoption(self) -> Adoption:
        return Adoption(
            self.store,
            self.catalog,
            self.engine,
            self.strategies,
            self.surveyor,
            self.target,
            self.secrets,
            self.go_on,
            self.pruner.make_way,
            self.clock,
        )

    # --- upkeep -------------------------------------------------------------------------------------------------------

    @cached_property
    def attendance(self) -> Attendance:
        return Attendance(lambda: self.loaded.settings.orchestrator, self.catalog, self.workdir, clock=self.clock)

    @cached_property
    def scheduler(self) -> Scheduler:
        return Scheduler(
            self.targets,
            self.start,
            self.jobs.record,
            self.workdir,
            orchestrated=lambda: self.attendance.is_awaited,
            clock=self.clock,
        )

    @cached_property
    def drill_schedule(self) -> DrillSchedule:
        return DrillSchedule(self.drills, self.catalog, self.targets, clock=self.clock)

    @cached_property
    def clock_watch(self) -> ClockWatch:
        return ClockWatch(self.workdir, self.clock)

    @cached_property
    def pruner(self) -> Pruner:
        return Pruner(
            self.store,
            self.catalog,
            self.leases,
            self.targets,
            self.clock_watch,
            policy=lambda: self.loaded.settings.policy,
            aging=self.aging,
            clock=self.clock,
        )

    def aging(self) -> Sequence[Aging]:
        """The targets that are gone and forgotten, whose runs still age."""
        return self.forgetting.aging()

    @cached_property
    def forgetting(self) -> Forgetting:
        return Forgetting(
            self.targets,
            self.catalog,
            self.store,
            self.workdir,
            let_go=self.let_go,
            delete=lambda run: self.pruner.delete(run, force=True),
            clock=self.clock,
        )

    def let_go(self, key: Key) -> None:
        """Of a target that is gone and forgotten nothing is listed, and nothing expected."""
        self.inventory.let_go(key)
        self.expectations.let_go(key)

    @cached_property
    def expectations(self) -> Expectations:
        return Expectations(
            self.targets,
            self.catalog,
            self.jobs,
            self.workdir,
            orchestrated=lambda: self.attendance.promise,
            clock=self.clock,
        )

    @cached_property
    def verifier(self) -> Verifier:
        return Verifier(
            self.store,
            self.catalog,
            self.leases,
            self.workdir,
            settings=lambda: self.loaded.settings.verify,
            give_way=self.give_way,
            clock=self.clock,
        )

    def give_way(self) -> None:
        """Wait while a run needs the disk; raises `Stopping`."""
        while self.jobs.active() and not self.jobs.stopping:
            time.sleep(0.2)
        self.go_on()

    def go_on(self) -> None:
        """Raises `Stopping` when that is no use any more."""
        if self.jobs.stopping:
            raise Stopping("the sidecar is shutting down", hint="Try again when it is back.")
