"""What is told about a run: its report while and after it runs, and the manifest that lies beside its artifacts.

Apart, because the runner writes them, the store and the catalog keep them, and API, CLI and heartbeat show them; none
of those needs to know another. Times are UTC; sizes are bytes.
"""

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, PlainSerializer

SCHEMA = 1
"""Major version of manifests and reports; readers ignore unknown fields and refuse a higher one."""

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted", "missed"]
Proof = Literal["full", "sealed", "framed"]
SAFETY = "restore"
"""Trigger of a run that backs up what a restore is about to replace."""
FINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled", "interrupted", "missed"})


def rfc3339(time: datetime) -> str:
    """`2026-03-01T03:00:00.123Z`: RFC 3339 in UTC with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The opposite of `rfc3339`; raises ValueError for what is no time, or one without a zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no zone")
    return found.astimezone(UTC)


def new_run_id(now: datetime) -> str:
    """`YYYYMMDDTHHMMSSZ-<8 hex>`, of which five are the microseconds: it sorts by time, and three make it unique."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{now.microsecond:05x}{secrets.randbelow(4096):03x}"


Time = Annotated[datetime, PlainSerializer(rfc3339, when_used="json")]


class Record(BaseModel):
    """Frozen, and forgiving to fields that a later release adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Key(Record):
    """Names a target: `project/service` or `project/service/name`; `_` is the project without Compose."""

    project: str
    service: str
    name: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.project, self.service, *([self.name] if self.name else []))

    @property
    def folders(self) -> tuple[str, ...]:
        """The parts percent-encoded outside `[a-z0-9_-]`, so that none can be `..`, hidden or a path."""
        return tuple(encode(part) for part in self.parts)

    @classmethod
    def parse(cls, text: str) -> "Key":
        """From `str(key)`; raises ValueError for anything but two or three parts."""
        parts = [unquote(part) for part in text.split("/")]
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"a target's key is project/service or project/service/name, not {text[:80]!r}")
        return cls(project=parts[0], service=parts[1], name=parts[2] if len(parts) == 3 else None)

    def __str__(self) -> str:
        return "/".join(quote(part, safe="") if "/" in part or "%" in part else part for part in self.parts)


def encode(part: str) -> str:
    """Percent-encode every byte outside `[a-z0-9_-]`."""
    return "".join(
        chr(byte) if chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789_-" else f"%{byte:02X}" for byte in part.encode()
    )


class Artifact(Record):
    """One stored dump of a run."""

    name: str
    """File name in the run's folder, with the compression's suffix."""
    format: str
    compression: str
    """`zstd`, `gzip` or `none`."""
    size: int
    sha256: str
    """Of the stored bytes, hexadecimal."""
    plain_size: int
    plain_sha256: str
    proof: Proof
    argv: tuple[str, ...] = ()
    """What ran in the container; empty for the archive endpoint."""
    restore: str = ""
    """A shell line of plain tools that restores it."""
    subject: str = ""
    """What it is a dump of, as its owner calls it: a database's name, paths."""
    counts: dict[str, int] = {}
    """What was counted beside the dump: rows of each table, files, bytes; empty where nothing could be."""
    approximate: tuple[str, ...] = ()
    """Names in `counts` whose number changed while the dump was made; the others are exact."""


class Manifest(Record):
    """Explains a run's artifacts without this program; written last, as `manifest.json`."""

    schema_: int = SCHEMA
    run: str
    target: Key
    strategy: str
    container: str
    container_id: str
    image: str
    """Reference as the user wrote it."""
    image_id: str
    engine: str
    sidecar: str
    """Version of this program."""
    started: Time
    finished: Time
    proof: Proof
    warnings: tuple[str, ...] = ()
    suspicious: tuple[str, ...] = ()
    """Why it may not be what it should, known before it was published."""
    artifacts: tuple[Artifact, ...]

    model_config = ConfigDict(
        alias_generator=lambda name: name.rstrip("_"), validate_by_name=True, serialize_by_alias=True
    )

    @property
    def size(self) -> int:
        return sum(artifact.size for artifact in self.artifacts)


class Failure(Record):
    """Why a run did not succeed."""

    code: str
    message: str
    hint: str = ""
    transient: bool = False
    exit_code: int | None = None
    stderr: str = ""
    """The last lines, redacted and bounded."""


RestoreState = Literal["running", "succeeded", "failed", "cancelled", "interrupted"]


class Restoration(Record):
    """One restore, from its start to its end; every change is a new one."""

    id: str
    run: str
    """Id of the run that is restored."""
    target: Key
    """Whose run it is."""
    container: str
    """Name of the container that it is restored into."""
    where: str
    """The place there, in words."""
    strategy: str
    state: RestoreState
    step: str = ""
    """What is under way: `verifying`, `safety backup`, `applying <artifact>`, `comparing`, `undoing`."""
    created: Time
    finished: Time | None = None
    seconds: float | None = None
    bytes: int = 0
    """Plain bytes applied so far."""
    total: int
    """Plain bytes of all artifacts."""
    safety: str = ""
    """Id of the run that backed up what was there, before it was replaced."""
    compared: int = 0
    """Numbers that were counted at the dump and found again."""
    undone: bool = False
    """It failed, and whatever it had done in the container was made good."""
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None

    @property
    def final(self) -> bool:
        return self.state != "running"


class Report(Record):
    """One run, from `queued` to its end; every state change is a new one."""

    id: str
    target: Key
    state: State
    trigger: str
    """Who asked: `cli`, `api`, `schedule`, `export`; `restore` for a backup of what a restore was about to replace."""
    created: Time
    strategy: str = ""
    reason: str = ""
    """Why it is queued: `slot`, `paused`, `restarting`, or `retry` between two attempts."""
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
    verified: Time | None = None
    """When every stored byte was last found to be right; None where that was when the run was published."""
    pruned: Time | None = None
    """When its artifacts were deleted; the report stays, as history."""

    @property
    def time(self) -> datetime:
        """When it was created, by its id, which is the same in every catalog."""
        return datetime.fromisoformat(self.id[:16])

    @property
    def stored(self) -> bool:
        """Whether its artifacts are there, whatever they are worth."""
        return self.state == "succeeded" and self.pruned is None

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def good(self) -> bool:
        """Whether it counts as a backup: for retention, freshness and estimates."""
        return self.stored and not self.damaged and (self.accepted or not self.suspicious)


def weakest(proofs: Iterable[Proof]) -> Proof:
    """A run is proved as far as its least proved artifact."""
    order: tuple[Proof, ...] = ("framed", "sealed", "full")
    return min(proofs, key=order.index)
