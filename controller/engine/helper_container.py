"""Helper containers: the sidecar's own image, with a target's volumes read-only at their places and nothing else.

The volumes are named one by one. By `VolumesFrom` the engine would take a target's anonymous volumes for the helper's
own, and delete them with it, and it refuses a target with a tmpfs among its mounts (moby 26.1).
"""

from collections.abc import Mapping
from typing import Any

from controller.core.errors import TargetUnsuitable
from controller.engine.api import Api
from controller.engine.drill_container import LOG_SIZE
from controller.engine.errors import translated
from controller.engine.models import Json, identifier

LABEL = "backup-sidecar.helper"
"""Of every helper; its value names it before it has an id."""
ONE_KERNEL = {"runc", "crun", "youki", "nvidia", "io.containerd.runc.v2"}
"""Runtimes whose containers run on the host's kernel, so that one sees the locks of another."""
MEMORY_LIMIT, PROCESS_LIMIT = 256 << 20, 64
"""Bytes, swap included; processes and threads."""


def create(api: Api, target_id: str | None, image: str, labels: Mapping[str, str], seconds: float) -> str:
    """Make a helper that ends, and goes away, by itself after so many seconds; gives its id. Without a target it sees
    no volumes.

    Raises `TargetUnsuitable` for a target with a kernel of its own.
    """
    client, target = api.client, {}
    if target_id:
        with translated("inspecting the container", target_id):
            target = client.inspect_container(target_id)
    with translated("creating a helper container"):
        demand_one_kernel(target)
        config = specification(target, image, labels, seconds)
        return identifier(client.create_container_from_config(config))


def demand_one_kernel(target: Json) -> None:
    """Raises `TargetUnsuitable` where nobody outside the target could tell what it locks, or maps into its memory."""
    runtime = (target.get("HostConfig") or {}).get("Runtime") or "runc"
    if runtime not in ONE_KERNEL:
        message = f"the target runs on a kernel of its own (runtime {runtime}), whose locks no helper container sees"
        raise TargetUnsuitable(message, hint="Use an image that has the client itself.", code="no-helper")


def specification(target: Json, image: str, labels: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """What the engine is asked for; pure. `target` is the inspected container.

    Its user is root, since the files' owners are the target's, and reads them by the one capability that it has; that
    one opens no file by its handle, as CAP_DAC_READ_SEARCH would.
    """
    host = target.get("HostConfig") or {}
    return {
        "Image": image,
        "Entrypoint": ["sleep", str(int(seconds))],
        "Cmd": [],
        "User": "0:0",
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": True,
            "Init": True,
            "Mounts": mounts_of(target),
            "Tmpfs": host.get("Tmpfs") or {},
            "CapDrop": ["ALL"],
            "CapAdd": ["DAC_OVERRIDE"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Memory": MEMORY_LIMIT,
            "MemorySwap": MEMORY_LIMIT,
            "NanoCpus": 1_000_000_000,
            "PidsLimit": PROCESS_LIMIT,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": LOG_SIZE}},
        },
    }


def mounts_of(target: Json) -> list[dict[str, Any]]:
    """The target's volumes and binds, read-only; where it has a tmpfs, an empty one hides what lies beneath."""
    requested = {mount["Target"]: mount for mount in (target.get("HostConfig") or {}).get("Mounts") or ()}
    mounts: list[dict[str, Any]] = []
    for mount in target.get("Mounts") or ():
        path, kind = mount["Destination"], mount["Type"]
        if kind == "tmpfs":
            mounts.append({"Type": kind, "Target": path})
        elif kind in ("bind", "volume"):
            source = mount["Source"] if kind == "bind" else mount["Name"]
            mounts.append({"Type": kind, "Source": source, "Target": path, "ReadOnly": True})
        if kind == "volume":
            subpath = (requested.get(path, {}).get("VolumeOptions") or {}).get("Subpath")
            mounts[-1]["VolumeOptions"] = {"NoCopy": True} | ({"Subpath": subpath} if subpath else {})
    return mounts
