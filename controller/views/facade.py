"""What API, metrics and heartbeat may ask of the running program; apart, so that they need not know how it is made."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from config.loading import Loaded
from config.problems import Problem
from controller.backup.jobs import Job, Jobs
from controller.core.events import Bus
from controller.core.key import Key
from controller.drill.drills import Drills
from controller.restore.restores import Restores
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.storage.store import Store
from controller.targets.target import Target
from controller.upkeep.expectations import Expectations
from controller.upkeep.pruner import Pruner
from controller.upkeep.verifier import Verifier


class Sidecar(Protocol):
    """Safe to use from several threads; nothing here waits for the engine."""

    @property
    def loaded(self) -> Loaded:
        """What holds now; to be asked anew each time, since it may change."""
        ...

    def redact(self, text: str) -> str:
        """Take the secrets that hold now out of a text."""
        ...

    @property
    def store(self) -> Store: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def events(self) -> Bus: ...

    @property
    def drills(self) -> Drills: ...

    @property
    def leases(self) -> Leases:
        """Which stored runs are in use."""
        ...

    @property
    def pruner(self) -> Pruner: ...

    @property
    def restores(self) -> Restores: ...

    @property
    def verifier(self) -> Verifier: ...

    @property
    def expectations(self) -> Expectations:
        """What was promised for each target, and whether it is kept."""
        ...

    @property
    def identity(self) -> str:
        """ULID; the same for as long as the work folder lives."""
        ...

    @property
    def instance(self) -> str:
        """Names this process."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def socket(self) -> Path:
        """Where the API's unix socket belongs."""
        ...

    @property
    def own_address(self) -> str | None:
        """IPv4 on the network shared with the orchestrator; None when the sidecar is not there."""
        ...

    @property
    def problems(self) -> Sequence[Problem]:
        """What concerns no single target."""
        ...

    @property
    def watching(self) -> bool:
        """The list of containers is current."""
        ...

    @property
    def reconnects(self) -> int:
        """How often the engine was watched again after it had been away."""
        ...

    @property
    def alive(self) -> bool:
        """The loops live."""
        ...

    def ping_counts(self) -> Mapping[tuple[str, str], int]:
        """How many were `delivered` and `lost`, by target, empty for the sidecar, and outcome."""
        ...

    def targets(self) -> Sequence[Target]:
        """By key."""
        ...

    def target(self, key: Key) -> Target:
        """Raises `UnknownTarget`, whose hint names the nearest keys."""
        ...

    def next_due(self, target: Target) -> datetime | None:
        """When the target's schedule is due next; None for never."""
        ...

    def start(self, key: Key, trigger: str) -> Job:
        """Queue a run; raises `UnknownTarget`, `TargetUnsuitable`, `TargetGone`, `Busy`."""
        ...
