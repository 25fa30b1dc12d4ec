"""A run is sent, comes back byte for byte, and nothing that is wrong at a destination passes for a copy."""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pyrage
import pytest

from controller.core.copy_errors import (
    DestinationDown,
    DestinationForeign,
    DestinationLies,
    DestinationRefused,
    NotACopy,
    WrongKey,
)
from controller.core.errors import Damaged
from controller.core.key import Key
from controller.storage.copies import kit, sealing, signing
from controller.storage.copies.layout import MARKER, OBJECT_BYTES, SLICE_BYTES, CopiedRun, object_name, run_name
from controller.storage.copies.ledger import Ledger
from controller.storage.copies.orders import Verify
from controller.storage.copies.place import Place
from controller.storage.copies.reading import Copies, tar_of
from controller.storage.copies.sealing import Sealer
from controller.storage.copies.verifying import verified
from controller.storage.destinations.path import PathDestination
from controller.storage.destinations.sftp import SftpDestination
from tests.kit.sftp_server import sftp_server
from tests.unit.storage.copies_stand import KEY, NOW, Stand, digest, noise, run_id, stand

pytestmark = pytest.mark.thorough

LYING = pytest.mark.fault(
    38, "a destination of copies flips, halves or swaps what it takes", "no copy; sent anew, then `destination-lies`"
)
FORGED = pytest.mark.fault(
    40, "a list of a copied run is forged, of another place, or none", "not believed; nothing there is deleted"
)


@pytest.fixture
def here(tmp_path: Path) -> Stand:
    return stand(tmp_path).prepared()


def only(here: Stand) -> CopiedRun:
    (run,) = here.copies.runs()
    assert isinstance(run, CopiedRun)
    return run


def unpacked(here: Stand, run: CopiedRun) -> dict[str, bytes]:
    archive = b"".join(tar_of(here.destination, run, here.kit))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def files(folder: Path) -> dict[str, bytes]:
    return {f"{folder.name}/{path.name}": path.read_bytes() for path in folder.iterdir() if path.is_file()}


SIZES = [0, 1, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 2 * SLICE_BYTES + 5]


@pytest.mark.parametrize("size", SIZES)
def test_a_run_comes_back_byte_for_byte(here: Stand, size: int) -> None:
    folder = here.publish(1, noise(size))

    sent = here.send(folder)

    assert unpacked(here, only(here)).items() >= files(folder).items()
    assert sent.objects == sent.sent == -(-size // SLICE_BYTES)
    assert all(found.size <= OBJECT_BYTES for found in here.destination.list("objects/"))


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_every_artifact_of_a_run_comes_back_as_the_store_has_it(here: Stand, compression: str) -> None:
    folder = here.publish(1, b"one" * 9999, b"", noise(100_000), compression=compression)

    here.send(folder, trigger="cli", accepted=True, suspicious=True)

    back = unpacked(here, only(here))
    assert back.items() >= files(folder).items()
    assert json.loads(back[f"{run_id(1)}/marks/report.json"]) == {"trigger": "cli"}
    assert json.loads(back[f"{run_id(1)}/marks/accepted.json"]) == {"accepted": True}
    assert only(here).series == "suspicious"


def test_an_unchanged_night_is_one_object(here: Stand) -> None:
    content = noise(3 * SLICE_BYTES)
    here.send(here.publish(1, content))
    before = {found.name for found in here.destination.list("")}

    sent = here.send(here.publish(2, content))

    assert {found.name for found in here.destination.list("")} - before == {run_name(KEY, run_id(2))}
    assert (sent.objects, sent.sent) == (3, 0)
    assert unpacked(here, next(here.copies.runs()))[f"{run_id(2)}/it%27s-0.tar"] == content  # type: ignore[arg-type]


def test_only_the_slices_that_changed_are_sent(here: Stand) -> None:
    content = noise(3 * SLICE_BYTES)
    here.send(here.publish(1, content))

    sent = here.send(here.publish(2, content[:SLICE_BYTES] + b"x" + content[SLICE_BYTES + 1 :]))

    assert (sent.objects, sent.sent) == (3, 1)


@pytest.mark.fault(45, "recipients of copies are changed", "each reads from the run on that names it, and no other")
def test_a_new_recipient_reads_every_copy_from_then_on(here: Stand) -> None:
    content = noise(SLICE_BYTES + 1)
    here.send(here.publish(1, content))
    identity, recipient = sealing.new_identity()

    here.send(here.publish(2, content), (recipient,))

    later, earlier = here.copies.runs()
    here.identity = identity
    assert unpacked(here, later)[f"{run_id(2)}/it%27s-0.tar"] == content  # type: ignore[arg-type]
    with pytest.raises(NotACopy, match="cannot be decrypted"):
        unpacked(here, earlier)  # type: ignore[arg-type]


@pytest.mark.fault(45, "what lies where is forgotten with the catalog", "all is sent again; nothing there is lost")
def test_a_lost_ledger_costs_only_that_everything_is_sent_again(here: Stand, tmp_path: Path) -> None:
    folder = here.publish(1, noise(SLICE_BYTES + 1))
    here.send(folder)
    here.ledger.close()
    del here.ledger, here.place
    for path in (tmp_path / "work").iterdir():
        path.unlink()

    here.place.prepare(take_over=True)

    assert here.send(folder).sent == 2
    assert unpacked(here, only(here)).items() >= files(folder).items()


def test_each_copy_names_the_one_before_it(here: Stand) -> None:
    here.send(here.publish(1, b"one"))
    first = (here.folder / "nas" / run_name(KEY, run_id(1))).read_bytes()
    here.send(here.publish(2, b"two"))

    later, earlier = here.copies.runs()

    assert isinstance(later, CopiedRun)
    assert later.previous
    assert isinstance(earlier, CopiedRun)
    assert earlier.previous is None
    assert (later.previous.run, later.previous.sha256) == (run_id(1), digest(first))


def test_nothing_but_names_sizes_and_digests_can_be_read_without_a_key(here: Stand) -> None:
    here.send(here.publish(1, b"a secret of the shop" * 100))
    everything = b"".join(path.read_bytes() for path in (here.folder / "nas").rglob("*") if path.is_file())

    assert b"a secret of the shop" not in everything
    assert b"container" not in everything
    assert here.identity.encode() not in everything


# --- what the destination does --------------------------------------------------------------------------------------


class Flipping(PathDestination):
    """Flips a bit of the first so many objects that it takes."""

    bad = 1

    def put(self, name: str, content: bytes) -> None:
        if name.startswith("objects/") and self.bad:
            self.bad -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        super().put(name, content)


class Swallowing(PathDestination):
    """Says that it has taken what it has not."""

    def put(self, name: str, content: bytes) -> None:
        super().put(name, content[: len(content) // 2] if name.startswith("objects/") else content)


class Swapping(PathDestination):
    """Gives back another object that holds the same, such as one of an earlier try."""

    sealer: Sealer | None = None

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        if not name.startswith("objects/"):
            return super().get(name, version)
        return iter([self.sealer.seal(b"content")]) if self.sealer else iter(())


class Late(PathDestination):
    """Has an object only a moment after it took it."""

    asked = 0

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        self.asked += name.startswith("objects/")
        return super().get("nothing" if name.startswith("objects/") and self.asked == 1 else name, version)


def replaced(here: Stand, destination: PathDestination) -> Stand:
    here.destination = here.place.destination = destination
    return here


@LYING
def test_an_object_that_comes_back_wrong_is_sent_anew_under_another_name(here: Stand) -> None:
    folder = here.publish(1, b"content")

    sent = replaced(here, Flipping(here.folder / "nas")).send(folder)

    assert sent.sent == 2
    assert len(here.objects()) == 1
    assert unpacked(here, only(here)).items() >= files(folder).items()


@LYING
def test_a_destination_that_always_lies_holds_no_copy(here: Stand) -> None:
    folder = here.publish(1, b"content")

    with pytest.raises(DestinationLies, match="came back as"):
        replaced(here, Swallowing(here.folder / "nas")).send(folder)

    assert list(here.copies.runs()) == []


@LYING
def test_another_object_with_the_same_slice_is_not_the_one_that_is_named(
    here: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapping, real = Swapping(here.folder / "nas"), Sealer.seal

    def seal(self: Sealer, plain: bytes) -> bytes:
        swapping.sealer = self
        return real(self, plain)

    folder = here.publish(1, b"content")
    monkeypatch.setattr(Sealer, "seal", seal)

    with pytest.raises(DestinationLies, match="came back as"):
        replaced(here, swapping).send(folder)


def test_an_object_may_appear_a_moment_later(here: Stand) -> None:
    assert replaced(here, Late(here.folder / "nas")).send(here.publish(1, b"content")).sent == 1


@pytest.mark.fault(38, "a bit flips between encrypting and hashing", "no copy; sent anew")
def test_a_bit_that_flips_between_sealing_and_hashing_is_found(here: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    real, flips = Sealer.seal, [1]

    def seal(self: Sealer, plain: bytes) -> bytes:
        sealed = real(self, plain)
        return sealed[:-1] + bytes([sealed[-1] ^ 1]) if flips and flips.pop() else sealed

    monkeypatch.setattr(Sealer, "seal", seal)
    folder = here.publish(1, b"content")

    assert here.send(folder).sent == 2
    assert unpacked(here, only(here)).items() >= files(folder).items()


def test_an_object_that_somebody_deleted_is_sent_again(here: Stand) -> None:
    content = noise(2 * SLICE_BYTES)
    here.send(here.publish(1, content))
    here.destination.delete(here.objects()[0])

    assert here.send(here.publish(2, content)).sent == 1


@pytest.mark.fault(39, "an object vanishes while a copy is made", "no copy; sent again")
def test_an_object_that_vanishes_meanwhile_keeps_the_run_from_counting(
    here: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = noise(SLICE_BYTES)
    here.send(here.publish(1, content))
    folder, taken = here.publish(2, content), []
    real = Ledger.take_listing

    def take_listing(self: Ledger, objects: object) -> None:
        if taken:
            here.destination.delete(here.objects()[0])
        taken.append(real(self, here.destination.list("objects/base/")))

    monkeypatch.setattr(Ledger, "take_listing", take_listing)
    with pytest.raises(DestinationDown, match="not listed"):
        here.send(folder)

    assert [run.run for run in here.copies.runs() if isinstance(run, CopiedRun)] == [run_id(1)]


def test_an_artifact_that_is_not_what_was_captured_is_no_copy(here: Stand) -> None:
    folder = here.publish(1, noise(SLICE_BYTES + 5))
    path = folder / "it%27s-0.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"!")

    with pytest.raises(Damaged, match="not what was captured"):
        here.send(folder)

    assert list(here.copies.runs()) == []


# --- what is read ---------------------------------------------------------------------------------------------------


def rewritten(here: Stand, **changes: object) -> None:
    """Somebody changes what run.json says, and keeps the signature."""
    path = here.folder / "nas" / run_name(KEY, run_id(1))
    line, signature = path.read_bytes().splitlines()
    path.write_bytes(json.dumps(json.loads(line) | changes, separators=(",", ":")).encode() + b"\n" + signature + b"\n")


@FORGED
@pytest.mark.parametrize("changes", [{"accepted": True}, {"run": run_id(2)}, {"finished": "2027-01-01T00:00:00.000Z"}])
def test_a_forged_run_is_not_believed(here: Stand, changes: dict[str, object]) -> None:
    here.send(here.publish(1, b"content"))
    rewritten(here, **changes)

    (told,) = here.copies.runs()

    assert isinstance(told, NotACopy)
    assert "not signed by a known key" in told.message


def test_a_run_of_another_signer_is_not_believed(here: Stand) -> None:
    here.send(here.publish(1, b"content"))
    here.signing_key = signing.new_key()

    assert [type(told) for told in here.copies.runs()] == [NotACopy]


@FORGED
def test_a_run_of_another_destination_or_target_is_not_believed(here: Stand, tmp_path: Path) -> None:
    here.send(here.publish(1, b"content"))
    signed = b"".join(here.destination.get(run_name(KEY, run_id(1))))
    other = Key(project="shop", service="other")
    here.destination.put(run_name(other, run_id(1)), signed)
    (tmp_path / "elsewhere").mkdir()
    elsewhere = PathDestination(tmp_path / "elsewhere")
    Place(elsewhere, here.ledger, here.writer, lambda: NOW).prepare()
    elsewhere.put(run_name(KEY, run_id(1)), signed)

    told = [each for each in here.copies.runs() if isinstance(each, NotACopy)]
    here.destination = elsewhere
    told += [each for each in here.copies.runs() if isinstance(each, NotACopy)]

    assert ["is that of run" in told[0].message, "another destination" in told[1].message] == [True, True]


def spoilt(here: Stand, data: bytes) -> None:
    (name,) = here.objects()
    here.destination.put(name, data)


def another(here: Stand) -> bytes:
    """A valid age file for the same people, of other content."""
    return Sealer([here.recipient]).seal(b"other content")


@pytest.mark.fault(39, "an object is gone, rotten or another valid one", "found when it is read; never restored")
@pytest.mark.parametrize("fault", ["flipped", "cut", "empty", "another", "gone"])
def test_an_object_that_is_another_is_never_restored(here: Stand, fault: str) -> None:
    here.send(here.publish(1, b"content"))
    (name,) = here.objects()
    data = b"".join(here.destination.get(name))
    if fault == "gone":
        here.destination.delete(name)
    else:
        changed = {
            "flipped": data[:-1] + bytes([data[-1] ^ 1]),
            "cut": data[:-1],
            "empty": b"",
            "another": another(here),
        }
        spoilt(here, changed[fault])

    with pytest.raises(NotACopy, match="object"):
        unpacked(here, only(here))


@FORGED
@pytest.mark.parametrize("size", [5, 20 << 20])
def test_a_file_that_is_no_list_of_a_run_is_told(here: Stand, size: int) -> None:
    here.send(here.publish(1, b"content"))
    here.destination.put(run_name(KEY, run_id(1)), bytes(size))

    assert [type(told) for told in here.copies.runs()] == [NotACopy]


def test_names_that_are_not_of_our_form_are_passed_over(here: Stand) -> None:
    here.send(here.publish(1, b"content"))
    for name in ("runs/shop/x/other.txt", f"runs/{run_id(1)}/run.json", f"runs/a/b/c/d/{run_id(1)}/run.json"):
        here.destination.put(name, b"x")

    assert here.copies.names() == [run_name(KEY, run_id(1))]


def test_a_named_target_of_the_same_service_is_another_target(here: Stand) -> None:
    named = Key(project="shop", service="it's", name="cache")
    here.send(here.publish(1, b"one"))
    here.send(here.publish(2, b"two", key=named))

    assert here.copies.names(KEY) == [run_name(KEY, run_id(1))]
    assert here.copies.names(named) == [run_name(named, run_id(2))]


# --- who writes -----------------------------------------------------------------------------------------------------


@pytest.mark.fault(42, "the share for copies is not mounted", "`destination-foreign`; nothing is written there")
def test_an_unprepared_place_is_not_filled(tmp_path: Path) -> None:
    here = stand(tmp_path)
    folder = here.publish(1, b"content")

    for attempt in (here.place.begin, lambda: here.send(folder)):
        with pytest.raises(DestinationForeign, match="not mounted, or was never prepared"):
            attempt()
    assert list((tmp_path / "nas").iterdir()) == []


def test_a_place_with_copies_and_no_marker_is_not_taken(here: Stand) -> None:
    here.send(here.publish(1, b"content"))
    here.destination.delete(MARKER)

    with pytest.raises(DestinationRefused, match="no marker"):
        here.place.prepare()


def twin(here: Stand, name: str, writer: str) -> Place:
    return Place(here.destination, Ledger(here.folder / "work" / f"{name}.sqlite"), writer, lambda: NOW)


@pytest.mark.parametrize("writer", ["01J11111111111111111111111", None], ids=["another", "clone"])
def test_a_second_writer_is_refused_until_it_takes_over(here: Stand, writer: str | None) -> None:
    other = twin(here, "other", writer or here.writer)
    folder = here.publish(1, b"content")

    with pytest.raises(DestinationForeign, match="writes there"):
        other.begin()
    with pytest.raises(DestinationForeign, match="writes there"):
        other.prepare()
    other.prepare(take_over=True)
    with pytest.raises(DestinationForeign, match="writes there"):
        here.send(folder)
    with pytest.raises(DestinationForeign, match="writes there"):
        here.place.begin()
    other.begin()
    assert list(here.copies.runs()) == []


def test_who_begins_again_finds_its_own_marker(here: Stand) -> None:
    here.place.begin()
    first = here.place.demand_ours()
    here.place.begin()

    assert here.place.demand_ours().destination == first.destination
    assert here.place.demand_ours().epoch != first.epoch


# --- what is read again ---------------------------------------------------------------------------------------------


@pytest.mark.fault(39, "an object rots after it was proved", "found with every run that needs it; sent anew")
def test_what_rots_is_found_with_every_run_that_needs_it(here: Stand) -> None:
    content = noise(SLICE_BYTES + 1)
    here.send(here.publish(1, content))
    here.send(here.publish(2, content[:SLICE_BYTES] + b"x"))
    here.send(here.publish(3, b"other"))
    run = next(run for run in here.copies.runs() if isinstance(run, CopiedRun) and run.run == run_id(1))
    here.destination.put(object_name(run.pieces[0].name), b"rotten" * 99)

    order = Verify(before="2030-01-01T00:00:00Z", budget=1 << 40)  # type: ignore[arg-type]
    found = verified(here.copies, here.ledger, order)

    assert set(found.damaged) == {run_id(1), run_id(2)}
    assert set(found.proved) == {run_id(3)}
    assert here.send(here.publish(4, content)).sent == 1


def test_the_budget_bounds_what_is_read_again(here: Stand) -> None:
    here.send(here.publish(1, noise(3 * SLICE_BYTES)))

    order = Verify(before="2030-01-01T00:00:00Z", budget=SLICE_BYTES)  # type: ignore[arg-type]

    assert verified(here.copies, here.ledger, order).objects == 1


# --- keys -----------------------------------------------------------------------------------------------------------


def test_what_is_no_key_is_refused_and_not_repeated(here: Stand) -> None:
    for text, words in [
        ("", "no identity"),
        (f"{here.identity}x", "no identity"),
        (here.identity, "no public signing key"),
        (f"{here.identity}\nverify: AAAA", "not base64 of 32 bytes"),
    ]:
        with pytest.raises(WrongKey, match=words) as error:
            kit.read(text)
        assert here.identity not in str(error.value)
    for recipient in ("age1nothing", "ssh-ecdsa AAAA", here.identity):
        with pytest.raises(WrongKey) as error:
            Sealer([recipient])
        assert here.identity not in str(error.value)


def test_objects_are_plain_age_files_named_by_their_digest(here: Stand) -> None:
    here.send(here.publish(1, b"content"))
    (name,) = here.objects()
    data = b"".join(here.destination.get(name))

    assert name.endswith(f"/{sha256(data).hexdigest()}")
    assert pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(here.identity)]) == b"content"


# --- for ever -------------------------------------------------------------------------------------------------------


def test_the_golden_copy_of_schema_1_comes_back() -> None:
    """Every later release restores it; it was made by the first one that could, and is never made anew."""
    golden = Path(__file__).parents[2] / "fixtures" / "copies-1"
    opener = kit.read((golden / "kit").read_text())
    destination = PathDestination(golden / "nas")
    found = Copies(destination, opener.verifier)

    later, earlier = found.runs()

    assert isinstance(later, CopiedRun)
    assert isinstance(earlier, CopiedRun)
    assert (later.series, later.accepted, earlier.series, earlier.accepted) == ("suspicious", True, "scheduled", False)
    assert later.previous
    assert later.previous.run == earlier.run
    for run in (later, earlier):
        archive = b"".join(tar_of(destination, run, opener))
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            back = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
        assert back.items() >= files(golden / "store" / run.run).items()


def test_a_run_comes_back_by_sftp(tmp_path: Path) -> None:
    here = stand(tmp_path)
    (tmp_path / "far").mkdir()
    with sftp_server(tmp_path / "far") as server, closing(SftpDestination(server.options)) as far:
        here.destination = far
        folder = here.prepared().publish(1, noise(SLICE_BYTES + 1), compression="zstd")

        sent = here.send(folder)
        server.cut()
        with pytest.raises(DestinationDown):
            list(here.copies.runs())

        assert sent.sent == 2
        assert unpacked(here, only(here)).items() >= files(folder).items()
