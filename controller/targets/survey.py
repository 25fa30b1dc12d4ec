"""Asks a target what it offers and decides what a run would do; at discovery, so that a missing client is known by day,
and again before each run.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from config.problems import Problem
from config.secrets import Secrets, sensitive
from config.target import TargetSettings
from controller.core.errors import CommandFailed, TargetNotReady, TargetPaused, TargetUnsuitable
from controller.core.redaction import Redact
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.engine.models import Inspected
from controller.targets import remedies
from controller.targets.command_line import words
from controller.targets.helper_containers import Helpers
from controller.targets.origin import SWARM_TASK
from controller.targets.runnable import RunnableTarget
from controller.targets.session import Session
from strategies.base import Answer, Container, Facts, NeedsHelper, NotReady, Strategy, Unsuitable
from strategies.environment import neutral
from strategies.plan import Command, Plan

NO_SHELL = "is a text for a shell, and the container has none (looked for bash and sh)"
ARGV_HINT = 'Write it as an argv list, for example `["/bin/tool","--flag"]`.'


@dataclass(frozen=True, slots=True)
class Probed:
    """What a container told of itself."""

    container: Container
    image_id: str
    facts: Facts
    context: ExecContext
    """In which the probes were asked, and whatever the strategy plans runs."""
    sensitive: tuple[str, ...]
    """Values from the container's environment and the target's commands that nobody may see."""
    paused: bool
    """By somebody else: nothing could be asked, and nothing is known of its shell."""

    def redact(self, text: str) -> str:
        """Takes out what it knows to be secret itself."""
        return Secrets(also=self.sensitive).redact(text)


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found out about a target, and the plan that follows from it."""

    probed: Probed
    plan: Plan
    helper: ExecContext | None = None
    """Of a container in which the plan runs in the target's stead, as long as `Surveyor.surveyed` is open."""
    problems: tuple[Problem, ...] = ()
    """What keeps a restore or a drill, but no run."""
    gone: str = ""
    """As `Strategy.gone`."""

    @property
    def context(self) -> ExecContext:
        """Where the plan runs."""
        return self.helper or self.probed.context


class Surveyor:
    """Needs the engine, the strategies that are there, and a way to helper containers."""

    def __init__(self, engine: Engine, strategies: Mapping[str, Strategy[Any]], helpers: Helpers) -> None:
        self._engine, self._strategies, self._helpers = engine, strategies, helpers

    def survey(self, target: RunnableTarget) -> Survey:
        """Inspect, probe, plan. Raises `TargetUnsuitable`, `TargetNotReady`, `TargetPaused` and the engine's errors."""
        with self.surveyed(target) as survey:
            return survey

    @contextmanager
    def surveyed(self, target: RunnableTarget) -> Iterator[Survey]:
        """The same for a run, whose plan may need a helper as long as the context is open."""
        probed = self.probe(target, target.container.id)
        demand_shell(target, probed)
        strategy, options = self._strategies[target.strategy], target.options
        with ExitStack() as stack:
            helper: ExecContext | None = None
            with suitable(probed.redact):
                try:
                    plan = strategy.plan(probed.container, probed.facts, options)
                except NeedsHelper as refusal:
                    helper = stack.enter_context(self._helper(target, refusal))
                    answers = self._engine.ask_all(helper, strategy.probes(options))
                    plan = strategy.plan(probed.container, Facts(helper.shell, answers, helper=True), options)
            survey = Survey(probed, plan, helper, gone=strategy.gone)
            yield replace(survey, problems=tuple(unrunnable(target, survey)))

    def probe(self, target: RunnableTarget, container_id: str) -> Probed:
        """Inspect and probe the target's container, or the one that a restore goes to. Raises as `survey` does."""
        settings, inspected = target.settings, self._engine.inspect(container_id)
        if state := hindrance(inspected, settings):
            raise TargetPaused(f"container {inspected.name} is {state}", hint="Resume it, or wait until it runs.")
        strategy, container = self._strategies[target.strategy], described(inspected, settings)
        demand_holdable(inspected, settings, strategy)
        of_command = strategy.environment(container)
        context = ExecContext(
            inspected.id,
            user=settings.user or "",
            workdir=settings.workdir or "",
            environment={**neutral(inspected.env), **of_command, **settings.env},
        )
        probes = strategy.probes(target.options)
        secret = (*sensitive(inspected.env), *sensitive(of_command), *target.sensitive)
        if inspected.paused:  # It is read as it is, unasked, as if every command were missing.
            facts = Facts(None, dict.fromkeys(probes, Answer(127)))
        else:
            with suitable(Secrets(also=secret).redact):
                shell, answers = self._engine.probe(context, probes)
                context, facts = replace(context, shell=shell), Facts(shell, answers)
        return Probed(container, inspected.image_id, facts, context, secret, inspected.paused)

    @contextmanager
    def _helper(self, target: RunnableTarget, refusal: NeedsHelper) -> Iterator[ExecContext]:
        """Raises `Unsuitable` without the operator's leave."""
        if not self._helpers.allowed:
            hint = f"{refusal.hint} Or have the operator allow a helper container by `policy.create-containers: true`."
            raise Unsuitable(refusal.message, hint, refusal.code)
        with self._helpers.helper(target.container.id, target.settings.timeout.total_seconds()) as helper:
            context = ExecContext(helper)
            yield replace(context, shell=self._engine.find_shell(context))


def restoring(
    engine: Engine, target: RunnableTarget, probed: Probed, secrets: Secrets, *, run: str, deadline: float
) -> Session:
    """The commands of a restore or a drill in the container that was probed."""
    environment = {**target.secrets_for("restore", secrets), **probed.context.environment}
    stall = target.settings.stall_timeout.total_seconds()
    context = replace(probed.context, run=run, deadline=deadline, environment=environment, stall=stall)
    return Session(engine, context, secrets.with_also(probed.sensitive).redact, remedies.restoring)


@contextmanager
def suitable(redact: Redact) -> Iterator[None]:
    """Turn a strategy's refusal into `TargetUnsuitable` or `TargetNotReady`, without the container's secrets."""
    try:
        yield
    except NotReady as error:
        raise TargetNotReady(redact(error.message), hint=redact(error.hint)) from error
    except Unsuitable as error:
        raise TargetUnsuitable(redact(error.message), hint=redact(error.hint), code=error.code) from error
    except CommandFailed as error:
        raise type(error)(
            redact(error.message), hint=redact(error.hint), exit_code=error.exit_code, stderr=redact(error.stderr)
        ) from error


def demand_holdable(inspected: Inspected, settings: TargetSettings, strategy: Strategy[Any]) -> None:
    """Raises `TargetUnsuitable` where `quiesce` makes no sense, or would destroy the container."""
    if settings.quiesce != "none" and not strategy.reads_paused:
        message = f"backup.quiesce is only for filesystem, since {settings.strategy} needs a target that runs"
        hint = "Remove it: the client's own snapshot makes the dump consistent."
        raise TargetUnsuitable(message, hint=hint, code="no-quiesce")
    if settings.quiesce == "stop" and (why := why_not_stopped(inspected)):
        hint = "Use backup.quiesce=pause."
        raise TargetUnsuitable(f"container {inspected.name} {why}", hint=hint, code="no-stop")


def why_not_stopped(inspected: Inspected) -> str:
    """What would become of the container; empty where it only stops."""
    if inspected.auto_remove:
        return "removes itself, with its volumes, once it is stopped"
    return "is a Swarm task, which Swarm replaces once it is stopped" if SWARM_TASK in inspected.labels else ""


def demand_shell(target: RunnableTarget, probed: Probed) -> None:
    """Raises `TargetUnsuitable` for a text among the commands of a run where no shell could run it."""
    commands = target.settings.commands
    for name in ("pre", "backup", "post"):
        if not probed.paused and probed.context.shell is None and has_text(getattr(commands, name)):
            where = target.provenance.get(f"commands.{name}", f"commands.{name}")
            raise TargetUnsuitable(f"{where} {NO_SHELL}", hint=ARGV_HINT, code="no-shell")


def unrunnable(target: RunnableTarget, survey: Survey) -> Iterator[Problem]:
    """The texts that a restore or a drill could not run, since there is no shell; backups go on."""
    settings = target.settings
    later = {"drill.check": (settings.drill.check,), "commands.restore": settings.commands.restore}
    for name, commands in later.items():
        if not survey.probed.paused and survey.context.shell is None and has_text(commands):
            where = f"container {target.container.name}, {target.provenance.get(name, name)}"
            yield Problem("no-shell", where, NO_SHELL, ARGV_HINT, "warning")


def has_text(commands: Iterable[Command | None]) -> bool:
    return any(isinstance(command, str) for command in commands)


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
        mounts=tuple(sorted(mount.path for mount in inspected.mounts if mount.kind != "tmpfs")),
        tmpfs=inspected.tmpfs,
        command=words(inspected.command, inspected.env),
        quiesced=settings.quiesce != "none",
    )
