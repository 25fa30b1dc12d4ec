"""Decrypts a copy with a person's identity, on whatever machine, and compares every digest that is told of it."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from controller.core.copy_errors import NotACopy, WrongKey
from controller.core.errors import Damaged
from controller.core.manifest import Artifact, Manifest
from controller.storage.codecs import plain_chunks
from controller.storage.copies.kit import Kit
from controller.storage.copies.layout import CopiedRun
from controller.storage.copies.reading import Copies, content, demand_same, manifest_of
from controller.storage.copies.receipts import Receipt, receipt_of
from controller.storage.copies.signing import Signer


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One copy, decrypted with one identity."""

    run: CopiedRun
    recipient: str
    """Fingerprint of the identity's recipient."""
    receipt: Receipt
    signed: bytes | None
    """The receipt as it lies at a destination; None where the copy, of an early release, has no key to sign it with."""


def rehearsed(
    copies: Copies,
    name: str,
    kit: Kit,
    *,
    clock: Callable[[], datetime],
    release: str,
    drilled: bool = False,
    progress: Callable[[int], None] = lambda count: None,
) -> list[Rehearsed]:
    """With each identity of the kit that is one of the copy's recipients; `name` is that of its `run.json`.

    `progress` is told the stored bytes that are compared. Raises `NotACopy` for what is not as it was, and where no
    identity is one of its recipients.
    """
    run, digest = copies.entry(name)
    mine = {fingerprint: opener for fingerprint, opener in kit.openers.items() if fingerprint in run.recipients}
    if not mine:
        hint = "Give the kit of one of its recipients."
        raise NotACopy(f"run {run.run} is encrypted for none of the kit's identities", hint=hint)
    done = list[Rehearsed]()
    for fingerprint, opener in mine.items():
        own = replace(kit, opener=opener)
        compare(copies, run, own, progress)
        receipt = receipt_of(run, digest, fingerprint, now=clock(), release=release, drilled=drilled)
        done.append(Rehearsed(run, fingerprint, receipt, signed_by(run, own, receipt)))
    return done


def compare(copies: Copies, run: CopiedRun, kit: Kit, progress: Callable[[int], None]) -> None:
    """Read all of a copy; raises `NotACopy`."""
    manifest = Manifest.model_validate_json(manifest_of(run, kit))
    demand_same(run, manifest)
    done = 0

    def counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal done
        for piece in pieces:
            yield piece
            done += len(piece)
            progress(done)

    for artifact, copied in zip(manifest.artifacts, run.artifacts, strict=True):
        demand_plain(artifact, counted(content(copies.destination, copied, kit)))


def demand_plain(artifact: Artifact, stored: Iterator[bytes]) -> None:
    """Raises `NotACopy` where an artifact does not unpack to what was dumped."""
    digest, size = sha256(), 0
    try:
        for chunk in plain_chunks(stored, artifact.compression):  # type: ignore[arg-type]  # a manifest is text
            digest.update(chunk)
            size += len(chunk)
    except Damaged as error:
        raise NotACopy(f"{artifact.name}: {error.message}") from error
    if (size, digest.hexdigest()) != (artifact.plain_size, artifact.plain_sha256):
        raise NotACopy(f"{artifact.name} unpacks to {size} bytes that are not those of the dump")


def signed_by(run: CopiedRun, kit: Kit, receipt: Receipt) -> bytes | None:
    """The receipt as it lies there; raises `NotACopy` where the key in the copy is none."""
    if run.rehearsal is None:
        return None
    try:
        signer = Signer(kit.opener.opened(b64decode(run.rehearsal.age, validate=True)).decode())
    except (Base64Error, UnicodeDecodeError, WrongKey) as error:
        raise NotACopy(f"run {run.run} has no key for receipts that can be read") from error
    if signer.public != run.rehearsal.public:
        raise NotACopy(f"the key for receipts of run {run.run} is another one than it says")
    return receipt.signed(signer.sign)
