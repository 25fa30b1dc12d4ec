"""A rehearsal decrypts with a real identity and compares all of it; its receipt can be signed by nobody else."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from controller.core.copy_errors import NotACopy, WrongKey
from controller.storage.copies import kit, sealing, signing
from controller.storage.copies.layout import CopiedRun, object_name, run_name
from controller.storage.copies.orders import Prune
from controller.storage.copies.pruning import listed, pruned
from controller.storage.copies.receipts import heard, named
from controller.storage.copies.rehearsing import Rehearsed, rehearsed
from controller.storage.copies.signing import Signer
from controller.storage.destinations.path import PathDestination
from tests.unit.storage.copies_stand import KEY, NOW, Stand, noise, run_id, stand

FORGED = pytest.mark.fault(40, "a receipt of a rehearsal is forged, or of another copy", "not believed")
WRONG = pytest.mark.fault(
    39, "a copy is rotten, incomplete, mixed up, or was wrong from the start", "`rehearse` finds it"
)
GOLDEN = Path(__file__).parents[2] / "fixtures" / "copies-1"
NAME = run_name(KEY, run_id(1))


@pytest.fixture
def here(tmp_path: Path) -> Stand:
    made = stand(tmp_path).prepared()
    made.send(made.publish(1, b"one" * 99_999, noise(1000), compression="zstd"))
    return made


def done(here: Stand, name: str = NAME, *, drilled: bool = False) -> Rehearsed:
    (found,) = rehearsed(here.copies, name, here.kit, clock=lambda: NOW, release="0.1.0", drilled=drilled)
    return found


def left(here: Stand, found: Rehearsed, data: bytes | None = None, name: str | None = None) -> str:
    name = name or found.receipt.name
    here.destination.put(name, data or found.signed or b"")
    return name


def ssh_key() -> tuple[str, str]:
    """A private SSH key, and its public half."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def test_a_rehearsal_is_believed_by_the_host(here: Stand) -> None:
    left(here, done(here, drilled=True))

    told = heard(here.copies)

    assert told.wrong == ()
    (rehearsal,) = told.rehearsals
    assert (rehearsal.run, rehearsal.rehearsed, rehearsal.drilled) == (run_id(1), NOW, True)
    assert rehearsal.recipient == sealing.fingerprint(here.recipient)


def test_each_identity_of_the_kit_that_is_a_recipient_has_a_receipt(here: Stand) -> None:
    (private, public), (other, _) = ssh_key(), sealing.new_identity()
    here.send(here.publish(2, noise(10)), (f"{public} me@home",))
    text = f"{here.identity}\n{private}\n{other}\nverify: {Signer(here.signing_key).public}"

    found = rehearsed(here.copies, run_name(KEY, run_id(2)), kit.read(text), clock=lambda: NOW, release="0.1.0")

    assert [each.recipient for each in found] == [sealing.fingerprint(each) for each in (here.recipient, public)]
    for each in found:
        left(here, each)
    assert len(heard(here.copies).rehearsals) == 2


def test_an_identity_that_is_no_recipient_rehearses_nothing(here: Stand) -> None:
    here.identity, _ = sealing.new_identity()
    with pytest.raises(NotACopy, match="none of the kit"):
        done(here)


def test_an_ssh_key_with_a_passphrase_is_none() -> None:
    with pytest.raises(WrongKey):
        signing.public_ssh_key("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")


def spoil_object(here: Stand, run: CopiedRun) -> None:
    name = object_name(run.pieces[0].name)
    here.destination.put(name, b"".join(here.destination.get(name)) + b"x")


def remove_object(here: Stand, run: CopiedRun) -> None:
    here.destination.delete(object_name(run.pieces[-1].name))


def swap_objects(here: Stand, run: CopiedRun) -> None:
    """Signed by the host itself, which may be mistaken."""
    one, two = run.artifacts
    pieces = {"objects": two.objects}, {"objects": one.objects}
    swapped = tuple(each.model_copy(update=changes) for each, changes in zip(run.artifacts, pieces, strict=True))
    signed(here, run.model_copy(update={"artifacts": swapped}))


def tell_other_plain_bytes(here: Stand, run: CopiedRun) -> None:
    first = run.artifacts[0].model_copy(update={"plain_size": 5})
    signed(here, run.model_copy(update={"artifacts": (first, run.artifacts[1])}))


def signed(here: Stand, run: CopiedRun) -> None:
    here.destination.put(NAME, run.signed(Signer(here.signing_key).sign))


@WRONG
@pytest.mark.parametrize("spoil", [spoil_object, remove_object, swap_objects, tell_other_plain_bytes])
def test_whatever_is_wrong_with_a_copy_is_found(here: Stand, spoil: Callable[[Stand, CopiedRun], None]) -> None:
    spoil(here, here.copies.run(NAME))
    with pytest.raises(NotACopy):
        done(here)


@WRONG
def test_what_does_not_unpack_to_what_was_dumped_is_found(here: Stand) -> None:
    """Right in every stored byte, and a lie all the same: the store's own manifest was wrong."""
    folder = here.publish(3, b"two" * 99_999, compression="zstd")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["artifacts"][0]["plain_sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))
    here.send(folder)
    with pytest.raises(NotACopy, match="unpacks to"):
        done(here, run_name(KEY, run_id(3)))


def forged(found: Rehearsed) -> bytes:
    """By somebody who can write there, and cannot decrypt."""
    return found.receipt.signed(Signer(signing.new_key()).sign)


def dated_later(found: Rehearsed) -> bytes:
    assert found.signed
    return found.signed.replace(b"2026-03-01", b"2027-03-01")


@FORGED
@pytest.mark.parametrize("make", [forged, dated_later])
def test_a_receipt_of_somebody_else_is_not_believed(here: Stand, make: Callable[[Rehearsed], bytes]) -> None:
    found = done(here)
    left(here, found, make(found))

    told = heard(here.copies)

    assert told.rehearsals == ()
    assert "not signed" in told.wrong[0]
    with pytest.raises(NotACopy):
        named(here.copies, make(found))


@FORGED
def test_a_receipt_is_of_one_copy_and_one_recipient(here: Stand) -> None:
    found = done(here)
    here.send(here.publish(2, noise(10)))
    left(here, found, name=found.receipt.name.replace(run_id(1), run_id(2)))
    left(here, found, name=found.receipt.name.replace(found.recipient, "0" * 16))

    told = heard(here.copies)

    assert told.rehearsals == ()
    assert len(told.wrong) == 2


@FORGED
def test_a_receipt_of_a_copy_that_was_made_anew_counts_no_more(here: Stand) -> None:
    left(here, done(here))
    here.destination.delete(NAME)
    here.send(here.store.folder(KEY, run_id(1)))

    told = heard(here.copies)

    assert told.rehearsals == ()
    assert len(told.wrong) == 1


def test_what_is_brought_by_hand_has_its_name_in_it(here: Stand) -> None:
    found = done(here)
    assert found.signed
    assert named(here.copies, b"\n" + found.signed) == (found.receipt.name, found.signed)
    with pytest.raises(NotACopy):
        named(here.copies, b"{}\n" + b64encode(b"x"))


def test_receipts_go_with_their_copy(here: Stand) -> None:
    name = left(here, done(here))
    here.send(here.publish(2, noise(10)))
    (keep, go) = (each.name for each in listed(here.copies))
    long_ago = NOW.replace(year=2025)

    for now in (long_ago, NOW):
        assert name in {found.name for found in here.destination.list("")}
        pruned(here.copies, here.place, here.ledger, Prune(keep=(keep,), go=(go,), now=now))

    assert {found.name for found in here.destination.list("rehearsals/")} == set()


def test_a_copy_of_an_early_release_can_be_rehearsed_and_gives_no_receipt(here: Stand) -> None:
    here.destination = PathDestination(GOLDEN / "nas")
    keys = kit.read((GOLDEN / "kit").read_text())
    copies = here.copies.__class__(here.destination, keys.verifier)

    found = [each for name in copies.names() for each in rehearsed(copies, name, keys, clock=lambda: NOW, release="1")]

    assert len(found) == 2
    assert [each.signed for each in found] == [None, None]
