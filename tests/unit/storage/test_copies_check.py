"""`copies check` tells what a destination does to copies on its own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.core.copy_errors import DestinationLies
from controller.storage.copies import sealing, signing
from controller.storage.copies.orders import Check, Checked, Prepare, Setup
from controller.storage.copies.worker import Worker
from tests.kit.s3_server import S3Server, s3_server
from tests.unit.storage.copies_stand import WRITER

EXPIRES = "<Expiration><Days>30</Days></Expiration>"
FORGETS = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>"
FROZEN = "<Transition><Days>7</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>"
COOL = "<Transition><Days>7</Days><StorageClass>STANDARD_IA</StorageClass></Transition>"
MARKERS = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
RULES = pytest.mark.fault(
    50, "S3: a lifecycle rule deletes or archives copies", "`copies check` tells the rule; exit 3"
)


def rule(does: str, where: str = "<Filter><Prefix></Prefix></Filter>", status: str = "Enabled") -> str:
    return f"<Rule><ID>tidy</ID>{where}<Status>{status}</Status>{does}</Rule>"


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@contextmanager
def working(folder: Path, kind: str, options: dict[str, Any]) -> Iterator[Worker]:
    setup = Setup(
        name="cloud",
        kind=kind,
        options=options,
        store=folder / "store",
        ledger=folder / "ledger.sqlite",
        writer=WRITER,
        recipients=(sealing.new_identity()[1],),
        signing_key=signing.new_key(),
    )
    with closing(Worker(setup, lambda done: None)) as worker:
        worker.obey(Prepare())
        yield worker


def checked(folder: Path, server: S3Server, **more: Any) -> Checked:
    with working(folder, "s3", server.options | more) as worker:
        found = worker.obey(Check())
    assert isinstance(found, Checked)
    return found


def test_a_bucket_without_anything_of_its_own_is_told(server: S3Server, tmp_path: Path) -> None:
    found = checked(tmp_path, server)

    assert (found.deletes, found.versions, found.locked_until, found.rules_read, found.warnings) == (
        True,
        False,
        None,
        True,
        (),
    )
    assert abs(found.ahead) <= 60
    assert not [key for key in server.objects if "canary" in key]


def test_a_folder_tells_what_it_can(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()

    with working(tmp_path, "path", {"path": str(tmp_path / "nas"), "same_disk": True}) as worker:
        found = worker.obey(Check())

    assert isinstance(found, Checked)
    assert (found.deletes, found.versions, found.rules_read, found.warnings) == (True, None, None, ())


@RULES
@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (rule(EXPIRES), "tidy deletes copies after 30 days"),
        (rule(EXPIRES, "<Filter><Prefix>shop/objects/base/</Prefix></Filter>"), "tidy deletes copies after 30 days"),
        (rule(EXPIRES, "<Prefix>sh</Prefix>"), "tidy deletes copies after 30 days"),
        (rule(EXPIRES, "<Filter/>"), "tidy deletes copies after 30 days"),
        (rule(FROZEN), "tidy moves copies to DEEP_ARCHIVE after 7 days"),
        (rule(COOL), ""),
        (rule(MARKERS), ""),
        (rule(EXPIRES, status="Disabled"), ""),
        (rule(EXPIRES, "<Filter><Prefix>other/</Prefix></Filter>"), ""),
        (rule(EXPIRES, "<Filter><And><Prefix/><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>"), ""),
    ],
    ids=["all", "base", "old-form", "no-filter", "archive", "cool", "markers", "off", "elsewhere", "tagged"],
)
def test_a_rule_that_takes_copies_away_is_told(server: S3Server, tmp_path: Path, rules: str, words: str) -> None:
    server.lifecycle = rules

    told = " ".join(checked(tmp_path, server).warnings)

    assert words in told
    assert bool(told) == bool(words)


def test_versions_that_nothing_removes_are_told(tmp_path: Path) -> None:
    with s3_server(versioned=True) as server:
        (warning,) = checked(tmp_path, server).warnings
        server.lifecycle = rule(FORGETS)
        found = checked(tmp_path, server)

    assert "stays for ever" in warning
    assert (found.versions, found.warnings) == (True, ())


def test_what_may_not_be_known_is_not_guessed(server: S3Server, tmp_path: Path) -> None:
    server.denied |= {"lifecycle", "versioning"}

    found = checked(tmp_path, server)

    assert (found.versions, found.rules_read, found.warnings) == (None, False, ())


def test_what_cannot_be_deleted_is_told(server: S3Server, tmp_path: Path) -> None:
    server.denied.add("DELETE")

    assert not checked(tmp_path, server).deletes


def test_clocks_that_differ_are_told(server: S3Server, tmp_path: Path) -> None:
    server.ahead = timedelta(minutes=10)

    found = checked(tmp_path, server)

    assert 500 < found.ahead < 700
    assert found.warnings == ("its clock and ours differ by 10 minutes",)


def test_a_lock_is_shown_and_one_that_does_not_hold_is_told(tmp_path: Path) -> None:
    with s3_server(locks=True, lifecycle=rule(FORGETS)) as server:
        found = checked(tmp_path, server, lock_seconds=35 * 86400)
        server.forgets_locks = True
        (warning,) = checked(tmp_path, server, lock_seconds=35 * 86400).warnings

    assert found.locked_until
    assert found.locked_until - datetime.now(UTC) > timedelta(days=34)
    assert found.warnings == ()
    assert "does not lock them" in warning


def test_a_server_that_lies_is_found_out(server: S3Server, tmp_path: Path) -> None:
    with working(tmp_path, "s3", server.options) as worker:
        put = server.put
        server.put = lambda key, data, headers: put(key, data[::-1], headers)  # type: ignore[method-assign]

        with pytest.raises(DestinationLies):
            worker.obey(Check())
