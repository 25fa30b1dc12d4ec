"""What a helper container is asked for: the target's volumes, read-only, and nothing else of it."""

import pytest

from controller.core.errors import TargetUnsuitable
from controller.engine.helper_container import demand_one_kernel, mounts_of, specification

TARGET = {
    "Config": {"Env": ["PASSWORD=pw"], "Entrypoint": ["app"], "Labels": {"backup.enable": "true"}, "User": "app"},
    "HostConfig": {
        "Privileged": True,
        "Binds": ["/srv:/srv"],
        "CapAdd": ["SYS_ADMIN"],
        "Devices": [{"PathOnHost": "/dev/sda"}],
        "NetworkMode": "host",
        "PidMode": "host",
        "PortBindings": {"80/tcp": [{"HostPort": "80"}]},
        "SecurityOpt": ["seccomp=unconfined"],
        "Tmpfs": {"/run": "size=1m"},
        "Mounts": [{"Type": "volume", "Source": "v", "Target": "/part", "VolumeOptions": {"Subpath": "a/b"}}],
    },
    "Mounts": [
        {"Type": "volume", "Name": "0f1e", "Source": "/var/lib/docker/volumes/0f1e/_data", "Destination": "/data"},
        {"Type": "volume", "Name": "v", "Source": "/var/lib/docker/volumes/v/_data/a/b", "Destination": "/part"},
        {"Type": "bind", "Source": "/srv", "Destination": "/srv", "RW": True},
        {"Type": "tmpfs", "Source": "", "Destination": "/data/cache"},
    ],
}


def test_it_sees_every_volume_and_bind_read_only_and_what_is_beneath_a_tmpfs_stays_hidden():
    assert mounts_of(TARGET) == [
        volume("0f1e", "/data"),
        volume("v", "/part", Subpath="a/b"),
        {"Type": "bind", "Source": "/srv", "Target": "/srv", "ReadOnly": True},
        {"Type": "tmpfs", "Target": "/data/cache"},
    ]
    assert specification(TARGET, "sha256:own", {}, 60)["HostConfig"]["Tmpfs"] == {"/run": "size=1m"}


def test_without_a_target_it_sees_no_volumes():
    host = specification({}, "sha256:own", {}, 60)["HostConfig"]
    assert (host["Mounts"], host["Tmpfs"]) == ([], {})


def volume(name: str, place: str, **options: str) -> dict[str, object]:
    more = {"VolumeOptions": {"NoCopy": True, **options}}
    return {"Type": "volume", "Source": name, "Target": place, "ReadOnly": True, **more}


def test_nothing_else_of_the_target_is_taken_over_and_it_ends_by_itself():
    asked = specification(TARGET, "sha256:own", {"backup-sidecar.helper": "1f"}, 90.5)
    host = asked.pop("HostConfig")
    assert asked == {
        "Image": "sha256:own",
        "Entrypoint": ["sleep", "90"],
        "Cmd": [],
        "User": "0:0",
        "Labels": {"backup-sidecar.helper": "1f"},
        "Healthcheck": {"Test": ["NONE"]},
    }
    assert host.keys().isdisjoint({"Privileged", "Binds", "Devices", "PidMode", "PortBindings"})
    assert (host["NetworkMode"], host["AutoRemove"]) == ("none", True)
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["DAC_OVERRIDE"])
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] == host["MemorySwap"] == 256 << 20


@pytest.mark.parametrize("runtime", ["kata", "runsc"])
def test_a_target_with_a_kernel_of_its_own_is_refused_since_its_locks_are_not_seen(runtime):
    with pytest.raises(TargetUnsuitable, match=runtime) as refused:
        demand_one_kernel({"HostConfig": {"Runtime": runtime}})
    assert refused.value.code == "no-helper"


@pytest.mark.parametrize("host", [{}, {"Runtime": ""}, {"Runtime": "runc"}])
def test_any_other_target_may_have_a_helper(host):
    demand_one_kernel({"HostConfig": host})
