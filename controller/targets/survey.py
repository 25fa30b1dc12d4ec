"""Asks a target what it offers and decides what a run would do; at discovery, so that a missing client is known by day,
and again before each run.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from config.target import TargetSettings
from controller.core.errors import TargetPaused, TargetUnsuitable
from controller.core.redaction import sensitive
from controller.engine.client import Engine
from controller.engine.models import Inspected
from controller.targets.helper_containers import Helpers
from strategies.base import Answer, Argv, Container, Facts, NeedsHelper, Options, Plan, Shell, Strategy, Unsuitable

SWARM_TASK = "com.docker.swarm.task.id"


@dataclass(frozen=True, slots=True)
class Helper:
    """A container in which the plan runs in the target's stead."""

    container: str
    """Id; it is there only while `Surveyor.entered` is."""
    shell: Shell | None


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found out about a target, and the plan that follows from it."""

    container: Container
    image_id: str
    facts: Facts
    plan: Plan
    sensitive: tuple[str, ...]
    """Values from the container's environment that nobody may see."""
    environment: Mapping[str, str] = field(repr=False)
    """Of whatever the plan runs in the target."""
    helper: Helper | None = None
    """None: the plan runs in the target itself."""


class Surveyor:
    """Needs the engine, the strategies that are there, and a way to helper containers."""

    def __init__(self, engine: Engine, strategies: Mapping[str, Strategy[Any]], helpers: Helpers) -> None:
        self._engine, self._strategies, self._helpers = engine, strategies, helpers

    def survey(self, container_id: str, settings: TargetSettings, options: Options) -> Survey:
        """Inspect, probe, plan. Raises `TargetUnsuitable`, `TargetPaused` and the engine's errors."""
        with self.entered(container_id, settings, options) as survey:
            return survey

    @contextmanager
    def entered(self, container_id: str, settings: TargetSettings, options: Options) -> Iterator[Survey]:
        """The same for a run, whose plan may need a helper as long as the context is open."""
        survey = self.ask(container_id, settings, options)
        strategy = self._strategies[settings.strategy or ""]
        with ExitStack() as stack:
            with suitable():
                try:
                    plan = strategy.plan(survey.container, survey.facts, options)
                except NeedsHelper as refusal:
                    helper = stack.enter_context(self._helper(survey.container, settings, refusal))
                    plan = strategy.plan(
                        survey.container, self._facts_of_helper(helper, strategy.probes(options)), options
                    )
                    survey = replace(survey, helper=helper)
            yield replace(survey, plan=plan)

    def ask(self, container_id: str, settings: TargetSettings, options: Options) -> Survey:
        """Inspect and probe only: the plan is empty. Raises as `survey` does."""
        inspected = self._engine.inspect(container_id)
        if state := hindrance(inspected, settings):
            raise TargetPaused(f"container {inspected.name} is {state}", hint="Resume it, or wait until it runs.")
        strategy = self._strategies[settings.strategy or ""]
        demand_holdable(inspected, settings, strategy)
        environment = {**settings.env, **dict.fromkeys(strategy.emptied_variables, "")}
        facts = self._facts(inspected, settings, strategy.probes(options), environment)
        container = described(inspected, settings)
        return Survey(container, inspected.image_id, facts, Plan(()), sensitive(inspected.env), environment)

    @contextmanager
    def _helper(self, container: Container, settings: TargetSettings, refusal: NeedsHelper) -> Iterator[Helper]:
        """Raises `Unsuitable` without the operator's leave."""
        if not self._helpers.allowed:
            hint = f"{refusal.hint} Or have the operator allow a helper container by `policy.create-containers: true`."
            raise Unsuitable(refusal.message, hint, refusal.code)
        with self._helpers.helper(container.id, settings.timeout.total_seconds()) as helper:
            yield Helper(helper, self._engine.find_shell(helper))

    def _facts_of_helper(self, helper: Helper, probes: Mapping[str, Argv]) -> Facts:
        answers = self._engine.ask_all(helper.container, probes, shell=helper.shell)
        return Facts(helper.shell, answers, helper=True)

    def _facts(
        self, inspected: Inspected, settings: TargetSettings, probes: Mapping[str, Argv], environment: Mapping[str, str]
    ) -> Facts:
        """A container that somebody has paused is read as it is, unasked: each answer is that of a missing command."""
        if inspected.paused:
            return Facts(None, dict.fromkeys(probes, Answer(127)))
        user = settings.user or ""
        shell = self._engine.find_shell(inspected.id, user=user, workdir=settings.workdir or "")
        return Facts(shell, self._engine.ask_all(inspected.id, probes, shell=shell, user=user, environment=environment))


@contextmanager
def suitable() -> Iterator[None]:
    """Turn a strategy's refusal into `TargetUnsuitable`."""
    try:
        yield
    except Unsuitable as error:
        raise TargetUnsuitable(error.message, hint=error.hint, code=error.code) from error


def demand_holdable(inspected: Inspected, settings: TargetSettings, strategy: Strategy[Any]) -> None:
    """Raises `TargetUnsuitable` where `quiesce` makes no sense, or would destroy the container."""
    if settings.quiesce != "none" and not strategy.reads_paused:
        message = f"backup.quiesce is only for filesystem, since {settings.strategy} needs a target that runs"
        hint = "Remove it: the client's own snapshot makes the dump consistent."
        raise TargetUnsuitable(message, hint=hint, code="no-quiesce")
    if settings.quiesce == "stop" and (inspected.auto_remove or SWARM_TASK in inspected.labels):
        why = "removes itself, with its volumes, once it is stopped"
        if not inspected.auto_remove:
            why = "is a Swarm task, which Swarm replaces once it is stopped"
        hint = "Use backup.quiesce=pause."
        raise TargetUnsuitable(f"container {inspected.name} {why}", hint=hint, code="no-stop")


def hindrance(inspected: Inspected, settings: TargetSettings) -> str | None:
    """Why nothing can be run in the container now: `paused`, `restarting`; None when nothing stands against it.

    One that somebody else has paused can be read as it is, where that is what `quiesce` would do and nothing is run.
    """
    if inspected.restarting:
        return "restarting"
    readable = settings.quiesce == "pause" and not (settings.commands.pre or settings.commands.post)
    return "paused" if inspected.paused and not readable else None


def described(inspected: Inspected, settings: TargetSettings) -> Container:
    """What a strategy may know of the container."""
    return Container(
        id=inspected.id,
        name=inspected.name,
        image=inspected.image,
        user=settings.user or inspected.user,
        workdir=settings.workdir or inspected.workdir or "/",
        mounts=tuple(sorted(mount.path for mount in inspected.mounts if mount.kind != "tmpfs")),
        tmpfs=inspected.tmpfs,
        held=settings.quiesce != "none",
    )
