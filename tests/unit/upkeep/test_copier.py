"""What is stored is copied by a child process, in an order that is fair, and one destination's trouble is its own."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest
import yaml

from controller.core.copy import Copy
from controller.core.copy_errors import DestinationBusy, NotACopy, UnknownDestination
from controller.core.key import Key
from controller.core.run import SAFETY, Report
from controller.storage.copies import kit, sealing, signing
from controller.storage.copies.layout import CopiedRun
from controller.storage.copies.orders import Check, Prepare, Verified, Verify
from controller.storage.copies.reading import Copies, tar_of
from controller.storage.destinations.path import PathDestination
from controller.upkeep.copy_chores import Daily
from controller.upkeep.copy_freshness import judge_copies
from controller.upkeep.copy_queue import queue
from controller.upkeep.copy_worker import OrderFailed
from controller.upkeep.freshness import Promise
from tests.kit.stage import eventually
from tests.kit.world import World

pytestmark = pytest.mark.thorough

DB, FILES = Key(project="shop", service="db"), Key(project="shop", service="files")
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
CONFIG = """
copies:
  recipients: [{recipient}]
  one-recipient: true
  signing-key: {signing_key}
  destinations:
    nas: {{path: {folder}/nas, same-disk: true}}
    box: {{path: {folder}/box, same-disk: true}}
targets:
  shop/db: {{copies: [nas]}}
"""


class Moving(World):
    """Its clock can be put forward."""

    ahead = timedelta()

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Moving]:
    _, recipient = sealing.new_identity()
    text = CONFIG.format(recipient=recipient, signing_key=signing.new_key(), folder=tmp_path)
    (tmp_path / "nas").mkdir()
    made = Moving(tmp_path, config=text)
    yield made
    made.copier.stop()


def stored(world: World) -> Report:
    job = world.start(DB, "schedule")
    eventually(lambda: job.report.final)
    return job.report


def copies(world: World) -> list[Copy]:
    return world.catalog.copies(DB, "nas")


def working(world: World) -> bool:
    world.copier.wake()
    world.copier.look()
    return world.copier.lane("nas").current is None and not world.copier.waiting("nas")


def test_every_stored_run_is_copied_and_the_worker_ends(world: World) -> None:
    stored(world), stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)

    eventually(lambda: working(world))

    assert [copy.state for copy in copies(world)] == ["read-back"] * 2
    assert [copy.sent for copy in copies(world)] == [1, 0]
    eventually(lambda: "copies.worker" not in children())
    assert "nas" not in world.copier.failures()


def children() -> str:
    """The command lines of this process's children."""
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    found = [Path(f"/proc/{child}/cmdline") for child in task.read_text().split()]
    return "\n".join(path.read_text().replace("\0", " ") for path in found if path.exists())


def test_a_place_that_was_not_prepared_is_told_and_nothing_is_copied(world: World) -> None:
    stored(world)

    world.copier.look()
    eventually(lambda: "nas" in world.copier.failures())

    assert world.copier.failures()["nas"].code == "destination-foreign"
    assert [copy.state for copy in copies(world)] == ["running"]
    assert list((world.folder / "nas").iterdir()) == []
    with pytest.raises(OrderFailed, match="never prepared"):
        world.copier.lane("nas").ask(Check(), 30)


@pytest.mark.fault(42, "a destination of copies goes away and comes back", "runs go on; copied when it is back")
def test_a_folder_that_is_gone_is_passing_and_tried_again(world: World) -> None:
    stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)
    (world.folder / "nas").rename(world.folder / "away")

    world.copier.wake()
    world.copier.look()
    eventually(lambda: "nas" in world.copier.failures())
    assert world.copier.failures()["nas"].transient
    (world.folder / "away").rename(world.folder / "nas")
    world.copier.reloaded()

    eventually(lambda: working(world))
    assert "nas" not in world.copier.failures()


@pytest.mark.fault(44, "a stored run rots before it is copied", "no copy of it; the run is `damaged`")
def test_a_run_that_is_damaged_is_no_copy_and_known_as_damaged(world: World) -> None:
    report = stored(world)
    path = world.artifact(report.id)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    world.copier.lane("nas").ask(Prepare(), 30)
    later = stored(world)

    eventually(lambda: working(world))

    assert {copy.run: copy.state for copy in copies(world)} == {report.id: "failed", later.id: "read-back"}
    assert world.catalog.get(report.id).damaged


def test_a_copy_that_lacks_something_is_made_anew(world: World) -> None:
    report = stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)
    eventually(lambda: working(world))

    world.copier.verified("nas", Verified(objects=1, bytes=1, wrong=("object x",), damaged=(report.id,)))
    assert [run.id for run in world.copier.waiting("nas")] == [report.id]

    eventually(lambda: working(world))
    assert [copy.state for copy in copies(world)] == ["read-back"]


def test_a_worker_that_is_killed_leaves_a_run_that_is_finished_first(world: World) -> None:
    stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)
    world.copier.stop()

    with pytest.raises(DestinationBusy):
        world.copier.lane("nas").ask(Check(), 0.2)


def test_what_failed_while_the_clock_was_ahead_is_tried_again_when_it_went_back(world: Moving) -> None:
    stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)
    eventually(lambda: working(world))
    (world.folder / "nas").rename(world.folder / "away")
    stored(world)
    world.ahead = timedelta(days=31)
    eventually(lambda: working(world) or "nas" in world.copier.failures())
    (world.folder / "away").rename(world.folder / "nas")

    world.ahead = timedelta(0)
    eventually(lambda: working(world))

    assert [copy.state for copy in copies(world)] == ["read-back"] * 2


def test_what_is_done_daily_is_done_though_the_clock_was_ahead_when_it_was_done_last(tmp_path: Path) -> None:
    now = NOW + timedelta(days=31)
    daily = Daily(tmp_path / "read.json", lambda: now)
    assert daily.is_due
    daily.rest()
    assert not daily.is_due
    now = NOW
    assert daily.is_due
    daily.rest()
    now += timedelta(hours=23)
    assert not daily.is_due


def test_targets_go_where_the_file_says(world: World) -> None:
    assert world.copier.copied_to(DB) == ("nas",)
    assert world.copier.copied_to(FILES) == ("nas", "box")
    with pytest.raises(UnknownDestination):
        world.copier.lane("elsewhere")


# --- what is decided ------------------------------------------------------------------------------------------------


def run(day: int, key: Key = DB, **facts: object) -> Report:
    identity = f"202603{day:02}T030000Z-0123abcd"
    made = datetime(2026, 3, day, 3, tzinfo=UTC)
    known = {"id": identity, "target": key, "state": "succeeded", "trigger": "schedule", "created": made}
    return Report.model_validate(known | {"finished": made} | facts)


def copied(report: Report, state: str) -> Copy:
    copy = Copy.begun(report.target, report.id, "nas", NOW, 1)
    return copy.model_copy(update={"state": state, "finished": NOW})


def order(targets: list[list[Report]], *known: Copy) -> list[str]:
    waiting = queue(targets, {copy.run: copy for copy in known}, NOW)
    return [f"{report.target.service}{report.id[6:8]}" for report in waiting]


def test_the_newest_of_each_target_goes_before_the_history_of_any() -> None:
    mine, others = [run(9), run(8), run(7)], [run(6, FILES), run(5, FILES)]

    assert order([mine, others]) == ["files06", "db09", "files05", "db08", "db07"]


def test_what_was_begun_is_finished_first() -> None:
    runs = [run(9), run(8), run(7)]

    assert order([runs], copied(runs[2], "running")) == ["db07", "db09", "db08"]


def test_what_is_there_damaged_or_of_the_future_is_not_copied() -> None:
    runs = [run(20), run(9, damaged="rotten"), run(8), run(7)]

    assert order([runs], copied(runs[2], "read-back")) == ["db07"]
    assert order([runs], copied(runs[3], "failed")) == ["db08"]
    later = copied(runs[3], "failed").model_copy(update={"finished": NOW + timedelta(days=31)})
    assert order([runs], later) == ["db08", "db07"], "the clock was ahead"
    assert order([runs], copied(runs[3], "damaged")) == ["db08", "db07"]


def test_a_suspicious_run_waits_for_all_good_ones() -> None:
    assert order([[run(9, suspicious=("small",)), run(8)], [run(3, FILES)]]) == ["files03", "db08", "db09"]


def test_a_safety_backup_waits_for_the_newest_good_run_and_for_no_history() -> None:
    saved = run(9, trigger=SAFETY)
    assert order([[saved, run(8), run(7)]]) == ["db08", "db07", "db09"]
    assert order([[saved, run(8), run(7), run(6)]]) == ["db08", "db07", "db09", "db06"]
    assert order([[saved, run(8), run(7)]], copied(run(8), "read-back")) == ["db07", "db09"]


def test_the_copy_of_a_safety_backup_is_not_the_newest_one_of_a_target(world: Moving) -> None:
    first, saved = stored(world), stored(world)
    world.catalog.keep(saved.model_copy(update={"trigger": SAFETY}))
    for report in (first, saved):
        world.catalog.keep(copied(report, "read-back"))
    newest = world.copier.newest(DB, "nas")
    assert newest
    assert [newest[0].run, newest[1].id] == [first.id, first.id]


DAILY = Promise(max_age=timedelta(hours=36))


@pytest.mark.parametrize(
    ("promise", "max_age", "copied_day", "good_day", "state"),
    [
        (DAILY, None, 10, 10, "fresh"),
        (DAILY, None, 9, 10, "fresh"),
        (DAILY, None, 7, 7, "stale"),
        (DAILY, None, 8, 9, "late"),
        (DAILY, None, None, 10, "never"),
        (DAILY, None, None, None, "never"),
        (Promise(), None, None, None, "unpromised"),
        (Promise(), None, 1, 1, "fresh"),
        (Promise(), None, 1, 8, "late"),
        (DAILY, timedelta(hours=26), 9, 10, "stale"),
        (DAILY, timedelta(days=30), 1, 1, "fresh"),
        (None, None, 9, 10, "fresh"),
    ],
)
def test_the_age_of_a_copy_is_a_promise_of_its_own(
    promise: Promise | None, max_age: timedelta | None, copied_day: int | None, good_day: int | None, state: str
) -> None:
    there, good = (run(day) if day else None for day in (copied_day, good_day))

    assert judge_copies(promise, max_age, there, good, NOW)[0] == state
    if good:  # Though the clock was ahead when it ended.
        good = good.model_copy(update={"finished": NOW + timedelta(days=99), "seconds": 60})
        assert judge_copies(promise, max_age, there, good, NOW)[0] == state


@pytest.mark.fault(42, "a destination of copies hangs", "runs go on")
def test_runs_and_the_end_do_not_wait_for_a_destination_that_hangs(tmp_path: Path, world: Moving) -> None:
    """It takes the connection, and never says a word."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = {
            "host": "127.0.0.1",
            "port": silent.getsockname()[1],
            "user": "u",
            "path": "p",
            "host-key": key.export_public_key().decode().strip(),
            "key": key.export_private_key().decode(),
        }
        text = yaml.safe_load((tmp_path / "config/config.yaml").read_text())
        text["copies"]["destinations"]["nas"] = {"sftp": place}
        world.configure(yaml.safe_dump(text))
        stored(world)
        world.copier.look()
        taken, _ = silent.accept()
        began = time.monotonic()

        assert stored(world).state == "succeeded"
        world.copier.stop()

        assert time.monotonic() - began < 15
        taken.close()
    assert "copies.worker" not in children()
    assert [copy.state for copy in copies(world)] == ["running"]


def test_what_lies_there_is_read_again_once_a_day_and_what_rots_is_copied_anew(world: Moving) -> None:
    report = stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)
    eventually(lambda: working(world))
    (path,) = (world.folder / "nas/objects/base").glob("*/*")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    later = world.clock()
    world.ahead = timedelta(days=31)

    eventually(lambda: working(world) and copies(world)[0].started > later)

    (copy,) = copies(world)
    assert (copy.run, copy.state, copy.sent) == (report.id, "read-back", 1)
    rest = json.loads((world.folder / "work/copies/nas-read.json").read_text())
    assert rest["until"] > rest["written"]


def test_copies_that_no_rule_keeps_go_after_two_days_and_are_not_sent_again(tmp_path: Path, world: Moving) -> None:
    config = tmp_path / "config/config.yaml"
    world.configure(
        config.read_text().replace("same-disk: true}", "same-disk: true, retention: {keep-within: 0s, keep-last: 1}}")
    )
    runs = [stored(world).id for _ in range(3)]
    world.copier.lane("nas").ask(Prepare(), 30)
    eventually(lambda: working(world))
    world.ahead = timedelta(days=3)
    eventually(lambda: working(world) and (tmp_path / "work/copies/nas-pruned.json").exists())
    kept = [copy.state for copy in copies(world)]
    world.ahead = timedelta(days=6)

    eventually(lambda: working(world) and [copy.state for copy in copies(world)] == ["read-back", "gone", "gone"])

    assert kept == ["read-back"] * 3
    assert [copy.run for copy in copies(world)] == runs[::-1]
    assert len(list((tmp_path / "nas/runs").rglob("run.json"))) == 1
    assert world.copier.waiting("nas") == []


def days_later(world: Moving, days: int, *, prune: bool = True) -> list[str]:
    """Ids of the runs that are stored after a look at so many days from now."""
    world.ahead = timedelta(days=days)
    if prune:
        (target,) = (target for target in world.targets() if target.key == DB)
        world.pruner.prune(target)
    return [report.id for report in world.catalog.stored(DB)]


@pytest.mark.fault(
    44, "retention would delete a run that was not copied", "it waits for `copies.hold`, then it is counted as missed"
)
def test_a_run_waits_for_its_copy_as_long_as_copies_arrive(tmp_path: Path, world: Moving) -> None:
    text = (tmp_path / "config/config.yaml").read_text()
    world.configure(f"{text}\ndefaults: {{retention: {{keep-within: 0s, keep-last: 1}}}}\n")
    world.pruner.elsewhere = world.copier
    first, second = stored(world).id, stored(world).id

    assert days_later(world, 6) == [second, first]
    assert world.copier.missed("nas") == 0
    assert days_later(world, 8) == [second]
    assert [(copy.run, copy.state) for copy in copies(world)] == [(first, "missed")]
    assert world.copier.missed("nas") == 1


def test_a_run_that_is_copied_goes_when_no_rule_keeps_it(tmp_path: Path, world: Moving) -> None:
    text = (tmp_path / "config/config.yaml").read_text()
    world.configure(f"{text}\ndefaults: {{retention: {{keep-within: 0s, keep-last: 1}}}}\n")
    world.pruner.elsewhere = world.copier
    stored(world)
    second = stored(world).id
    world.copier.lane("nas").ask(Prepare(), 30)
    eventually(lambda: working(world))

    assert days_later(world, 1) == [second]
    assert world.copier.missed("nas") == 0


def test_a_list_that_cannot_be_believed_is_told_and_runs_are_still_copied(world: Moving) -> None:
    stored(world)
    world.copier.lane("nas").ask(Prepare(), 30)
    eventually(lambda: working(world))
    (path,) = (world.folder / "nas/runs").rglob("run.json")
    path.write_bytes(path.read_bytes().replace(b"schedule", b"cchedule"))
    world.ahead = timedelta(days=2)

    eventually(lambda: working(world) and world.copier.failures().get("nas"))
    heard = world.folder / "work/copies/nas-heard.json"
    eventually(lambda: working(world) and heard.exists() and heard.stat().st_mtime > path.stat().st_mtime)
    eventually(lambda: "copies.worker" not in children())

    assert world.copier.failures()["nas"].code == "not-a-copy"
    stored(world)
    eventually(lambda: working(world))
    assert copies(world)[0].state == "read-back"


def keyed(world: World, path: Path, *, recipient: str, signing_key: str, signers: str = "[]") -> None:
    """Other keys from now on."""
    copies = {"recipients": [recipient], "signing-key": signing_key, "signers": yaml.safe_load(signers)}
    text = yaml.safe_load(path.read_text())
    text["copies"] |= copies
    world.configure(yaml.safe_dump(text))


def opens(world: World, identity: str, *signing_keys: str) -> list[str]:
    """Ids of the runs at `nas` that a kit with this identity and the public halves opens, the oldest first."""
    verify = "".join(f"verify: {signing.Signer(key).public}\n" for key in signing_keys)
    opener = kit.read(f"{identity}\n{verify}")
    place, found = PathDestination(world.folder / "nas"), list[str]()
    for run in Copies(place, opener.verifier).runs():
        with suppress(NotACopy):
            assert isinstance(run, CopiedRun)
            assert list(tar_of(place, run, opener))
            found.append(run.run)
    return sorted(found)


@pytest.mark.fault(
    45, "signing key and recipients are changed", "copies of before are believed by `signers`, else kept"
)
def test_from_the_run_on_that_names_it_a_new_key_reads_and_the_old_copies_are_still_believed(
    tmp_path: Path, world: Moving
) -> None:
    """The rotation of docs/copies.md, by what a sidecar and two kits can do before, meanwhile and afterwards."""
    config = tmp_path / "config/config.yaml"
    (old_identity, old), (new_identity, new) = sealing.new_identity(), sealing.new_identity()
    old_signer, new_signer = signing.new_key(), signing.new_key()
    keyed(world, config, recipient=old, signing_key=old_signer)
    first = stored(world).id
    world.copier.lane("nas").ask(Prepare(), 30)
    eventually(lambda: working(world))
    keyed(world, config, recipient=new, signing_key=new_signer)
    second = stored(world).id
    eventually(lambda: working(world))

    forgotten = Verified.model_validate(world.copier.lane("nas").ask(verify_all(world), 30))
    keyed(world, config, recipient=new, signing_key=new_signer, signers=f"['{signing.Signer(old_signer).public}']")
    eventually(lambda: "copies.worker" not in children())
    believed = Verified.model_validate(world.copier.lane("nas").ask(verify_all(world), 30))

    assert opens(world, old_identity, old_signer, new_signer) == [first]
    assert opens(world, new_identity, old_signer, new_signer) == [second]
    assert "not signed by a known key" in forgotten.wrong[0]
    assert believed.wrong == ()
    assert sorted(believed.proved) == [first, second]


def verify_all(world: Moving) -> Verify:
    return Verify(before=world.clock() + timedelta(days=1), budget=1 << 40)
