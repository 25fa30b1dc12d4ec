"""Copies in a bucket on the real engine, and a host whose key was used to destroy them all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.copies_stand import FILES, SUM, Stand, commanded, place_of_copies, told
from tests.kit.s3_server import BUCKET, KEY, KEY_ID, REGION
from tests.kit.stage import LABEL, REPOSITORY, SIDECAR_IMAGE, Json, docker, execute, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
DESTROY = f"""
from datetime import UTC, datetime, timedelta
from minio import Minio
from minio.error import S3Error
client = Minio("s3:9000", "{KEY_ID}", "{KEY}", secure=False, region="{REGION}")
versions = list(client.list_objects("{BUCKET}", recursive=True, include_version=True))
for name in dict.fromkeys(found.object_name for found in versions):
    client.fput_object("{BUCKET}", name, "/etc/hostname")
    client.remove_object("{BUCKET}", name)
for found in versions:
    try:
        client.remove_object("{BUCKET}", found.object_name, version_id=found.version_id)
    except S3Error as error:
        print(error.code)
"""


@contextmanager
def bucket(stand: Stand) -> Iterator[tuple[str, ...]]:
    """One with object lock that outlives its hosts; gives what a host's container needs to reach it."""
    name, label = f"{stand.project}-s3", ("--label", f"{LABEL}={stand.project}-s3")
    kit = ("--volume", f"{REPOSITORY}/tests/kit:/kit/tests/kit:ro", "--env", "PYTHONPATH=/kit")
    program = ("--entrypoint", "python3", SIDECAR_IMAGE, "-m", "tests.kit.s3_server", "9000")

    def place(words: Json) -> None:
        s3 = {"bucket": BUCKET, "prefix": "shop", "endpoint": "http://s3:9000", "region": REGION}
        words["copies"]["destinations"] = {"cloud": {"s3": s3, "lock": "35d", "max-age": "26h"}}

    stand.configure(place)
    stand.secrets |= {"S3_KEY_ID": KEY_ID, "S3_KEY": KEY}
    try:
        docker("network", "create", *label, name)
        docker("run", "--detach", "--name", name, *label, "--network", name, "--network-alias", "s3", *kit, *program)
        yield ("--network", name)
    finally:
        execute("docker", "rm", "--force", name)
        execute("docker", "network", "rm", name)


@pytest.fixture
def stand(sidecar_image: str, token: str, tmp_path: Path) -> Iterator[Stand]:
    assert sidecar_image
    with place_of_copies(token, tmp_path) as made:
        yield made


@pytest.mark.fault(
    49, "S3: with the host's own key everything is overwritten and deleted", "`--as-of` brings every copy back"
)
def test_copies_that_the_hosts_own_key_destroyed_come_back_as_of_before(stand: Stand) -> None:
    with bucket(stand) as network:
        with stand.host(*network) as (sidecar, _, container):
            within(container, FILES)
            before, key = within(container, SUM), sidecar.key("files")
            run = sidecar.backup("files")["id"]
            commanded(sidecar, "copies", "prepare", "cloud")
            (checked,) = commanded(sidecar, "copies", "check", "cloud", code=3)
            commanded(sidecar, "copies", "send", "cloud")
            (target,), kept = told(sidecar)["targets"], told(sidecar)
            time.sleep(1.1)  # Versions are dated to the second.
            moment = datetime.now(UTC).isoformat()
            time.sleep(1.1)
            refused = docker("exec", sidecar.container, "python3", "-c", DESTROY).split()
            failed = commanded(sidecar, "copies", "verify", "cloud", code=1)

        with stand.host(*network, signs=False) as (sidecar, _, container):
            gone = commanded(sidecar, "adopt", "cloud", "--identity", "-", kit=stand.kit, code=1)
            seen = commanded(sidecar, "copies", "show", "cloud", "--as-of", moment)
            (adopted,) = commanded(sidecar, "adopt", "cloud", "--identity", "-", "--as-of", moment, kit=stand.kit)
            sidecar.wait("files")
            then = ("--from", "cloud", "--identity", "-", "--as-of", moment)
            commanded(sidecar, "restore", key, *then, "--in-place", "--replace", kit=stand.kit)
            after = within(container, SUM)

    assert (target["key"], target["state"], target["run"]) == (key, "fresh", run)
    assert datetime.fromisoformat(checked["locked_until"]) - datetime.now(UTC) > timedelta(days=34)
    assert "stays for ever" in checked["warnings"][0]
    assert kept["lock"] == "35d"
    assert refused.count("AccessDenied") == len(refused) >= 3
    assert "never prepared" in str(failed)
    assert "never prepared" in gone
    assert [(each["key"], each["run"]) for each in seen] == [(key, run)]
    assert (adopted["outcome"], adopted["run"], adopted["key"]) == ("adopted", run, key)
    assert after == before
