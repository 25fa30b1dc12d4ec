"""The parts that others see: what the API answers, and what goes out by itself."""

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from config.problems import Problem
from controller.api.application import build
from controller.api.exports import Exports
from controller.api.metrics import Metrics
from controller.api.routes.artifacts import artifact_routes
from controller.api.routes.contract import contract_routes
from controller.api.routes.drills import drill_routes
from controller.api.routes.health import health_routes
from controller.api.routes.pruning import prune_routes
from controller.api.routes.restores import restore_routes
from controller.api.routes.runs import run_routes
from controller.api.routes.status import status_routes
from controller.api.routes.targets import target_routes
from controller.api.server import Server
from controller.app import checks
from controller.app.parts import Parts
from controller.app.startup import SOCKET
from controller.outbound.heartbeat import Heartbeat
from controller.outbound.pings import Pings
from controller.targets.target import Target
from controller.views.announcement import Announcer
from controller.views.targets import TargetViews


class Outward(Parts):
    """To be asked like the other parts."""

    @cached_property
    def instance(self) -> str:
        """Names this process."""
        return f"{os.uname().nodename}-{os.getpid()}"

    @cached_property
    def version(self) -> str:
        return version("backup-sidecar")

    @cached_property
    def socket(self) -> Path:
        """Where the API's unix socket belongs."""
        return self.loaded.settings.paths.workdir / SOCKET

    @property
    def watching(self) -> bool:
        """The list of containers is current."""
        return self.watch.watching

    @property
    def reconnects(self) -> int:
        """How often the engine was watched again after it had been away."""
        return self.watch.reconnects

    @property
    def own_address(self) -> str | None:
        """IPv4 on the network shared with the orchestrator; None when the sidecar is not there."""
        return self.inventory.own_address

    @property
    def problems(self) -> Sequence[Problem]:
        """What concerns no single target."""
        return checks.problems(self)

    def next_due(self, target: Target) -> datetime | None:
        """By its schedule; None for never."""
        return self.scheduler.next_due(target)

    @cached_property
    def views(self) -> TargetViews:
        return TargetViews(lambda: self.loaded.secrets, self.catalog, self.expectations, self.next_due)

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics(
            self.targets,
            self.catalog,
            self.expectations,
            self.events,
            next_due=self.next_due,
            problems=lambda: self.problems,
            pings=self.pings.counts,
            reconnects=lambda: self.reconnects,
        )

    def server(self, alive: Callable[[], bool]) -> Server:
        """`alive`: whether everything lives that goes on."""
        exports = Exports(self.targets, self.start, self.jobs, self.store, self.leases)
        guarded = (
            drill_routes(self.target, self.drills, self.catalog, self.store, redact=self.redact),
            contract_routes(
                self.targets,
                self.target,
                self.catalog,
                self.leases,
                exports,
                respond_within=lambda: self.loaded.settings.api.respond_within,
            ),
            target_routes(self.targets, self.target, self.views, self.jobs, self.start),
            run_routes(self.jobs, self.catalog, self.store, self.leases, self.verifier),
            artifact_routes(self.jobs, self.store, self.leases, exports),
            prune_routes(self.targets, self.target, self.pruner, self.jobs),
            restore_routes(self.restores, self.jobs),
            status_routes(self.expectations, self.catalog, lambda: self.problems, self.redact, self.metrics),
        )
        health = health_routes(alive, lambda: self.watching, self.expectations)
        application = build(self.version, health, guarded, self.redact)
        settings = self.loaded.settings.api
        address = (settings.host, settings.port)
        return Server(
            application, exports, address, self.socket, token=lambda: self.loaded.api_token, redact=self.redact
        )

    @cached_property
    def announcer(self) -> Announcer:
        return Announcer(
            self.identity,
            self.instance,
            self.version,
            loaded=lambda: self.loaded,
            own_address=lambda: self.own_address,
            targets=self.targets,
            views=self.views,
            jobs=self.jobs,
            expectations=self.expectations,
            problems=lambda: self.problems,
        )

    @cached_property
    def heartbeat(self) -> Heartbeat | None:
        """None without an orchestrator."""
        settings, key = self.loaded.settings.orchestrator, self.loaded.orchestrator_key
        return Heartbeat(settings, key, self.announcer, self.events) if settings and key else None

    @cached_property
    def pings(self) -> Pings:
        return Pings(
            self.version,
            loaded=lambda: self.loaded,
            target=self.target,
            watching=lambda: self.watching,
            expectations=self.expectations,
        )
