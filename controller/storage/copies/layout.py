"""What lies at a destination: the names, and the two files that are not encrypted; see docs/copies-format.md."""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from controller.core.copy_errors import NotACopy
from controller.core.key import RUN_ID, Key
from controller.core.records import Record, Time
from controller.core.run import SAFETY, SCHEDULE

OBJECT_BYTES = 8 << 20
"""Most of an object in all."""
SLICE_BYTES = OBJECT_BYTES - (64 << 10)
"""Of the stored artifact in one object; what age adds, with a hundred recipients too, is less than the rest."""
MOST_RUN_BYTES = 32 << 20
"""Of `run.json`."""
MARKER, BASE, RUNS, RUN = "backup-sidecar-copies.json", "objects/base/", "runs/", "run.json"
REHEARSALS = "rehearsals/"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Bytes = Annotated[int, Field(ge=0)]
Series = Literal["scheduled", "by-hand", "safety", "suspicious"]


class Marker(Record):
    """Whose place it is."""

    schema_: Literal[1] = 1
    destination: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    prefix: str = ""
    writer: str
    """Id of the sidecar that writes here."""
    epoch: Fingerprint
    """Drawn anew whenever the writer starts."""
    written: Time


class Piece(Record):
    """An object that holds a slice."""

    name: Digest
    size: Annotated[int, Field(gt=0, le=OBJECT_BYTES)]


class CopiedArtifact(Record):
    """A stored artifact; sizes and digests as in the manifest."""

    kind: Literal["full"] = "full"
    size: Bytes
    sha256: Digest
    plain_size: Bytes
    plain_sha256: Digest
    objects: tuple[Piece, ...]


class SealedManifest(Record):
    """`manifest.json` of the store, verbatim."""

    size: Bytes
    sha256: Digest
    age: str
    """Base64 of an age file."""


class Previous(Record):
    """The copy of a target that was made before."""

    run: str
    sha256: Digest
    """Of the whole `run.json`."""


class RehearsalKey(Record):
    """What only somebody who can decrypt signs with, and how everybody knows that it was signed with that."""

    public: str
    """Base64 of the 32 bytes of an Ed25519 key, drawn for this copy alone."""
    age: str
    """Base64 of an age file of the private key, as base64."""


class Signed(Record):
    """A file of two lines: JSON, and the signature of its bytes."""

    def signed(self, sign: Callable[[bytes], bytes]) -> bytes:
        """The file."""
        line = self.model_dump_json().encode()
        return line + b"\n" + b64encode(sign(line)) + b"\n"

    @classmethod
    def read_signed(cls, data: bytes, name: str, what: str, verify: Callable[[bytes, bytes], None]) -> Self:
        """From the file called `name`; raises `NotACopy` for what is not signed, or not right in itself.

        `verify` raises for a signature that is not that of the line.
        """
        line, _, rest = data.partition(b"\n")
        try:
            verify(line, b64decode(rest.strip(), validate=True))
            return cls.model_validate_json(line)
        except NotACopy as error:
            raise NotACopy(f"{name}: {error.message}", hint=error.hint) from error
        except (Base64Error, ValidationError) as error:
            raise NotACopy(f"{name} is no {what} that this release can read") from error


class CopiedRun(Signed):
    """What `run.json` says."""

    schema_: Literal[1] = 1
    destination: str
    prefix: str
    run: Annotated[str, Field(pattern=f"^{RUN_ID.pattern}$")]
    target: Annotated[tuple[str, ...], Field(min_length=2, max_length=3)]
    series: Series
    trigger: str
    accepted: bool = False
    started: Time
    finished: Time
    copied: Time
    writer: str
    manifest: SealedManifest
    artifacts: Annotated[tuple[CopiedArtifact, ...], Field(min_length=1)]
    recipients: Annotated[tuple[Fingerprint, ...], Field(min_length=1)]
    previous: Previous | None = None
    rehearsal: RehearsalKey | None = None
    """None in copies of the first releases."""
    signer: Fingerprint

    @property
    def key(self) -> Key:
        project, service, *name = self.target
        return Key(project=project, service=service, name=name[0] if name else None)

    @property
    def pieces(self) -> list[Piece]:
        """Every object that it needs, as often as it needs it."""
        return [piece for artifact in self.artifacts for piece in artifact.objects]

    @classmethod
    def read(cls, data: bytes, marker: Marker, name: str, verify: Callable[[bytes, bytes], None]) -> Self:
        """As `read_signed`; raises `NotACopy` for what is not of here, too."""
        run = cls.read_signed(data, name, "list of a copied run", verify)
        if (run.destination, run.prefix) != (marker.destination, marker.prefix):
            raise NotACopy(f"{name} was signed for another destination")
        if name != run_name(run.key, run.run):
            raise NotACopy(f"{name} is that of run {run.run} of {run.key}")
        return run


def series_of(trigger: str, *, is_suspicious: bool) -> Series:
    if trigger == SAFETY:
        return "safety"
    if is_suspicious:
        return "suspicious"
    return "scheduled" if trigger == SCHEDULE else "by-hand"


def object_name(digest: str) -> str:
    return f"{BASE}{digest[:2]}/{digest}"


def run_name(key: Key, run: str) -> str:
    return f"{runs_of(key)}{run}/{RUN}"


def runs_of(key: Key) -> str:
    """What the names of a target's runs begin with; those of a named target of the same service do too."""
    return f"{RUNS}{'/'.join(key.folders)}/"


OBJECT = re.compile(rf"{BASE}([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})")
CUT_OFF = re.compile(rf"{OBJECT.pattern}\.[0-9a-f]{{8}}\.partial")
"""Name of an object that was not written to its end."""
RUN_NAME = re.compile(rf"{RUNS}((?:[a-z0-9_%A-F-]+/){{2,3}})({RUN_ID.pattern})/{RUN}")
RECEIPT_NAME = re.compile(rf"{REHEARSALS}({RUN_ID.pattern})/([0-9a-f]{{16}})\.json")
"""Names of our form: nothing else is ever read or deleted."""
