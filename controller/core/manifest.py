"""The manifest that lies beside the artifacts of a run; sizes are bytes."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from controller.core.key import Key
from controller.core.records import Record, Time

SCHEMA = 1
"""Major version of manifests and reports; readers ignore unknown fields and refuse a higher one."""


Proof = Literal["full", "sealed", "framed", "adopted"]
"""How far it is proved; `adopted`: it was a bare file whose format was checked, and nobody saw it being dumped."""


class Artifact(Record):
    """One stored dump of a run."""

    name: str
    """File name in the run's folder, with the compression's suffix."""
    format: str
    compression: str
    """`zstd`, `gzip` or `none`."""
    size: int
    sha256: str
    """Of the stored bytes, hexadecimal."""
    plain_size: int
    plain_sha256: str
    proof: Proof
    argv: tuple[str, ...] = ()
    """What ran in the container; empty for the archive endpoint."""
    restore: str = ""
    """A shell line of plain tools that restores it."""
    subject: str = ""
    """What it is a dump of, as its owner calls it: a database's name, paths."""
    counts: dict[str, int] = Field(default_factory=dict)
    """What was counted beside the dump: rows of each table, files, bytes; empty where nothing could be."""
    disk: int = 0
    """Bytes that the data took where it lived; 0 where nobody asked."""
    approximate: tuple[str, ...] = ()
    """Names in `counts` whose number changed while the dump was made; the others are exact."""


class Manifest(Record):
    """Explains a run's artifacts without this program; written last, as `manifest.json`."""

    schema_: int = SCHEMA
    run: str
    target: Key
    strategy: str
    container: str
    container_id: str
    image: str
    """Reference as the user wrote it."""
    image_id: str
    engine: str
    sidecar: str
    """Version of this program."""
    started: Time
    finished: Time
    proof: Proof
    warnings: tuple[str, ...] = ()
    structure: str = ""
    """Digest of what the data is made of, which changes with its schema; empty in runs of older releases."""
    suspicious: tuple[str, ...] = ()
    """Why it may not be what it should, known before it was published."""
    artifacts: tuple[Artifact, ...]

    @property
    def size(self) -> int:
        return sum(artifact.size for artifact in self.artifacts)


def weakest(proofs: Iterable[Proof]) -> Proof:
    """A run is proved as far as its least proved artifact."""
    order: tuple[Proof, ...] = ("adopted", "framed", "sealed", "full")
    return min(proofs, key=order.index)
