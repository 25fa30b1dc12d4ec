"""Somebody has taken the host, and with its key everything at the destination: a time before that brings it back."""

import io
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from minio.commonconfig import GOVERNANCE
from minio.error import S3Error
from minio.retention import Retention

from controller.core.copy_errors import DestinationForeign, DestinationRefused, UnknownObject
from controller.storage.copies.layout import CopiedRun
from controller.storage.copies.reading import Copies, tar_of
from controller.storage.copies.then import Then
from controller.storage.destinations.path import PathDestination
from controller.storage.destinations.s3 import S3Destination
from tests.kit.moto_server import moto_bucket
from tests.kit.s3_server import s3_server
from tests.unit.storage.copies_stand import KEY, Stand, noise, run_id, stand

pytestmark = pytest.mark.thorough

LOCK = {"lock_seconds": 35 * 86400}
ATTACKED = pytest.mark.fault(
    49, "S3: with the host's own key everything is overwritten and deleted", "`--as-of` brings every copy back"
)


@contextmanager
def strict() -> Iterator[dict[str, Any]]:
    with s3_server(locks=True, page=3) as server:
        yield server.options


@contextmanager
def of_others() -> Iterator[dict[str, Any]]:
    yield moto_bucket(locks=True)


@pytest.fixture(params=[strict, of_others])
def options(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with request.param() as told:
        yield told


@contextmanager
def copied(folder: Path, options: dict[str, Any]) -> Iterator[Stand]:
    """With two runs, which share a slice."""
    with closing(S3Destination(options)) as place:
        here = stand(folder, place).prepared()
        for number in (1, 2):
            here.send(here.publish(number, b"of both" * 1000, noise(1000)))
        yield here


def attack(options: dict[str, Any]) -> list[str]:
    """Overwrite, delete, and delete each version of everything below the prefix; gives what was refused."""
    client, bucket = (
        Minio(
            options["endpoint"].removeprefix("http://"),
            options["key_id"],
            options["key"],
            secure=False,
            region=options["region"],
        ),
        options["bucket"],
    )
    refused = []

    def tried(code: str, call: Any, *arguments: Any, **more: Any) -> None:
        try:
            call(*arguments, **more)
        except S3Error as error:
            refused.append(f"{code} {error.code}")

    names = {found.object_name for found in client.list_objects(bucket, recursive=True)}
    versions = list(client.list_objects(bucket, recursive=True, include_version=True))
    soon = Retention(GOVERNANCE, datetime.now(UTC) + timedelta(seconds=5))
    for found in versions:
        tried("unlock", client.set_object_retention, bucket, found.object_name, soon, version_id=found.version_id)
    for name in names:
        client.fput_object(bucket, name, "/etc/hostname")
        client.remove_object(bucket, name)
    for found in versions:
        tried("delete", client.remove_object, bucket, found.object_name, version_id=found.version_id)
    return refused


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def taken_back(here: Stand, moment: datetime) -> dict[str, dict[str, bytes]]:
    """By run."""
    copies, back = Copies(Then(here.destination, moment), here.kit.verifier), {}
    for run in copies.runs():
        assert isinstance(run, CopiedRun)
        archive = io.BytesIO(b"".join(tar_of(copies.destination, run, here.kit)))
        with tarfile.open(fileobj=archive) as tar:
            members = {name: tar.extractfile(name) for name in tar.getnames()}
            back[run.run] = {
                name.rpartition("/")[2]: file.read() for name, file in members.items() if file and "/marks/" not in name
            }
    return back


@ATTACKED
def test_what_was_overwritten_and_deleted_is_brought_back_as_of_before(options: dict[str, Any], tmp_path: Path) -> None:
    with copied(tmp_path, options | LOCK) as here:
        time.sleep(1.1)  # Versions are dated to the second.
        before = datetime.now(UTC)
        time.sleep(1.1)
        refused = attack(options)

        with pytest.raises(DestinationForeign):
            _ = here.copies
        back = taken_back(here, before)

        assert {"delete AccessDenied"} <= {*refused}
        assert back == {run_id(number): files(here.store.folder(KEY, run_id(number))) for number in (1, 2)}


@pytest.mark.fault(49, "S3: one list of a run is overwritten, and its time is after the attack", "not believed")
def test_as_of_afterwards_nothing_is_believed(options: dict[str, Any], tmp_path: Path) -> None:
    with copied(tmp_path, options | LOCK) as here:
        (name, *_) = here.copies.names()
        data = b"".join(here.destination.get(name))
        here.destination.put(name, data.replace(b'"scheduled"', b'"by-hand"'))
        now = datetime.now(UTC) + timedelta(seconds=2)

        told = list(Copies(Then(here.destination, now), here.kit.verifier).runs())

        assert sorted(type(each).__name__ for each in told) == ["CopiedRun", "NotACopy"]


def test_a_time_before_everything_is_told(tmp_path: Path) -> None:
    with strict() as options, copied(tmp_path, options) as here:
        early = Then(here.destination, datetime.now(UTC) - timedelta(days=1))

        with pytest.raises(DestinationRefused, match="no copies lay there"):
            Copies(early, here.kit.verifier)
        with pytest.raises(UnknownObject, match="was not there"):
            early.get(here.objects()[0])


def test_a_folder_has_only_what_is_there_now(tmp_path: Path) -> None:
    with pytest.raises(DestinationRefused, match="no versions"):
        Copies(Then(PathDestination(tmp_path), datetime.now(UTC)), stand(tmp_path).kit.verifier)


def test_the_past_is_not_written(tmp_path: Path) -> None:
    then = Then(PathDestination(tmp_path), datetime.now(UTC))

    for change in (lambda: then.put("a", b"x"), lambda: then.delete("a"), lambda: then.keep("a")):
        with pytest.raises(DestinationRefused, match="as it was"):
            change()
    assert list(tmp_path.iterdir()) == []
