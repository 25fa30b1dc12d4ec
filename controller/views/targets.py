"""Targets as others see them, with what is known of their runs; no value of a secret of file, labels or container."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

from config.secrets import SENSITIVE, Secrets
from config.target import TargetSettings
from controller.core.key import Key
from controller.core.records import Time
from controller.core.redaction import Redact
from controller.storage.catalog import Catalog
from controller.targets.survey import Survey
from controller.targets.target import Target, TargetState
from controller.upkeep.expectations import Expectations
from controller.upkeep.freshness import FreshnessState
from controller.views.schemas import DrillSummary, JsonObject, KeyText, ProblemView, RunView, View, redacted
from strategies.plan import Archive, Exec


class ContainerView(View):
    """The container of a target."""

    id: str
    name: str
    image: str


class DumpView(View):
    """One stream that a run would capture."""

    name: str
    format: str
    argv: tuple[str, ...]
    """What would run in the container; empty for the archive endpoint."""
    archive: str | None
    """The path that the archive endpoint would read; None for a command."""
    check: bool
    """Whether its format would be checked."""


class PlanView(View):
    """What would run, what would come out, how it would be proved."""

    shell: str | None
    helper: bool
    """It would run in a helper container."""
    warnings: tuple[str, ...]
    dumps: tuple[DumpView, ...]

    @classmethod
    def of(cls, shown: Survey) -> Self:
        dumps = tuple(
            DumpView(
                name=dump.name,
                format=dump.format,
                argv=dump.source.argv if isinstance(dump.source, Exec) else (),
                archive=dump.source.path if isinstance(dump.source, Archive) else None,
                check=dump.check is not None,
            )
            for dump in shown.plan.dumps
        )
        helper = shown.helper is not None
        return cls(shell=shown.probed.facts.shell, helper=helper, warnings=shown.plan.warnings, dumps=dumps)


class TargetHead(View):
    """A target and whether it can be backed up."""

    key: KeyText
    state: TargetState
    """`pending`: being asked; `problem`: see `problems`; `replica`: of a scaled service; `absent`: not running."""
    strategy: str
    container: ContainerView
    problems: tuple[ProblemView, ...]


class TargetDescription(TargetHead):
    """A target as labels, file and probes describe it."""

    settings: JsonObject
    """By the labels' names; empty where something is wrong with them."""
    provenance: dict[str, str]
    """By setting, where it comes from."""
    plan: PlanView | None

    @classmethod
    def of(cls, shown: Any) -> Self:
        return cls(
            **dict(TargetHead.of(shown)),
            settings=settings_of(shown.settings) if shown.settings else {},
            provenance=dict(shown.resolved.provenance) if shown.resolved else {},
            plan=PlanView.of(shown.survey) if shown.survey else None,
        )


class FreshnessSummary(View):
    """How old the last good run is against what was promised."""

    state: FreshnessState
    reason: str


class TargetSummary(TargetHead):
    """A target with its last good run and its next."""

    last_good: RunView | None
    last_drill: DrillSummary | None
    last_good_drill: DrillSummary | None
    next_due: Time | None
    freshness: FreshnessSummary


class TargetView(TargetSummary, TargetDescription):
    """Everything that is known of a target."""


class TargetViews:
    """Shows targets; safe to use from several threads."""

    def __init__(
        self,
        secrets: Callable[[], Secrets],
        catalog: Catalog,
        expectations: Expectations,
        next_due: Callable[[Target], datetime | None],
    ) -> None:
        self._secrets, self._catalog, self._expectations, self._next_due = secrets, catalog, expectations, next_due

    def whole(self, target: Target) -> TargetView:
        return TargetView(**dict(described(target, self._secrets())), **self._known(target))

    def brief(self, target: Target) -> TargetSummary:
        head = redacted(TargetHead.of(target), redact_of(target, self._secrets()))
        return TargetSummary(**dict(head), **self._known(target))

    def _known(self, target: Target) -> dict[str, Any]:
        good, last = self._catalog.last_good(target.key), self._catalog.last_drill(target.key)
        return {
            "last_good": RunView.of(good) if good else None,
            "last_drill": DrillSummary.of(last) if last else None,
            "last_good_drill": last_good_drill(self._catalog, target.key),
            "next_due": self._next_due(target),
            "freshness": FreshnessSummary.of(self._expectations.of(target)),
        }


def described(target: Target, secrets: Secrets) -> TargetDescription:
    """A target without what only a catalog knows."""
    return redacted(TargetDescription.of(target), redact_of(target, secrets))


def redact_of(target: Target, secrets: Secrets) -> Redact:
    """Takes the operator's secrets out of a text, and those of the target's labels and of its container."""
    return secrets.with_also(target.sensitive).redact


def last_good_drill(catalog: Catalog, key: Key) -> DrillSummary | None:
    drill = catalog.last_drill(key, good=True)
    return DrillSummary.of(drill) if drill else None


def settings_of(settings: TargetSettings) -> JsonObject:
    """By the labels' names; values of variables whose names say that they are secret are left out."""
    values: JsonObject = settings.model_dump(mode="json", by_alias=True)
    values["env"] = {name: "***" if SENSITIVE.search(name) else value for name, value in settings.env.items()}
    return values
