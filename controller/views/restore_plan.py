"""What a restore would do, for API and CLI."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field

from controller.core.records import Time
from controller.restore.plan import PreparedRestore
from controller.views.schemas import View


class PlannedArtifact(View):
    """An artifact that would be restored."""

    name: str
    plain_size: int
    counted: int
    """How many numbers would be compared."""


class StepView(View):
    """One step, and how it would be undone."""

    artifact: str | None = None
    """What would be on its standard input, or be put."""
    argv: tuple[str, ...] | None = None
    put: Annotated[str | None, Field(validation_alias="folder")] = None
    """The folder that it would be put into."""
    undo: tuple[str, ...] | None = None


class SourceView(View):
    """What would be asked: a command, or the archive of a path."""

    argv: tuple[str, ...] | None = None
    archive: Annotated[str | None, Field(validation_alias="path")] = None


class RoomView(View):
    """Bytes on the disk of the place."""

    needed: int
    free: int | None


UNITS = {"rows of ": "rows", "keys in ": "keys", "files": "files"}
"""What counts begin with, and what they are together."""


def totals(counts: Mapping[str, int]) -> dict[str, int]:
    """By unit."""
    sums = Counter[str]()
    for what, number in counts.items():
        for begin, unit in UNITS.items():
            sums[unit] += number if what.startswith(begin) else 0
    return {unit: sums[unit] for unit in sums if any(what.startswith(unit) for what in counts)}


class RestorePlan(View):
    """A restore that is decided, and not begun."""

    target: str
    run: str
    started: Time
    """When the run began."""
    strategy: str
    image: str
    """That the run was made in."""
    sidecar: str
    """The version that made it."""
    container: str
    container_image: str
    stored: dict[str, int]
    """Rows, keys or files in the run."""
    present: dict[str, int]
    """Of these, how many are there now."""
    room: RoomView | None
    drill_seconds: float | None
    """How long the last drill took that the target has passed."""
    where: str
    clients: str
    """What whoever uses the data notices."""
    artifacts: tuple[PlannedArtifact, ...]
    in_the_way: tuple[str, ...]
    """What is there, and would be replaced."""
    beside: tuple[str, ...]
    """What is where the files came from, so that they would go into a folder beside."""
    replaces: bool
    """What is in the way may go; else the restore would be refused."""
    mirror: bool
    """What is in the way and not in the run would be removed."""
    stops: tuple[str, ...]
    """Containers that would be stopped for the while."""
    steps: tuple[StepView, ...]
    compares: dict[str, SourceView]
    swap: tuple[StepView, ...]
    """Steps after the comparison."""
    finish: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, shown: PreparedRestore) -> Self:
        """Not redacted."""
        restore, artifacts = shown.restore, [source.artifact for source in shown.sources.values()]
        return cls(
            target=str(shown.manifest.target),
            run=shown.manifest.run,
            started=shown.manifest.started,
            strategy=shown.manifest.strategy,
            image=shown.manifest.image,
            sidecar=shown.manifest.sidecar,
            container=shown.destination.container.name,
            container_image=shown.destination.container.image,
            stored=totals(shown.stored),
            present=totals(shown.present),
            room=RoomView(needed=shown.room.needed, free=shown.room.free) if shown.room else None,
            drill_seconds=shown.drill.seconds if shown.drill else None,
            where=restore.where,
            clients=restore.clients,
            artifacts=tuple(
                PlannedArtifact(name=artifact.name, plain_size=artifact.plain_size, counted=len(artifact.counts))
                for artifact in artifacts
            ),
            in_the_way=shown.in_the_way,
            beside=shown.beside,
            replaces=shown.order.replace,
            mirror=shown.order.mirror,
            stops=tuple(container.name for container in shown.stops),
            steps=tuple(map(StepView.of, restore.steps)),
            compares={name: SourceView.of(count.source) for name, count in restore.counts.items()},
            swap=tuple(map(StepView.of, restore.swap)),
            finish=restore.finish,
            warnings=restore.warnings,
        )
