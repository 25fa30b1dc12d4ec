"""Throw-away containers for drills: like a target, but with nothing of its reach. The other kind: `helper_container`.

Such a container runs what the target runs, as the same user, under the same runtime, with the same environment, memory
file systems and capabilities at most, and with a read-only root where the target has one. It has no network, no port,
no bind or named mount, none of the target's labels, and limits. The volumes that its image declares are anonymous and
go away with it.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import docker

from controller.core.errors import EngineError, ImageGone, TargetGone
from controller.engine.api import Api
from controller.engine.errors import message_of, refusal, translated
from controller.engine.models import Json, identifier, text, texts, value

LABEL = "backup-sidecar.drill"
"""Of a drill's container; its value is the drill's id."""
OWNER = "backup-sidecar.owner"
"""Of every container that is created here: the identity of the sidecar that made it."""
PROCESS_LIMIT = 4096
"""Processes and threads that it may have at a time."""
LOG_SIZE = "1m"
OK, CONFLICT = 200, 409
REMOVAL_SECONDS = 10.0
"""That the engine may take until a container that it says it removed is gone."""
TAKEN_OVER = ("Entrypoint", "Cmd", "User", "WorkingDir", "StopSignal")
"""What a container may have otherwise than its image."""
UNPROTECTED = ("unconfined", "disable", "systempaths")
"""Words of security options that take protection away."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a throw-away container may take; the lower limit of a target holds for it too."""

    memory: int
    """Bytes, swap included."""
    cpus: float


def create(
    api: Api, like: str, image: str, labels: Mapping[str, str], limits: Limits, *, idle: Sequence[str] = ()
) -> str:
    """Make a container like `like`, which is only inspected, from `image`; gives its id.

    With `idle` it runs that argv and not the target's own program. Raises `ImageGone` where the engine has no such
    image, `EngineRefused` where a proxy forbids it.
    """
    client = api.client
    with translated("inspecting the container", like):
        target = client.inspect_container(like)
    with translated("inspecting its image"):
        base = _inspected(client, target["Image"])
    with translated("creating a throw-away container"):
        config = specification(target, base, image, labels, limits)
        if idle:
            config |= {"Entrypoint": list(idle), "Cmd": []}
        try:
            return identifier(client.create_container_from_config(config))
        except docker.errors.ImageNotFound:
            raise ImageGone(f"the engine has no image {image} any more", hint="Pull it again.") from None


def start(api: Api, container_id: str) -> None:
    """See `Engine.start_own_container`."""
    client = api.client
    with translated("starting a throw-away container", container_id):
        client.start(container_id)


def remove(api: Api, container_id: str) -> None:
    """Kill it and remove it with its anonymous volumes; one that is gone is fine, any other container is refused."""
    client = api.client
    try:
        with translated("removing a throw-away container", container_id):
            labels = client.inspect_container(container_id)["Config"].get("Labels") or {}
            if OWNER not in labels:
                raise EngineError(f"{container_id} is no throw-away container, so it is not removed")
            try:
                client.remove_container(container_id, force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code != CONFLICT:  # Else it is being removed already.
                    raise
        api.demand_done(container_id, "remove", lambda _: False, REMOVAL_SECONDS)
    except TargetGone:
        return


def written(api: Api, container_id: str) -> int:
    """See `Engine.written`."""
    doing = "inspecting the container"
    with translated(doing, container_id), closing(api.http()) as connection:
        connection.request("GET", api.path(f"/containers/{container_id}/json?size=1"))
        answer = connection.getresponse()
        if answer.status != OK:
            raise refusal(answer.status, message_of(answer.read(4096)), doing, container_id)
        return value(json.loads(answer.read()), "SizeRw", int)


def named_binds(api: Api, container_id: str) -> dict[str, tuple[str, ...]]:
    """Paths that are bound into a container, and the words of its command line and the `NAME=value` that name them."""
    client = api.client
    with translated("inspecting the container", container_id):
        inspected = client.inspect_container(container_id)
        config = value(inspected, "Config", dict)
        words = [word for name in ("Entrypoint", "Cmd", "Env") for word in texts(config, name)]
        mounts = value(inspected, "Mounts", list)
        binds = sorted(text(mount, "Destination") for mount in mounts if mount.get("Type") == "bind")
        named = {path: [word for word in words if path in word] for path in binds}
    return {path: tuple(naming) for path, naming in named.items() if naming}


def log_tail(api: Api, container_id: str, lines: int) -> str:
    """The end of its log, for people."""
    client = api.client
    with translated("reading the log of a throw-away container", container_id):
        return str(client.logs(container_id, tail=lines).decode("utf-8", "replace")).strip()


def specification(
    target: Json, base: Json | None, image: str, labels: Mapping[str, str], limits: Limits
) -> dict[str, Any]:
    """What the engine is asked for; pure. `target` is the inspected container, `base` its image where there still is
    one: only what differs from that is taken over, since another `image` brings its own path or version along.
    """
    config, host = target.get("Config") or {}, target.get("HostConfig") or {}
    default = (base or {}).get("Config") or {}
    memory = _lower(host.get("Memory"), limits.memory)
    kept = [option for option in host.get("SecurityOpt") or () if not any(word in option for word in UNPROTECTED)]
    read_only = bool(host.get("ReadonlyRootfs"))
    return {
        **{key: config[key] for key in TAKEN_OVER if config.get(key) and config.get(key) != default.get(key)},
        "Image": image,
        "Env": [line for line in config.get("Env") or () if line not in (default.get("Env") or ())],
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},
        "Volumes": _written(target) if read_only else {},
        "HostConfig": {
            "NetworkMode": "none",
            "RestartPolicy": {"Name": "no"},
            "Runtime": host.get("Runtime") or "",
            "ReadonlyRootfs": read_only,
            "ShmSize": host.get("ShmSize") or 0,
            "Tmpfs": host.get("Tmpfs") or {},
            "Mounts": [mount for mount in host.get("Mounts") or () if mount.get("Type") == "tmpfs"],
            "Ulimits": host.get("Ulimits"),
            "Init": host.get("Init"),
            "CapAdd": None if host.get("Privileged") else host.get("CapAdd"),
            "CapDrop": host.get("CapDrop"),
            "SecurityOpt": [
                *(option for option in kept if "no-new-privileges" not in option),
                "no-new-privileges:true",
            ],
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": _lower(_processors(host), int(limits.cpus * 1_000_000_000)),
            "PidsLimit": _lower(host.get("PidsLimit"), PROCESS_LIMIT),
            "LogConfig": {"Type": "json-file", "Config": {"max-size": LOG_SIZE}},
        },
    }


def _lower(own: int | None, most: int) -> int:
    """The lower limit; none of its own is 0, -1 or None."""
    return min(own, most) if own and own > 0 else most


def _processors(host: Json) -> int | None:
    """Billionths of a processor, however that was told."""
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 100_000
    return host.get("NanoCpus") or quota * 1_000_000_000 // period


def _written(target: Json) -> dict[str, Any]:
    """Places for what the target writes beside its read-only root, each an anonymous volume."""
    mounts = value(target, "Mounts", list)
    return {text(mount, "Destination"): {} for mount in mounts if mount.get("RW") and mount.get("Type") == "volume"}


def _inspected(client: Any, image: str) -> Json | None:
    try:
        inspected: Json = client.inspect_image(image)
    except docker.errors.ImageNotFound:
        return None
    return inspected
