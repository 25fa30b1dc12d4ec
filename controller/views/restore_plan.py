"""What a restore would do, for API and CLI."""

from typing import Annotated, Self

from pydantic import Field

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


class RestorePlan(View):
    """A restore that is decided, and not begun."""

    target: str
    run: str
    strategy: str
    container: str
    where: str
    artifacts: tuple[PlannedArtifact, ...]
    in_the_way: tuple[str, ...]
    """What is there, and would be replaced."""
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
            strategy=shown.manifest.strategy,
            container=shown.destination.container.name,
            where=restore.where,
            artifacts=tuple(
                PlannedArtifact(name=artifact.name, plain_size=artifact.plain_size, counted=len(artifact.counts))
                for artifact in artifacts
            ),
            in_the_way=shown.in_the_way,
            steps=tuple(map(StepView.of, restore.steps)),
            compares={name: SourceView.of(count.source) for name, count in restore.counts.items()},
            swap=tuple(map(StepView.of, restore.swap)),
            finish=restore.finish,
            warnings=restore.warnings,
        )
