"""The report of a run, while and after it runs. Times are UTC; sizes are bytes."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal

from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.manifest import Artifact, Proof
from controller.core.records import Record, Time

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted", "missed"]
SCHEDULE = "schedule"
"""Trigger of a run that was due."""
SAFETY = "restore"
"""Trigger of a run that backs up what a restore is about to replace."""
BY_HAND = "by hand"
"""Cause of a deletion that a person has asked for."""
CLOCK_TOLERANCE = timedelta(minutes=1)
"""How far beyond now a run may have begun and still not be of the future, since clocks are set a little."""
FINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled", "interrupted", "missed"})


def new_run_id(now: datetime) -> str:
    """`YYYYMMDDTHHMMSSZ-<8 hex>`, of which five are the microseconds: it sorts by time, and three make it unique."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{now.microsecond:05x}{secrets.randbelow(4096):03x}"


def newest_id(now: datetime) -> str:
    """Above the id of every run that has begun by now, and below those of the future."""
    return f"{now.astimezone(UTC) + CLOCK_TOLERANCE:%Y%m%dT%H%M%SZ}~"


class Report(Record):
    """One run, from `queued` to its end; every state change is a new one."""

    id: str
    target: Key
    state: State
    trigger: str
    """Who asked: `cli`, `api`, `schedule`, `export`; `restore` for a backup of what a restore was about to replace."""
    by: str = ""
    """Who asked, by the name of a token and an address, or `socket`; empty for what the sidecar does by itself."""
    created: Time
    strategy: str = ""
    reason: str = ""
    """Why it is queued: `slot`, `paused`, `restarting`, `retry` between two attempts, or `away` while the next one
    waits for its target."""
    started: Time | None = None
    finished: Time | None = None
    seconds: float | None = None
    """Duration by a monotonic clock."""
    bytes: int = 0
    """Plain bytes captured so far."""
    size: int | None = None
    """Stored bytes of all artifacts."""
    proof: Proof | None = None
    warnings: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    failure: Failure | None = None
    attempts: int = 1
    retried: tuple[Failure, ...] = ()
    """Why the attempts before the last one failed, in their order."""
    suspicious: tuple[str, ...] = ()
    """Why a run that succeeded may not be what it should: far smaller than the one before, for example."""
    accepted: bool = False
    """Somebody has looked at a suspicious run and takes it for good."""
    damaged: str = ""
    """What is wrong with the stored bytes, since they were found changed after they had been published."""
    tampered: bool = False
    """What is wrong is not the disk: manifest, catalog and the run's own mark differ."""
    mark: str = ""
    """Its own mark: its manifest under a key that is not in the store. Empty: unmarked, of before or adopted."""
    forgotten: Time | None = None
    """Since when somebody knows that it is damaged or lost, so that it is no matter for the verdict any more."""
    verified: Time | None = None
    """When every stored byte was last found to be right; None where that was when the run was published."""
    pruned: Time | None = None
    """When it was deleted: softly at first, while its artifacts are listed here; the report stays, as history."""
    cause: str = ""
    """Why it was deleted: `by hand`, or which rules no longer kept it."""
    pinned: Time | None = None
    """Since when somebody keeps it, whatever the rules say."""
    note: str = ""
    """Why somebody keeps it."""
    origin: str = ""
    """Where it was adopted from, as whoever did so called it; empty for a run of this store's own."""
    adopted: Time | None = None
    """When it was adopted."""

    @property
    def time(self) -> datetime:
        """When it was created, by its id, which is the same in every catalog."""
        return datetime.fromisoformat(self.id[:16])

    @property
    def ended(self) -> datetime:
        """When it ended, also where the clock was ahead for a while then, which would hide what comes later."""
        begun, finished = self.started or self.created, self.finished or self.created
        return finished if self.seconds is None else min(finished, begun + timedelta(seconds=self.seconds))

    def is_future(self, now: datetime) -> bool:
        """Whether a clock that was wrong gave it its time, or `now` is wrong; it is no backup then."""
        return self.id > newest_id(now)

    @property
    def stored(self) -> bool:
        """Whether its artifacts are there, whatever they are worth."""
        return self.state == "succeeded" and self.pruned is None

    @property
    def recoverable(self) -> bool:
        """Whether it was deleted softly: it is no backup, and nothing of it is lost yet."""
        return self.pruned is not None and bool(self.artifacts)

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def doubt(self) -> str:
        """What its artifacts are said to be; empty for those of a good run."""
        if self.damaged:
            return "tampered" if self.tampered else "damaged"
        return "suspicious" if self.suspicious and not self.accepted else ""

    @property
    def good(self) -> bool:
        """Whether it counts as a backup: for retention, freshness and estimates."""
        return self.stored and not self.doubt
