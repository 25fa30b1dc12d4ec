import io
import subprocess
from pathlib import Path

import pytest

from strategies.base import Answer, Facts, Unsuitable
from strategies.etcd import Etcd, EtcdOptions, whole_snapshot
from strategies.etcd_client import SERVER
from strategies.plan import RESTART, Incomplete, RestoreRequest, StoredDump
from tests.contract.samples.etcd import ANSWERS, SAMPLE, SNAPSHOT

REQUEST = RestoreRequest("r", (StoredDump("snapshot.db", "etcd", ""),), replace=True, restore="r1")


def restore(**answers):
    return Etcd().restore(SAMPLE.container, Facts("sh", ANSWERS | answers), EtcdOptions(), REQUEST)


@pytest.mark.parametrize("place", [0, 16, 5000, -40, -1])
def test_one_changed_byte_is_found(place):
    damaged = bytearray(SNAPSHOT)
    damaged[place] ^= 1
    with pytest.raises(Incomplete):
        whole_snapshot(io.BytesIO(bytes(damaged)), {})


def test_a_server_that_is_gone_is_passing_and_one_that_refuses_is_not():
    gone = "context deadline exceeded"
    for text, code in ((gone, "not-ready"), ("etcdserver: user name is empty", "refused")):
        with pytest.raises(Unsuitable) as refused:
            Etcd().plan(SAMPLE.container, Facts("sh", ANSWERS | {"health": Answer(1, "", text)}), EtcdOptions())
        assert refused.value.code == code


def test_one_member_of_several_is_not_restored_into():
    with pytest.raises(Unsuitable) as refused:
        restore(members=Answer(0, ANSWERS["members"].stdout * 3))
    assert refused.value.code == "clustered"


def test_the_server_is_started_anew_last_but_one():
    assert [step.argv == RESTART for step in restore().swap] == [False, False, True, False]


SETTINGS = [
    ({}, "/here/default.etcd http://127.0.0.1:2379"),
    ({"ETCD_NAME": "one"}, "/here/one.etcd http://127.0.0.1:2379"),
    ({"ETCD_DATA_DIR": "/data"}, "/data http://127.0.0.1:2379"),
    ({"ETCD_LISTEN_CLIENT_URLS": "http://0.0.0.0:2380,http://10.0.0.1:1"}, "/here/default.etcd http://127.0.0.1:2380"),
    ({"ETCD_LISTEN_CLIENT_URLS": "https://[::]:2379"}, "/here/default.etcd https://127.0.0.1:2379"),
]


@pytest.mark.parametrize(("variables", "found"), SETTINGS)
def test_the_server_is_found_by_its_variables(variables, found, tmp_path: Path):
    script = f'{SERVER.replace("/proc/[", "/none/[")}\necho "$data $ETCDCTL_ENDPOINTS"'
    done = subprocess.run(
        ["sh", "-c", script, "etcd", "", ""],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().replace(str(tmp_path), "/here") == found
