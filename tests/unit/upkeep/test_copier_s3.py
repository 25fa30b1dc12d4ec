"""A bucket as a destination of the running copier: by the child process, and with what the bucket keeps itself."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from controller.storage.copies.orders import Prepare
from tests.kit.s3_server import KEY, KEY_ID, S3Server, s3_server
from tests.kit.stage import eventually
from tests.unit.upkeep.test_copier import Moving, children, copies, stored, working, world

pytestmark = pytest.mark.thorough

__all__ = ["world"]
RULES = {"keep-within": "0s", "keep-last": 1}


@pytest.fixture
def bucket() -> Iterator[S3Server]:
    with s3_server(locks=True) as running:
        yield running


def configured(world: Moving, bucket: S3Server, **more: object) -> Moving:
    text = yaml.safe_load((world.folder / "config/config.yaml").read_text())
    s3 = {name.replace("_", "-"): value for name, value in bucket.options.items()}
    text["copies"]["destinations"]["nas"] = {"s3": s3 | {"key-id": KEY_ID, "key": KEY}} | more
    world.configure(yaml.safe_dump(text))
    return world


def test_a_run_is_copied_to_a_bucket_by_the_child_process(world: Moving, bucket: S3Server) -> None:
    configured(world, bucket)
    stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)

    eventually(lambda: working(world))

    assert [copy.state for copy in copies(world)] == ["read-back"]
    eventually(lambda: "copies.worker" not in children())
    assert any(name.startswith("shop/runs/shop/db/") for name in bucket.objects)


@pytest.mark.fault(48, "a copy that no rule keeps is locked", "told as kept, no error; goes when the lock ends")
def test_what_a_lock_keeps_is_told_and_copied_no_second_time(world: Moving, bucket: S3Server) -> None:
    configured(world, bucket, lock="35d", retention=RULES)
    for _ in range(3):
        stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)
    eventually(lambda: working(world))
    world.ahead = timedelta(days=3)
    eventually(lambda: working(world) and (world.folder / "work/copies/nas-pruned.json").exists())
    world.ahead = timedelta(days=6)

    eventually(lambda: working(world) and world.copier.kept("nas") == 2)

    assert [copy.state for copy in copies(world)] == ["read-back"] * 3
    assert "nas" not in world.copier.failures()
    assert len([name for name in bucket.objects if name.endswith("/run.json")]) == 3


@pytest.mark.slow
@pytest.mark.fault(46, "S3: SlowDown for longer", "runs go on; copied when it is back")
def test_a_bucket_that_stays_slow_is_tried_again(world: Moving, bucket: S3Server, tmp_path: Path) -> None:
    configured(world, bucket)
    world.copier.lane("nas").ask(Prepare(), 30)
    bucket.failing.extend([(503, "SlowDown")] * 999)
    assert stored(world).state == "succeeded"

    eventually(lambda: not working(world) and "nas" in world.copier.failures(), seconds=60)
    failure = world.copier.failures()["nas"]
    bucket.failing.clear()

    def copied() -> bool:
        world.copier.lane("nas").forgive()
        return working(world)

    eventually(copied, seconds=60)

    assert (failure.code, failure.transient) == ("destination-down", True)
    assert [copy.state for copy in copies(world)] == ["read-back"]
