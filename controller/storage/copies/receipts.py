"""What says that somebody has decrypted a copy with a real identity, and compared all of it; signed, and dated.

It is signed with a key that lies in the copy itself, sealed for its recipients: only who has decrypted can sign, on
whatever machine, and the host, which cannot decrypt, can believe it.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from controller.core.copy_errors import NotACopy, UnknownObject
from controller.core.key import Key
from controller.core.records import Time
from controller.storage.copies.layout import (
    RECEIPT_NAME,
    REHEARSALS,
    Bytes,
    CopiedRun,
    Digest,
    Fingerprint,
    Signed,
    run_name,
)
from controller.storage.copies.orders import Heard, RehearsedCopy
from controller.storage.copies.reading import Copies
from controller.storage.copies.sending import fetched
from controller.storage.copies.signing import Verifier

MOST_BYTES = 64 << 10


class Receipt(Signed):
    """Of one copy, and one identity."""

    schema_: Literal[1] = 1
    destination: str
    prefix: str
    run: str
    target: Annotated[tuple[str, ...], Field(min_length=2, max_length=3)]
    sha256: Digest
    """Of the copy's whole `run.json`."""
    recipient: Fingerprint
    """Whose identity has decrypted it."""
    objects: int
    bytes: Bytes
    """Stored bytes of all artifacts."""
    rehearsed: Time
    drilled: bool = False
    """It was also restored, into a throw-away container, and compared."""
    release: str
    """Of the program that has done it."""

    @property
    def name(self) -> str:
        """Where it lies at the destination."""
        return f"{REHEARSALS}{self.run}/{self.recipient}.json"


def heard(copies: Copies) -> Heard:
    """Every receipt that is that of a copy which is there, and what lies there and is none."""
    found, wrong = list[Receipt](), list[str]()
    for name in names(copies):
        try:
            found.append(read(copies, name, fetched(copies.destination.get(name), MOST_BYTES).getvalue()))
        except (NotACopy, UnknownObject) as error:
            wrong.append(error.message)
    told = ("run", "recipient", "rehearsed", "drilled")
    rehearsals = tuple(RehearsedCopy(**receipt.model_dump(include=set(told))) for receipt in found)
    return Heard(rehearsals=rehearsals, wrong=tuple(wrong))


def names(copies: Copies, run: str = "") -> Iterator[str]:
    """Of the receipts, of one run where it is named."""
    for found in copies.destination.list(f"{REHEARSALS}{run}"):
        if RECEIPT_NAME.fullmatch(found.name):
            yield found.name


def read(copies: Copies, name: str, data: bytes) -> Receipt:
    """A receipt that lies, or is to lie, under a name; raises `NotACopy`, `UnknownObject` where its copy is gone."""
    unproved = Receipt.read_signed(data, name, "receipt", lambda line, signature: None)
    entry = run_name(key_of(unproved), unproved.run)
    run, digest = copies.entry(entry)
    if run.rehearsal is None:
        raise NotACopy(f"{name}: the copy has no key for receipts")
    receipt = Receipt.read_signed(data, name, "receipt", Verifier([run.rehearsal.public]).demand)
    told = (receipt.destination, receipt.prefix, receipt.sha256, receipt.name)
    if told != (run.destination, run.prefix, digest, name) or receipt.recipient not in run.recipients:
        raise NotACopy(f"{name} is a receipt of another copy")
    return receipt


def named(copies: Copies, data: bytes) -> tuple[str, bytes]:
    """A receipt that was brought by hand, and its name there; raises `NotACopy`."""
    data = data.strip() + b"\n"
    name = Receipt.read_signed(data, "what was given", "receipt", lambda line, signature: None).name
    if not RECEIPT_NAME.fullmatch(name):
        raise NotACopy("what was given is a receipt of no run")
    read(copies, name, data)
    return name, data


def key_of(receipt: Receipt) -> Key:
    project, service, *name = receipt.target
    return Key(project=project, service=service, name=name[0] if name else None)


def receipt_of(run: CopiedRun, digest: str, recipient: str, *, now: datetime, release: str, drilled: bool) -> Receipt:
    """That a copy, whose `run.json` has this digest, was decrypted just now."""
    pieces = {piece.name for piece in run.pieces}
    return Receipt(
        destination=run.destination,
        prefix=run.prefix,
        run=run.run,
        target=run.target,
        sha256=digest,
        recipient=recipient,
        objects=len(pieces),
        bytes=sum(artifact.size for artifact in run.artifacts),
        rehearsed=now,
        drilled=drilled,
        release=release,
    )
