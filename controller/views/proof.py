"""The chain of a run's proof, for people and programs: dumped, proved, stored, restored, compared."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from controller.core.drill import Drill
from controller.core.manifest import Artifact, Manifest, Proof
from controller.core.records import Time
from controller.core.restoration import Restoration
from controller.views.schemas import DrillView, View

MEANING: Mapping[Proof, str] = {
    "full": "the stream arrived whole (seal), and its format was read to its own end",
    "sealed": "the stream arrived whole (seal); its format is the command's own",
    "adopted": "its format was read to its own end when it was adopted; nobody saw it being dumped",
    "framed": "its format was read to its own end; the target has no shell for a seal",
}


class Dumped(View):
    """When the run was made."""

    started: Time
    finished: Time


class Origin(View):
    """What was dumped, and by what."""

    strategy: str
    container: str
    container_id: str
    image: str
    image_id: str
    engine: str
    sidecar: str


class ProvenArtifact(Artifact):
    """A stored dump, without the commands."""

    argv: Annotated[tuple[str, ...], Field(exclude=True)] = ()
    restore: Annotated[str, Field(exclude=True)] = ""


class ProofView(View):
    """What is known of one run."""

    key: str
    run: str
    dumped: Dumped
    from_: Origin
    origin: str
    """Where it was adopted from; then all of this is what came along, but for the digests, which were compared."""
    proof: Proof
    meaning: str
    warnings: tuple[str, ...]
    artifacts: tuple[ProvenArtifact, ...]
    drill: DrillView | None
    """The last rehearsal of this run."""
    restored: Restoration | None
    """The last restore of this run that has ended."""


def chain(manifest: Manifest, drill: Drill | None, restored: Restoration | None, *, origin: str) -> ProofView:
    return ProofView(
        key=str(manifest.target),
        run=manifest.run,
        dumped=Dumped.of(manifest),
        from_=Origin.of(manifest),
        origin=origin,
        proof=manifest.proof,
        meaning=MEANING[manifest.proof],
        warnings=manifest.warnings,
        artifacts=tuple(ProvenArtifact(**dict(artifact)) for artifact in manifest.artifacts),
        drill=DrillView.of(drill) if drill else None,
        restored=restored,
    )
