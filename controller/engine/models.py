"""What the engine answers, as frozen values, so that nothing else has to know the JSON of its API.

The `from_json` constructors take the engine's own shapes (API 1.24 and later); a missing key, or a null, which is what
Go makes of an empty list, becomes the empty value. Of any other shape they raise `TypeError` or `ValueError`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Json = Mapping[str, Any]
Kind = TypeVar("Kind")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""What names a container, an exec or a network; it becomes part of addresses and file names."""


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
    network_mode: str = ""
    """`host`, `none`, `container:<id>`, or the name of a network."""
    published: frozenset[int] = frozenset()
    """Its ports that the host has."""
    of_image: frozenset[str] = frozenset()
    """Names of the labels that its image brings too, with the same value; only of those that somebody asked for."""
    image_unseen: tuple[str, str] | None = None
    """Why nobody knows that, and the next step; None where it is known."""

    @classmethod
    def from_json(cls, row: Json) -> "Listed":
        return cls(
            id=identifier(row),
            name=_own_name(texts(row, "Names")),
            image=text(row, "Image"),
            image_id=text(row, "ImageID"),
            labels=labels(row),
            state=text(row, "State"),
            networks=_networks(row),
            created=value(row, "Created", int),
            mounts=_mounts(row),
            network_mode=text(value(row, "HostConfig", dict), "NetworkMode"),
            published=_published(row),
        )


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """One network of the engine."""

    id: str
    name: str
    labels: Mapping[str, str]
    """`com.docker.compose.network` holds the name that the compose file gave it."""

    @classmethod
    def from_json(cls, row: Json) -> "NetworkInfo":
        return cls(identifier(row), text(row, "Name"), labels(row))


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
    command: tuple[str, ...] = field(default=(), repr=False)
    """Its own program and arguments; may hold a password."""
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[str, ...] = ()
    auto_remove: bool = False
    networks: Mapping[str, NetworkEndpoint] = field(default_factory=dict)

    @classmethod
    def from_json(cls, row: Json) -> "Inspected":
        state, config, host = (value(row, name, dict) for name in ("State", "Config", "HostConfig"))
        mounts = _mounts(row)
        tmpfs = set(value(host, "Tmpfs", dict)) | {mount.path for mount in mounts if mount.kind == "tmpfs"}
        return cls(
            id=identifier(row),
            name=text(row, "Name").lstrip("/"),
            image=text(config, "Image"),
            image_id=text(row, "Image"),
            labels=labels(config),
            status=text(state, "Status"),
            running=value(state, "Running", bool),
            paused=value(state, "Paused", bool),
            restarting=value(state, "Restarting", bool),
            exit_code=value(state, "ExitCode", int),
            oom=value(state, "OOMKilled", bool),
            started_at=text(state, "StartedAt"),
            pid=value(state, "Pid", int),
            env=dict(line.partition("=")[::2] for line in texts(config, "Env")),
            command=(text(row, "Path"), *texts(row, "Args")),
            mounts=mounts,
            tmpfs=tuple(sorted(tmpfs)),
            auto_remove=value(host, "AutoRemove", bool),
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

    @classmethod
    def from_json(cls, row: Json) -> "Event":
        kind, actor = text(row, "Type"), value(row, "Actor", dict)
        attributes = value(actor, "Attributes", dict)
        seconds, nanoseconds = divmod(value(row, "timeNano", int), 10**9)
        return cls(
            type=kind,
            action=text(row, "Action"),
            id=text(attributes, "container") if kind == "network" else text(actor, "ID"),
            attributes=attributes,
            time=f"{seconds}.{nanoseconds:09d}",
        )


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How an exec ended."""

    code: int
    sealed: bool
    """The random end mark arrived, so nothing is missing; False for a target without a shell."""
    stderr: str = ""
    """The last 16 KiB of standard error, decoded leniently."""


@dataclass(frozen=True, slots=True)
class ExecState:
    """What inspecting an exec tells."""

    running: bool
    code: int | None
    """None while it runs, and for an exec that the engine has forgotten."""
    pid: int
    """As the host numbers it; 0 when it never started."""
    known: bool = True
    """False: the engine answers 404, since it was restarted or the container removed."""

    @classmethod
    def from_json(cls, row: Json) -> "ExecState":
        code = None if row.get("ExitCode") is None else value(row, "ExitCode", int)
        return cls(value(row, "Running", bool), code, value(row, "Pid", int))


def value(row: Json, name: str, kind: type[Kind]) -> Kind:
    """What a row holds under a name; the empty value of the kind where there is nothing."""
    found = row.get(name)
    if found is None:
        return kind()
    if not isinstance(found, kind):
        raise TypeError(f"{name} is of the kind {type(found).__name__}, not {kind.__name__}")
    return found


def text(row: Json, name: str) -> str:
    """A text that can be written down: JSON may hold halves of characters."""
    found = value(row, name, str)
    found.encode()
    return found


def texts(row: Json, name: str) -> list[str]:
    return [text({name: item}, name) for item in value(row, name, list)]


def labels(row: Json) -> dict[str, str]:
    found = value(row, "Labels", dict)
    return {text({"name": name}, "name"): text(found, name) for name in found}


def identifier(row: Json) -> str:
    """The id of what a row is about."""
    if not ID.fullmatch(found := value(row, "Id", str)):
        raise ValueError(f"{found[:80]!r} is no id")
    return found


def _own_name(names: Sequence[str]) -> str:
    """The container's own name; legacy links add names with more than one slash."""
    own = [name for name in names if name.count("/") == 1] or list(names)
    return own[0].lstrip("/") if own else ""


def _networks(row: Json) -> Mapping[str, NetworkEndpoint]:
    networks = value(value(row, "NetworkSettings", dict), "Networks", dict)
    ends = {name: value(networks, name, dict) for name in networks}
    return {name: NetworkEndpoint(text(end, "NetworkID"), text(end, "IPAddress")) for name, end in ends.items()}


def _published(row: Json) -> frozenset[int]:
    ports = value(row, "Ports", list)
    return frozenset(value(port, "PrivatePort", int) for port in ports if value(port, "PublicPort", int))


def _mounts(row: Json) -> tuple[Mount, ...]:
    return tuple(Mount(text(mount, "Type"), text(mount, "Destination")) for mount in value(row, "Mounts", list))
