"""What a throw-away container is asked for: like its target, without any of its reach."""

from typing import Any

import pytest

from controller.engine.drill_container import Limits, specification

IMAGE = {
    "Config": {"Env": ["PATH=/opt/17/bin", "PG_MAJOR=17"], "Entrypoint": ["entry"], "Cmd": ["postgres"], "User": ""}
}
LIMITS = Limits(memory=1 << 30, cpus=1.5)
LABELS = {"backup-sidecar.drill": "d1"}


def inspected(*, host: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    usual = {"Env": ["PATH=/opt/17/bin", "PG_MAJOR=17", "POSTGRES_PASSWORD=pw"], "Entrypoint": ["entry"]}
    usual |= {"Labels": {"backup.enable": "true"}, "Cmd": ["postgres", "-c", "x=1"], "User": "999", "ExposedPorts": {}}
    return {"Config": usual | config, "HostConfig": host or {}}


def asked(target: dict[str, Any], base: dict[str, Any] | None = IMAGE) -> dict[str, Any]:
    return specification(target, base, "sha256:old", LABELS, LIMITS)


def test_it_runs_what_the_target_runs_but_for_what_the_image_brings_along():
    found = asked(inspected())
    assert (found["Image"], found["Cmd"], found["User"]) == ("sha256:old", ["postgres", "-c", "x=1"], "999")
    assert "Entrypoint" not in found
    assert found["Env"] == ["POSTGRES_PASSWORD=pw"]


def test_without_the_targets_image_everything_is_taken_over():
    found = asked(inspected(), base=None)
    assert found["Entrypoint"] == ["entry"]
    assert "PG_MAJOR=17" in found["Env"]


def test_no_label_of_the_target_is_taken_over():
    assert asked(inspected())["Labels"] == LABELS


REACH = {
    "Binds": ["/srv:/srv"],
    "VolumesFrom": ["other"],
    "NetworkMode": "host",
    "PortBindings": {"5432/tcp": [{"HostPort": "5432"}]},
    "PublishAllPorts": True,
    "RestartPolicy": {"Name": "always"},
    "Privileged": True,
    "CapAdd": ["SYS_ADMIN"],
    "Devices": [{"PathOnHost": "/dev/sda"}],
    "DeviceRequests": [{"Driver": "nvidia"}],
    "PidMode": "host",
    "IpcMode": "host",
    "UTSMode": "host",
    "UsernsMode": "host",
    "CgroupnsMode": "host",
    "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "ExtraHosts": ["db:10.0.0.1"],
    "Links": ["db:db"],
    "Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}, {"Type": "volume", "Source": "v", "Target": "/v"}],
    "AutoRemove": True,
    "OomKillDisable": True,
    "Runtime": "nvidia",
    "CgroupParent": "/",
}


@pytest.mark.parametrize("key", REACH)
def test_nothing_but_the_runtime_of_the_targets_reach_is_taken_over(key):
    found = asked(inspected(host=REACH))["HostConfig"]
    harmless = {"NetworkMode": "none", "RestartPolicy": {"Name": "no"}, "CapAdd": None, "Mounts": []}
    harmless |= {"SecurityOpt": ["no-new-privileges:true"], "Runtime": "nvidia"}
    assert found.get(key) == harmless.get(key)


def test_what_protects_or_gives_memory_is_taken_over():
    tmpfs = {"Type": "tmpfs", "Target": "/cache"}
    host = {
        "ShmSize": 1 << 27,
        "Tmpfs": {"/run": "size=1m"},
        "Mounts": [tmpfs],
        "CapAdd": ["SYS_NICE"],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
    }
    found = asked(inspected(host=host))["HostConfig"]
    assert {key: found[key] for key in host} == host


@pytest.mark.parametrize(
    ("own", "cpus", "pids"),
    [
        ({}, 1_500_000_000, 4096),
        ({"NanoCpus": 500_000_000, "PidsLimit": 100}, 500_000_000, 100),
        ({"CpuQuota": 25_000, "CpuPeriod": 50_000, "PidsLimit": -1}, 500_000_000, 4096),
        ({"NanoCpus": 9_000_000_000, "PidsLimit": 9999}, 1_500_000_000, 4096),
    ],
)
def test_the_lower_limits_of_processors_and_processes_hold(own, cpus, pids):
    found = asked(inspected(host=own))["HostConfig"]
    assert (found["NanoCpus"], found["PidsLimit"]) == (cpus, pids)


def test_the_root_is_read_only_where_the_targets_is_and_what_it_writes_beside_has_a_place():
    mounts = [
        {"Type": "volume", "Name": "v", "Destination": "/data", "RW": True},
        {"Type": "volume", "Name": "w", "Destination": "/shown", "RW": False},
        {"Type": "bind", "Source": "/", "Destination": "/host", "RW": True},
    ]
    found = asked({**inspected(host={"ReadonlyRootfs": True}), "Mounts": mounts})
    assert (found["HostConfig"]["ReadonlyRootfs"], found["Volumes"]) == (True, {"/data": {}})
    usual = asked({**inspected(), "Mounts": mounts})
    assert (usual["HostConfig"]["ReadonlyRootfs"], usual["Volumes"]) == (False, {})


@pytest.mark.parametrize(("own", "memory"), [(0, 1 << 30), (1 << 28, 1 << 28), (1 << 32, 1 << 30)])
def test_the_lower_limit_of_memory_holds(own, memory):
    found = asked(inspected(host={"Memory": own}))["HostConfig"]
    assert (found["Memory"], found["MemorySwap"], found["NanoCpus"]) == (memory, memory, 1_500_000_000)
