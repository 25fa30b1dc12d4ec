"""A running sidecar: its parts, who hears of what, and the order in which everything starts and stops."""

from collections.abc import Sequence
from functools import cached_property

from loguru import logger

from config.loading import Loaded
from controller.app import last_good, log, log_lines
from controller.app.outward import Outward
from controller.app.recovery import recover
from controller.app.services import Ending, Services
from controller.core.errors import StoreError
from controller.core.events import ConfigReloaded, DrillEnded, RestoreEnded, RunBegan, RunEnded, TargetChanged
from controller.core.loop import Loop
from controller.drill.disk import free_room
from controller.upkeep.rehearsals import Rehearsals


class Sidecar(Outward):
    """The parts, put together and going."""

    def __init__(self, loaded: Loaded) -> None:
        """Takes the store; raises `StoreError` when it cannot be used."""
        super().__init__(loaded)
        self.store.acquire()
        self._subscribe()

    def _subscribe(self) -> None:
        """Who hears of what, in this order."""
        self.events.subscribe(TargetChanged, log_lines.target_changed)
        self.events.subscribe(RunEnded, log_lines.run_ended)
        self.events.subscribe(RestoreEnded, log_lines.restore_ended)
        self.events.subscribe(DrillEnded, log_lines.drill_ended)
        self.events.subscribe(RunEnded, self.pruner.run_ended)
        self.events.subscribe(RunEnded, self.scheduler.run_ended)
        self.events.subscribe(RunBegan, self.attendance.run_began)
        self.events.subscribe(RunBegan, self.rehearsals.run_began)
        self.pruner.elsewhere = self.copier
        self.events.subscribe(RunEnded, self.copier.wake)
        self.events.subscribe(ConfigReloaded, self.copier.reloaded)
        for channel in self.channels:
            channel.listen(self.events)
        self.events.subscribe(ConfigReloaded, self._take_over)

    @cached_property
    def rehearsals(self) -> Rehearsals:
        return Rehearsals(
            self.drills,
            self.catalog,
            self.store,
            self.targets,
            wanted=self.loaded.settings.drills.auto,
            busy=lambda: bool(self.jobs.active() or self.restores.busy),
            free=free_room,
            clock=self.clock,
        )

    @cached_property
    def services(self) -> Services:
        """From the last to the first, as they stop: no new work, what is under way ended and told, the store let go."""
        server = self.server(lambda: self.alive)
        return Services(
            Ending(self.store.release),
            Ending(self.catalog.close),
            Ending(self.engine.close),
            self.watch,
            server,
            *self.channels,
            Ending(self.jobs.stop),
            Ending(self.drills.stop),
            Ending(self.restores.stop),
            Loop("schedule", self.scheduler.look, seconds=1),
            Loop("restore", self.restores.look, seconds=5),
            Loop("drill", self.drill_schedule.look, seconds=5),
            Loop("rehearsal", self.rehearsals.look, seconds=5),
            Loop("prune", self.pruner.look, seconds=10),
            Loop("promises", self.expectations.look, seconds=2),
            Loop("orchestrator", self.attendance.look, seconds=10),
            Loop("last-known", self.forgetting.look, seconds=2),
            Loop("reload", self.reloader.look, seconds=1),
            Loop("scrub", self.verifier.look, seconds=5),
            Ending(self.copier.stop),
            Loop("copies", self.copier.look, seconds=2),
            Ending(server.stop),
            Ending(self.jobs.refuse),
        )

    def open(self) -> None:
        """Clear up after a predecessor, then start; raises `SidecarError`."""
        recover(self)
        self.services.start()
        if not self.loaded.refused:
            self._keep()

    def close(self) -> None:
        self.services.stop()

    def _take_over(self, _: ConfigReloaded) -> None:
        """What keeps something of its own takes over the operator's new words."""
        settings = self.loaded.settings
        log.configure(settings.log.level, settings.log.format, self.redact)
        self.jobs.resize(settings.policy.max_concurrent_runs)
        self.watch.wake()
        self._keep()

    def _keep(self) -> None:
        """Should the configuration be broken at a later start, this one holds."""
        try:
            last_good.keep(self.loaded, self.workdir)
        except StoreError as error:
            logger.bind(code=error.code).warning("the configuration is not kept for a later start: {}", error)

    @property
    def alive(self) -> bool:
        return self.services.alive

    @property
    def dead(self) -> Sequence[str]:
        return self.services.dead
