"""The parts that others see: what the API answers, and what goes out by itself."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from config.problems import Problem
from controller.api.application import build
from controller.api.claims import Claims
from controller.api.export_runs import ExportPlanner
from controller.api.exports import Exports
from controller.api.metrics import Metrics
from controller.api.refusals import Refusals
from controller.api.routes.adoption import adoption_routes
from controller.api.routes.artifacts import artifact_routes
from controller.api.routes.contract import contract_routes
from controller.api.routes.copies import copy_routes
from controller.api.routes.drills import drill_routes
from controller.api.routes.forgetting import forget_routes
from controller.api.routes.health import health_routes
from controller.api.routes.pruning import prune_routes
from controller.api.routes.restores import restore_routes
from controller.api.routes.runs import run_routes
from controller.api.routes.status import status_routes
from controller.api.routes.targets import target_routes
from controller.api.server import Server
from controller.app import checks, listening
from controller.app.copying import Copying
from controller.app.program import SOCKET
from controller.outbound.channel import Channel
from controller.outbound.heartbeat import Heartbeat
from controller.outbound.pings import Pings
from controller.upkeep.situation import Situation
from controller.views.announcement import Announcer
from controller.views.targets import TargetViews


class Outward(Copying):
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
        return self.workdir / SOCKET

    @property
    def problems(self) -> Sequence[Problem]:
        """What concerns no single target."""
        return checks.problems(self)

    @property
    def dead(self) -> Sequence[str]:
        """What should go on and has ended by itself."""
        return ()

    @cached_property
    def situation(self) -> Situation:
        return Situation(
            self.targets,
            self.expectations,
            self.catalog,
            self.jobs,
            self.store,
            secrets=self.secrets,
            problems=lambda: self.problems,
            watching=lambda: self.watch.watching,
            dead=lambda: self.dead,
            may_drill=lambda: self.drills.allowed,
            may_idle=lambda: bool((scope := self.scope()) and scope.in_swarm),
            copies=self.copier.freshness,
            clock=self.clock,
        )

    @cached_property
    def views(self) -> TargetViews:
        return TargetViews(self.secrets, self.catalog, self.expectations, self.scheduler.next_due)

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics(
            self.targets,
            self.catalog,
            self.situation.status,
            self.events,
            next_due=self.scheduler.next_due,
            problems=lambda: self.problems,
            pings=self.pings.counts,
            reconnects=lambda: self.watch.reconnects,
            queued=self.jobs.queued,
            refusals=self.refusals.counts,
        )

    @cached_property
    def refusals(self) -> Refusals:
        return Refusals()

    def sends_bundles(self) -> bool:
        """Whether an export is a tar, whatever a client says."""
        return self.loaded.settings.api.bundle

    def addresses(self, port: int) -> Sequence[str]:
        """On which the API listens now."""
        host = self.loaded.settings.api.host
        return (host,) if host else listening.addresses(self.scope(), port)

    def server(self, alive: Callable[[], bool]) -> Server:
        """`alive`: whether everything lives that goes on."""
        planner = ExportPlanner(
            self.targets, self.expectations.all, self.start, self.jobs, self.catalog, clock=self.clock
        )
        claims = Claims(self.workdir)
        exports = Exports(planner, self.store, self.leases, clock=self.clock)
        guarded = (
            drill_routes(self.target, self.drills, self.catalog, self.store, redact=self.redact),
            contract_routes(
                self.targets,
                self.target,
                self.catalog,
                self.leases,
                exports,
                claims=claims,
                respond_within=lambda: self.loaded.settings.api.respond_within,
                bundle=self.sends_bundles,
                came=self.attendance.came,
            ),
            target_routes(
                self.targets,
                self.target,
                views=self.views,
                jobs=self.jobs,
                start=self.start,
                problems=lambda: self.problems,
            ),
            run_routes(self.jobs, self.catalog, self.store, self.leases, self.verifier),
            artifact_routes(self.jobs, self.store, self.leases, exports, claims=claims, bundle=self.sends_bundles),
            prune_routes(self.targets, self.target, self.pruner, self.jobs, self.store.room),
            forget_routes(self.forgetting, self.jobs, self.pruner),
            restore_routes(self.restores, self.jobs),
            adoption_routes(self.adoption),
            copy_routes(self.copier, self.situation),
            status_routes(
                self.situation,
                self.catalog,
                self.targets,
                next_due=self.scheduler.next_due,
                problems=lambda: self.problems,
                redact=self.redact,
                metrics=self.metrics,
            ),
        )
        health = health_routes(alive, lambda: self.watch.watching, self.situation)
        application = build(self.version, health, guarded, self.redact)
        port = self.loaded.settings.api.port
        return Server(
            application,
            exports,
            lambda: self.addresses(port),
            port,
            self.socket,
            tokens=lambda: self.loaded.tokens,
            redact=self.redact,
            refusals=self.refusals,
        )

    @cached_property
    def announcer(self) -> Announcer:
        return Announcer(
            self.identity,
            self.instance,
            self.version,
            loaded=lambda: self.loaded,
            own_address=lambda: self.inventory.own_address,
            targets=self.targets,
            views=self.views,
            jobs=self.jobs,
            situation=self.situation,
            problems=lambda: self.problems,
        )

    @cached_property
    def heartbeat(self) -> Heartbeat | None:
        """None without an orchestrator."""
        settings, key = self.loaded.settings.orchestrator, self.loaded.orchestrator_key
        return Heartbeat(settings, key, self.announcer) if settings and key else None

    @cached_property
    def pings(self) -> Pings:
        return Pings(
            self.version,
            loaded=lambda: self.loaded,
            target=self.target,
            watching=lambda: self.watch.watching,
            situation=self.situation,
        )

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Every way on which it tells somebody of itself, in the order in which they start."""
        return (*((self.heartbeat,) if self.heartbeat else ()), self.pings)
