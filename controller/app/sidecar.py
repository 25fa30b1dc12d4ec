"""A running sidecar: its parts, who hears of what, and the order in which everything starts and stops."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from importlib.metadata import version

from config.loading import Loaded
from config.problems import Problem
from controller.api.server import Server
from controller.app import checks, log, log_lines
from controller.app.parts import Parts
from controller.app.recovery import recover
from controller.app.services import Ending, Services
from controller.app.startup import SOCKET
from controller.core.events import ConfigReloaded, DrillEnded, RestoreEnded, RunBegan, RunEnded, TargetChanged
from controller.core.loop import Loop
from controller.outbound.heartbeat import Heartbeat
from controller.outbound.pings import Pings
from controller.targets.target import Target


class Sidecar(Parts):
    """The parts, put together and going."""

    def __init__(self, loaded: Loaded) -> None:
        """Takes the store; raises `StoreError` when it cannot be used."""
        super().__init__(loaded)
        self.instance = f"{os.uname().nodename}-{os.getpid()}"
        self.version = version("backup-sidecar")
        self.socket = loaded.settings.paths.workdir / SOCKET
        self.store.acquire()
        self._heartbeat = Heartbeat(self) if loaded.settings.orchestrator else None
        self._pings = Pings(self)
        self._subscribe()

    def _subscribe(self) -> None:
        """Who hears of what, in this order."""
        self.events.subscribe(RunBegan, self._pings.run_began)
        self.events.subscribe(TargetChanged, log_lines.target_changed)
        self.events.subscribe(RunEnded, log_lines.run_ended)
        self.events.subscribe(RestoreEnded, log_lines.restore_ended)
        self.events.subscribe(DrillEnded, log_lines.drill_ended)
        self.events.subscribe(RunEnded, self.pruner.run_ended)
        self.events.subscribe(RunEnded, self.scheduler.run_ended)
        self.events.subscribe(RunEnded, self._pings.run_ended)
        self.events.subscribe(ConfigReloaded, self._take_over)

    @cached_property
    def services(self) -> Services:
        """From the last to the first, as they stop: no new work, what is under way ended and told, the store let go."""
        server = Server(self)
        return Services(
            Ending(self.store.release),
            Ending(self.catalog.close),
            Ending(self.engine.close),
            self.watch,
            server,
            *((self._heartbeat,) if self._heartbeat else ()),
            self._pings,
            Ending(self.jobs.stop),
            Ending(self.drills.stop),
            Ending(self.restores.stop),
            Loop("schedule", self.scheduler.look, seconds=1),
            Loop("restore", self.restores.look, seconds=5),
            Loop("drill", self.drill_schedule.look, seconds=5),
            Loop("prune", self.pruner.look, seconds=10),
            Loop("promises", self.expectations.look, seconds=2),
            Loop("reload", self.reloader.look, seconds=1),
            Loop("scrub", self.verifier.look, seconds=5),
            Ending(server.stop),
            Ending(self.jobs.refuse),
        )

    def open(self) -> None:
        """Clear up after a predecessor, then start; raises `SidecarError`."""
        recover(self)
        self.services.start()

    def close(self) -> None:
        self.services.stop()

    def _take_over(self, _: ConfigReloaded) -> None:
        """What keeps something of its own takes over the operator's new words."""
        settings = self.loaded.settings
        log.configure(settings.log.level, settings.log.format, self.redact)
        self.jobs.resize(settings.policy.max_concurrent_runs)
        self.watch.wake()

    @property
    def problems(self) -> Sequence[Problem]:
        """What concerns no single target."""
        return checks.problems(self)

    @property
    def alive(self) -> bool:
        return self.services.alive

    @property
    def watching(self) -> bool:
        return self.watch.watching

    @property
    def reconnects(self) -> int:
        return self.watch.reconnects

    @property
    def own_address(self) -> str | None:
        return self.inventory.own_address

    def next_due(self, target: Target) -> datetime | None:
        return self.scheduler.next_due(target)

    def ping_counts(self) -> Mapping[tuple[str, str], int]:
        return self._pings.counts()
