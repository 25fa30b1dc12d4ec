"""What S3 servers and their keepers do to a destination, and what is told of it."""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller.core.copy_errors import (
    DestinationDown,
    DestinationError,
    DestinationFull,
    DestinationLies,
    DestinationRefused,
    NotACopy,
    ObjectKept,
)
from controller.storage.copies import sending
from controller.storage.copies.layout import CopiedRun
from controller.storage.copies.place import Place
from controller.storage.copies.reading import tar_of
from controller.storage.destinations import s3, s3_client
from controller.storage.destinations.s3 import SPARE, S3Destination
from tests.kit.s3_server import S3Server, s3_server
from tests.unit.storage.copies_stand import KEY, NOW, Stand, noise, run_id, stand

pytestmark = pytest.mark.thorough

NAME = "objects/base/aa/" + 64 * "a"
DAY = timedelta(days=1)
Opening = Callable[..., S3Destination]
REFUSES = pytest.mark.fault(
    51, "S3: wrong key, region, bucket, clock or right", "refused at once, with the remedy; nothing is there"
)
PASSES = pytest.mark.fault(
    46, "S3: SlowDown, 503, a connection that hangs or is cut", "tried again; a list is never cut"
)
LIES = pytest.mark.fault(
    38, "S3 says 200 and keeps nothing, half of it, or a flipped bit", "no copy; sent anew, then `destination-lies`"
)
LOCKS = pytest.mark.fault(
    48, "S3: the clocks differ, and copies are locked", "refused above 5 minutes; by the server's"
)


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def locking() -> Iterator[S3Server]:
    with s3_server(locks=True) as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def opening() -> Iterator[Opening]:
    with ExitStack() as stack:
        yield lambda server, **more: stack.enter_context(closing(S3Destination(server.options | more)))


def got(place: S3Destination, name: str = NAME) -> bytes:
    return b"".join(place.get(name))


def test_every_body_has_its_md5_and_nothing_that_few_servers_know(server: S3Server, opening: Opening) -> None:
    place = opening(server)

    for content in (b"", b"x", bytes(8 << 20)):
        place.put(NAME, content)

    assert {method for method, _, _ in server.asked} == {"PUT"}
    for _, path, headers in server.asked:
        assert path.startswith("/copies/shop/objects/")
        assert "content-md5" in headers["authorization"]
        assert "?" not in path
        assert not {name for name in headers if "trailer" in name or "checksum" in name or name == "transfer-encoding"}


def test_nothing_outside_the_prefix_is_seen(server: S3Server, opening: Opening) -> None:
    place, other = opening(server), opening(server, prefix="shop2")
    other.put(NAME, b"of another")
    place.put(NAME, b"own")

    assert [found.name for found in place.list("")] == [NAME]
    place.delete(NAME)
    assert got(other) == b"of another"


@pytest.mark.parametrize(("hours", "expected"), [(5, None), (3, b"first"), (1, b"second"), (0, b"third")])
def test_of_many_versions_the_newest_of_then_is_given(
    locking: S3Server, opening: Opening, hours: int, expected: bytes | None
) -> None:
    place, now = opening(locking), datetime.now(UTC)
    for content in (b"first", b"second", b"third"):
        place.put(NAME, content)
        locking.passes(timedelta(hours=2) if content != b"third" else timedelta(0))

    found = [each.version for each in place.list("", now - timedelta(hours=hours) + timedelta(minutes=1))]

    assert [b"".join(place.get(NAME, version)) for version in found] == ([expected] if expected else [])


def test_what_was_deleted_then_is_not_given(locking: S3Server, opening: Opening) -> None:
    place, now = opening(locking), datetime.now(UTC)
    place.put(NAME, b"x")
    locking.passes(timedelta(hours=2))
    place.delete(NAME)
    locking.passes(timedelta(hours=2))
    place.put(NAME, b"y")

    assert [len(list(place.list("", now - timedelta(hours=hours)))) for hours in (5, 3, 1)] == [0, 1, 0]


def test_the_prefix_is_signed_and_copies_may_be_moved_with_their_marker(
    server: S3Server, opening: Opening, tmp_path: Path
) -> None:
    here = stand(tmp_path, opening(server)).prepared()
    here.send(here.publish(1, noise(1000)))
    for name, versions in list(server.objects.items()):
        server.objects[name.replace("shop/", "moved/", 1)] = versions
    signed = [run.prefix for run in here.copies.runs() if isinstance(run, CopiedRun)]

    here.destination = opening(server, prefix="moved")

    assert signed == ["shop"]
    assert whole(here) == [run_id(1)]
    del server.objects["moved/backup-sidecar-copies.json"]
    Place(here.destination, here.ledger, here.writer, lambda: NOW)._written("0" * 32, "moved")
    assert [type(told) for told in here.copies.runs()] == [NotACopy]


# --- what refuses ---------------------------------------------------------------------------------------------------


@REFUSES
@pytest.mark.parametrize(
    ("options", "words", "remedy"),
    [
        ({"key": "another"}, "SignatureDoesNotMatch", "`key`"),
        ({"key_id": "ANOTHER"}, "InvalidAccessKeyId", "`key-id`"),
        ({"region": "us-east-1"}, "AuthorizationHeaderMalformed", "Set `region` to `eu-test-1`"),
        ({"bucket": "another"}, "NoSuchBucket", "Make the bucket"),
    ],
)
def test_what_is_set_wrong_is_refused_with_its_remedy(
    server: S3Server, opening: Opening, options: dict[str, str], words: str, remedy: str
) -> None:
    place = opening(server, **options)

    for attempt in (place.probe, lambda: place.put(NAME, b"x"), lambda: got(place), lambda: list(place.list(""))):
        with pytest.raises(DestinationRefused, match=words) as error:
            attempt()
        assert remedy in error.value.hint
    assert server.objects == {}


@REFUSES
@pytest.mark.parametrize(("status", "code"), [(301, "PermanentRedirect"), (307, "TemporaryRedirect")])
def test_a_redirection_to_another_region_is_told_and_not_followed(
    server: S3Server, opening: Opening, status: int, code: str
) -> None:
    server.failing.append((status, code))

    with pytest.raises(DestinationRefused, match=code) as error:
        opening(server).put(NAME, b"x")

    assert "`region`" in error.value.hint
    assert len(server.asked) == 1


@REFUSES
@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_clock_that_the_server_refuses_is_told(server: S3Server, opening: Opening, minutes: int) -> None:
    server.ahead = timedelta(minutes=minutes)

    with pytest.raises(DestinationRefused, match="RequestTimeTooSkewed") as error:
        opening(server).put(NAME, b"x")

    assert "clock" in error.value.hint


@REFUSES
def test_a_key_that_may_not_write_or_delete_is_told(server: S3Server, opening: Opening) -> None:
    place = opening(server)
    place.put(NAME, b"x")
    server.denied |= {"PUT", "DELETE"}

    with pytest.raises(DestinationRefused, match="AccessDenied"):
        place.put(NAME, b"y")
    with pytest.raises(ObjectKept):
        place.delete(NAME)
    assert got(place) == b"x"


@pytest.mark.fault(
    46, "S3: the key is changed while a copy is made", "refused; goes on with the new one, nothing twice"
)
def test_keys_that_change_while_it_is_copied_lose_nothing(server: S3Server, opening: Opening, tmp_path: Path) -> None:
    here = stand(tmp_path, opening(server)).prepared()
    folder, old = here.publish(1, noise(1000), noise(1000)), dict(server.keys)
    put = server.put

    def changing(*arguments: object) -> dict[str, str]:
        server.keys = {"NEW": "new"}
        return put(*arguments)  # type: ignore[arg-type]

    server.put = changing  # type: ignore[method-assign]
    with pytest.raises(DestinationRefused, match="InvalidAccessKeyId"):
        here.send(folder)
    server.put, server.keys = put, old | {"NEW": "new"}  # type: ignore[method-assign]
    here.destination = here.place.destination = opening(server, key_id="NEW", key="new")

    here.send(folder)

    assert whole(here) == [run_id(1)]


@pytest.mark.fault(47, "S3: quota, or no room", "`destination-full`; nothing there is deleted")
def test_a_full_bucket_is_told_and_keeps_what_it_has(server: S3Server, opening: Opening, tmp_path: Path) -> None:
    here = stand(tmp_path, opening(server)).prepared()
    here.send(here.publish(1, noise(1000)))
    before = dict(server.objects)
    server.quota = sum(len(each[-1].data or b"") for each in before.values()) + 100

    with pytest.raises(DestinationFull, match="QuotaExceeded"):
        here.send(here.publish(2, noise(1000)))

    assert server.objects == before
    server.quota = 1 << 30
    here.send(here.store.folder(KEY, run_id(2)))
    assert whole(here) == [run_id(1), run_id(2)]


@pytest.mark.fault(47, "S3: objects were moved to an archive", "refused with the remedy; never taken for a copy")
def test_what_lies_in_an_archive_is_told(server: S3Server, opening: Opening) -> None:
    place = opening(server)
    place.put(NAME, b"x")
    server.archived = True

    with pytest.raises(DestinationRefused, match="InvalidObjectState") as error:
        got(place)

    assert "archive" in error.value.hint


@pytest.mark.parametrize(
    ("status", "error"),
    [(413, DestinationRefused), (502, DestinationDown), (507, DestinationFull), (403, DestinationRefused)],
)
def test_what_a_proxy_says_is_told_by_its_status(
    server: S3Server, opening: Opening, status: int, error: type[DestinationError]
) -> None:
    server.html = status

    with pytest.raises(error, match=f"status {status}"):
        opening(server).put(NAME, b"x")


# --- what passes ----------------------------------------------------------------------------------------------------


@PASSES
@pytest.mark.parametrize("code", ["SlowDown", "ServiceUnavailable", "InternalError"])
def test_a_server_that_is_slow_for_a_moment_is_asked_again(server: S3Server, opening: Opening, code: str) -> None:
    server.failing.extend([(503, code)] * 2)
    place = opening(server)

    place.put(NAME, b"content")

    assert got(place) == b"content"


@PASSES
def test_a_server_that_stays_slow_is_down(server: S3Server, opening: Opening) -> None:
    server.failing.extend([(503, "SlowDown")] * 99)

    with pytest.raises(DestinationDown, match="SlowDown"):
        opening(server).put(NAME, b"content")


@PASSES
@pytest.mark.parametrize("how", ["asleep", pytest.param("halfway", marks=pytest.mark.slow), "cut"])
def test_a_server_that_goes_to_sleep_is_down_and_no_list_is_cut(
    server: S3Server, opening: Opening, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for number in range(5):
        opening(server).put(f"objects/{number}", bytes(3 << 20))
    monkeypatch.setattr(s3_client, "READ_SECONDS", 1.0)
    monkeypatch.setattr(s3_client, "TRIES", 1)
    place = opening(server)
    server.hangs = how

    for attempt in (lambda: list(place.list("")), lambda: got(place, "objects/1")):
        with pytest.raises(DestinationDown):
            attempt()
    server.hangs = ""
    server.released.set()
    assert len(list(opening(server).list(""))) == 5


@PASSES
@pytest.mark.slow
def test_an_object_that_comes_drop_by_drop_is_given_up(
    server: S3Server, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening(server).put(NAME, bytes(3 << 20))
    monkeypatch.setattr(s3, "GET_SECONDS", 2.0)
    server.hangs = "dripping"

    with pytest.raises(DestinationDown, match="takes more than 2 s"):
        got(opening(server))
    server.released.set()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://s3.invalid"], ids=["port", "name"])
def test_nobody_who_listens_passes(server: S3Server, opening: Opening, endpoint: str) -> None:
    with pytest.raises(DestinationDown, match="does not answer") as error:
        opening(server, endpoint=endpoint).probe()

    assert "not `internal`" in error.value.hint


# --- what lies ------------------------------------------------------------------------------------------------------


def whole(here: Stand) -> list[str]:
    runs = [run for run in here.copies.runs() if isinstance(run, CopiedRun)]
    assert all(list(tar_of(here.destination, run, here.kit)) for run in runs)
    return sorted(run.run for run in runs)


@LIES
@pytest.mark.parametrize("lie", ["half", "flip"])
def test_what_is_kept_wrong_is_sent_anew(server: S3Server, opening: Opening, tmp_path: Path, lie: str) -> None:
    here = stand(tmp_path, opening(server)).prepared()
    server.lies[lie] = 2

    sent = here.send(here.publish(1, noise(1000)))

    assert (sent.sent, whole(here), len(here.objects())) == (3, [run_id(1)], 1)


@LIES
@pytest.mark.parametrize("lie", ["nothing", "half", "flip"])
def test_a_server_that_keeps_lying_has_no_copy(
    server: S3Server, opening: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    monkeypatch.setattr(sending, "APPEARING_SECONDS", (0.0, 0.0))
    here = stand(tmp_path, opening(server)).prepared()
    server.lies[lie] = 99

    with pytest.raises(DestinationLies):
        here.send(here.publish(1, noise(1000)))

    assert whole(here) == here.objects() == []


def test_an_object_that_is_late_is_waited_for(
    server: S3Server, opening: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "APPEARING_SECONDS", (0.0, 0.0, 0.0))
    here = stand(tmp_path, opening(server)).prepared()
    folder, put = here.publish(1, noise(1000)), server.put

    def putting(key: str, *arguments: object) -> dict[str, str]:
        server.late = 2 if "/objects/" in key else 0
        return put(key, *arguments)  # type: ignore[arg-type]

    server.put = putting  # type: ignore[method-assign]

    assert here.send(folder).sent == 1


# --- certificates ---------------------------------------------------------------------------------------------------


def certified(folder: Path, days: int) -> tuple[ssl.SSLContext, str]:
    """A server's context with a certificate that ends then, and the file that lets it be believed."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - 9 * DAY, now + days * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context, str(certificate)


def test_own_certificates_are_believed_where_they_are_named(opening: Opening, tmp_path: Path) -> None:
    context, file = certified(tmp_path, 9)
    with s3_server(tls=context) as server:
        opening(server, ca_file=file).put(NAME, b"x")

        with pytest.raises(DestinationRefused, match="certificate"):
            opening(server).probe()
        with pytest.raises(DestinationRefused, match="certificate"):
            opening(server, ca_file=str(tmp_path / "missing")).probe()


@pytest.mark.fault(51, "S3: the certificate has expired", "refused with the remedy")
def test_a_certificate_that_has_expired_is_told(opening: Opening, tmp_path: Path) -> None:
    context, file = certified(tmp_path, -1)

    with s3_server(tls=context) as server, pytest.raises(DestinationRefused, match="expired") as error:
        opening(server, ca_file=file).probe()

    assert "ca-file" in error.value.hint


# --- locks ----------------------------------------------------------------------------------------------------------


def locks(server: S3Server) -> dict[str, tuple[str, timedelta]]:
    """Of each object's newest version: how, and how long from now."""
    newest = {key: versions[-1] for key, versions in server.objects.items()}
    return {key: (each.mode, each.until - server.now) for key, each in newest.items() if each.until}


@pytest.mark.parametrize("mode", ["governance", "compliance"])
def test_everything_that_is_put_is_locked(locking: S3Server, opening: Opening, tmp_path: Path, mode: str) -> None:
    here = stand(tmp_path, opening(locking, lock_seconds=35 * 86400, lock_mode=mode)).prepared()
    here.send(here.publish(1, noise(1000)))

    found = locks(locking)

    assert found.keys() == locking.objects.keys()
    assert all(how == mode.upper() and 35 * DAY <= span <= 35 * DAY + SPARE + DAY for how, span in found.values())


@LOCKS
@pytest.mark.parametrize("minutes", [-6, 6])
def test_nothing_is_locked_by_clocks_that_differ(locking: S3Server, opening: Opening, minutes: int) -> None:
    locking.ahead = timedelta(minutes=minutes)
    place = opening(locking, lock_seconds=86400)

    for attempt in (place.probe, lambda: place.put(NAME, b"x")):
        with pytest.raises(DestinationRefused, match="the clock of"):
            attempt()
    assert locking.objects == {}
    opening(locking).put(NAME, b"without a lock the time does not matter")


@LOCKS
def test_a_lock_ends_by_the_clock_of_the_server(locking: S3Server, opening: Opening) -> None:
    locking.ahead = timedelta(minutes=4)

    until = opening(locking, lock_seconds=86400).put(NAME, b"x")

    assert until
    assert abs(until - (locking.now + DAY + SPARE)) < timedelta(minutes=1)


@pytest.mark.parametrize("told", [None, timedelta(hours=-8), timedelta(hours=8)], ids=["never", "slept", "ahead"])
def test_a_clock_that_was_heard_long_ago_is_asked_again(
    locking: S3Server, opening: Opening, told: timedelta | None
) -> None:
    place = opening(locking, lock_seconds=86400)
    place._pool._date = None if told is None else (datetime.now(UTC) + told, time.monotonic())

    until = place.put(NAME, b"x")

    assert until
    assert abs(until - (locking.now + DAY + SPARE)) < timedelta(minutes=1)


def test_a_bucket_without_locks_takes_no_locked_object(server: S3Server, opening: Opening) -> None:
    with pytest.raises(DestinationRefused, match="Object Lock Configuration") as error:
        opening(server, lock_seconds=86400).put(NAME, b"x")

    assert "made with object lock" in error.value.hint


@pytest.mark.parametrize("days", [1, 20])
def test_what_is_named_again_is_locked_again(locking: S3Server, opening: Opening, tmp_path: Path, days: int) -> None:
    here, content = stand(tmp_path, opening(locking, lock_seconds=35 * 86400)).prepared(), noise(1000)
    here.send(here.publish(1, content))
    locking.passes(days * DAY)
    here.ledger.unlock("9999")  # As if its own clock had gone on, too.
    for key, (_, span) in locks(locking).items():
        here.ledger.lock(key.removeprefix("shop/"), (NOW + span).isoformat().replace("+00:00", ".000Z"))

    sent = here.send(here.publish(2, content))

    assert sent.sent == 0
    assert all(span >= 35 * DAY - timedelta(minutes=1) for key, (_, span) in locks(locking).items() if "objects" in key)
    assert sum("retention" in path for _, path, _ in locking.asked) == (days > SPARE.days)


def test_what_cannot_be_locked_again_is_sent_again(locking: S3Server, opening: Opening, tmp_path: Path) -> None:
    here, content = stand(tmp_path, opening(locking, lock_seconds=35 * 86400)).prepared(), noise(1000)
    here.send(here.publish(1, content))
    here.ledger.unlock("9999")
    locking.denied.add("retention")

    assert here.send(here.publish(2, content)).sent == 1
