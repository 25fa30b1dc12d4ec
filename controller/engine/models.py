"""What the engine answers, as frozen values, so that nothing else has to know the JSON of its API.

The `from_json` constructors take the engine's own shapes (API 1.24 and later); a missing key becomes the empty value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EngineVersion:
    """Versions that the engine and its API told."""

    engine: str
    api: str


@dataclass(frozen=True, slots=True)
class NetworkEndpoint:
    """How a container hangs on one network."""

    id: str
    ipv4: str
    """Empty while the container is not running."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One volume, bind or tmpfs of a container."""

    kind: str
    """`volume`, `bind` or `tmpfs`."""
    path: str
    """Absolute path in the container."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of the list of containers."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    state: str
    """`created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`."""
    networks: Mapping[str, NetworkEndpoint]
    """By the network's name."""
    created: int
    """Unix time in seconds."""
    mounts: tuple[Mount, ...] = ()

    @classmethod
    def from_json(cls, row: Json) -> "Listed":
        return cls(
            id=row["Id"],
            name=_own_name(row.get("Names") or ()),
            image=row.get("Image") or "",
            image_id=row.get("ImageID") or "",
            labels=row.get("Labels") or {},
            state=row.get("State") or "",
            networks=_networks(row),
            created=int(row.get("Created") or 0),
            mounts=_mounts(row),
        )


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """One network of the engine."""

    id: str
    name: str
    labels: Mapping[str, str]
    """`com.docker.compose.network` holds the name that the compose file gave it."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What inspecting one container tells."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    status: str
    running: bool
    """Also true while paused or restarting, as the engine has it."""
    paused: bool
    restarting: bool
    exit_code: int
    """Of the last end of its process 1; 0 while it runs for the first time."""
    oom: bool
    """The kernel killed something in the container for memory."""
    started_at: str
    """RFC 3339; changes with each start."""
    pid: int
    """Process 1 as the host numbers it; 0 when not running."""
    env: Mapping[str, str] = field(repr=False)
    """Environment of the container's own process; holds its secrets, for redaction only."""
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[str, ...] = ()
    auto_remove: bool = False
    networks: Mapping[str, NetworkEndpoint] = field(default_factory=dict)

    @classmethod
    def from_json(cls, row: Json) -> "Inspected":
        state, config, host = row.get("State") or {}, row.get("Config") or {}, row.get("HostConfig") or {}
        mounts = _mounts(row)
        tmpfs = set(host.get("Tmpfs") or ()) | {mount.path for mount in mounts if mount.kind == "tmpfs"}
        return cls(
            id=row["Id"],
            name=(row.get("Name") or "").lstrip("/"),
            image=config.get("Image") or "",
            image_id=row.get("Image") or "",
            labels=config.get("Labels") or {},
            status=state.get("Status") or "",
            running=bool(state.get("Running")),
            paused=bool(state.get("Paused")),
            restarting=bool(state.get("Restarting")),
            exit_code=int(state.get("ExitCode") or 0),
            oom=bool(state.get("OOMKilled")),
            started_at=state.get("StartedAt") or "",
            pid=int(state.get("Pid") or 0),
            env=dict(line.partition("=")[::2] for line in config.get("Env") or ()),
            mounts=mounts,
            tmpfs=tuple(sorted(tmpfs)),
            auto_remove=bool(host.get("AutoRemove")),
            networks=_networks(row),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened; it only means "look again"."""

    type: str
    """`container` or `network`."""
    action: str
    """`start`, `die`, `oom`, `rename`, `destroy`, `connect`, `disconnect`, ..."""
    id: str
    """Of the container, also for a network's `connect` and `disconnect`."""
    attributes: Mapping[str, str]
    time: str
    """Seconds with nanoseconds since 1970, as a string to pass to `events(since)`; inclusive, so it comes again."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How an exec ended."""

    code: int
    sealed: bool
    """The random end mark arrived, so nothing is missing; False for a target without a shell."""
    stderr: str = ""
    """The last 16 KiB of standard error, decoded leniently."""
    pid: int | None = None
    """Process id of the wrapper inside the container; None without a shell."""


def _own_name(names: Sequence[str]) -> str:
    """The container's own name; legacy links add names with more than one slash."""
    own = [name for name in names if name.count("/") == 1] or list(names)
    return own[0].lstrip("/") if own else ""


def _networks(row: Json) -> Mapping[str, NetworkEndpoint]:
    networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        name: NetworkEndpoint((end or {}).get("NetworkID") or "", (end or {}).get("IPAddress") or "")
        for name, end in networks.items()
    }


def _mounts(row: Json) -> tuple[Mount, ...]:
    return tuple(Mount(mount.get("Type") or "", mount.get("Destination") or "") for mount in row.get("Mounts") or ())
