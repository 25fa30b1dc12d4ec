"""One run's hands in its target: it decides which user, folder, environment, deadline and marker each exec gets."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from config.secrets import Secrets
from controller.backup.jobs import Job
from controller.core.cancelling import Cancellable
from controller.core.errors import CommandFailed, ServerGone, SidecarError, TargetDied, TargetGone, TargetReplaced
from controller.engine.archive import ArchiveStream
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.engine.models import ExecResult
from controller.engine.stream import ExecStream
from controller.targets.discovery import named
from controller.targets.remedies import always
from controller.targets.runnable import RunnableTarget
from controller.targets.session import Session, reason, tool
from controller.targets.survey import Survey
from strategies.base import script
from strategies.plan import Argv, Dump, Exec, Incomplete

POST_SECONDS = 300.0
"""What `post` gets in any case, since it undoes what `pre` did also after the run's own deadline."""
ENDING_SECONDS = 5.0
"""What a command in a target without a shell gets to end by itself, once nobody listens any more."""
QUESTION_SECONDS = 60.0
"""What a question before the dump may take."""
COMING = ("created", "running", "restarting")
"""States of a container that takes a target's place; Compose creates it before it stops the old one."""


@dataclass(frozen=True, slots=True)
class TargetRun:
    """Every method raises the engine's and the target's errors."""

    engine: Engine
    job: Job
    target: RunnableTarget
    survey: Survey
    secrets: Secrets
    """The operator's, and what the container's own environment keeps secret; for redaction."""
    deadline: float
    """Of `time.monotonic()`."""
    unended: list[ExecStream] = field(default_factory=list)
    """The streams of this run in a target without a shell, where nothing else tells whether they have ended."""

    @property
    def session(self) -> Session:
        """Where the plan runs: the target, or the helper that reads its volumes."""
        return self._session(self.survey.context)

    def _session(self, context: ExecContext) -> Session:
        marked = replace(
            context,
            run=self.job.report.id,
            deadline=self.deadline,
            stall=self.target.settings.stall_timeout.total_seconds(),
            reading=self.job.reading if context.shell else self._reading,
        )
        return Session(self.engine, marked, self.secrets.redact)

    def _reading(self, stream: Cancellable) -> None:
        if isinstance(stream, ExecStream):
            self.unended.append(stream)
        self.job.reading(stream)

    def source(self, dump: Dump) -> ExecStream | ArchiveStream:
        """The stream of a dump, not yet opened."""
        context = self.survey.context
        if isinstance(dump.source, Exec) and self.survey.helper is None:
            context = replace(context, environment={**self._environment("backup"), **context.environment})
        return self._session(context).stream(dump.source)

    def pre(self) -> None:
        """Run `commands.pre`; raises `CommandFailed`."""
        self._commands("pre", self._session(self.survey.probed.context))

    def post(self, outcome: str) -> None:
        """Run `commands.post` with `BACKUP_OUTCOME`, also for a run that was cancelled or is past its deadline."""
        session = self._session(self.survey.probed.context)
        deadline = max(self.deadline, time.monotonic() + POST_SECONDS)
        lasting = replace(session.context, deadline=deadline, reading=self.job.posting)
        self._commands("post", replace(session, context=lasting), {"BACKUP_OUTCOME": outcome})

    def _commands(self, when: str, session: Session, extra: Mapping[str, str] | None = None) -> None:
        environment = {**self._environment(when), **(extra or {})}
        own = replace(session, context=replace(session.context, environment=environment, lasting=True))
        own = replace(own, remedy=always(f"Mend commands.{when} of the target, or what it calls."))
        for command in getattr(self.target.settings.commands, when):
            own.run(script([command], own.context.shell), called=when)

    def _environment(self, when: str) -> dict[str, str]:
        """Of the commands that somebody wrote for this target."""
        secrets = self.target.secrets_for(when, self.secrets)
        return {**secrets, **self.target.settings.env, "BACKUP_KEY": str(self.job.key)}

    def ask(self, questions: Mapping[str, Argv]) -> dict[str, str]:
        """The standard output of read-only questions by their names, asked in one exec; raises `CommandFailed`."""
        answers = self.session.ask_all(questions, QUESTION_SECONDS)
        for answer in answers.values():
            self.session.demand_success("a question before the dump", answer)
        return {name: answer.stdout for name, answer in answers.items()}

    def feed(self, argv: Argv, chunks: Iterable[bytes]) -> None:
        """Write chunks to a command's standard input; raises `Incomplete` when it does not like them."""
        result = self.engine.feed(self.session.context, argv, chunks)
        if result.code != 0:
            why = reason(self.secrets.redact(result.stderr).strip())
            raise Incomplete(f"{tool(argv)} refuses it with exit code {result.code}: {why}")

    def demand_success(self, dump: Dump, result: ExecResult) -> tuple[str, ...]:
        """Raises `CommandFailed` unless the exit code is 0, or one that the dump allows, which is a warning."""
        called = f"the dump {dump.name}"
        if meaning := dump.warning_codes.get(result.code):
            return (f"{called}: {meaning}: {self.secrets.redact(result.stderr).strip()[-1000:]}",)
        self.session.demand_success(called, result)
        return ()

    def end(self, *, failed: bool) -> tuple[str, ...]:
        """End what the dumps left here, and look that it is gone; else a warning that says what is known.

        What `pre` and `post` left is theirs. Without a shell only the commands themselves can be watched, not ended.
        """
        if self.survey.probed.context.shell is not None:
            began = self.deadline - self.target.settings.timeout.total_seconds()
            return self._session(self.survey.probed.context).end(time.monotonic() - began)
        try:
            left = [stream.argv[0] for stream in self.unended if not stream.ends(ENDING_SECONDS)]
        except SidecarError as error:
            return (f"left-running: nobody could look whether something is left in the container: {error.message}",)
        if left:
            return (f"left-running: the target has no shell to end by what is still there: {', '.join(left)}",)
        seen = "left-running: the target has no shell, so only its commands themselves were seen to end"
        return (seen,) if self.unended and failed else ()

    def killed_for_memory(self) -> bool:
        """Whether the engine knows that the kernel has killed something in the container for memory since its start.

        For what runs without the seal, or where the container does not show the kernel's own count.
        """
        return self.engine.inspect(self.survey.context.container).oom

    def explained(self, error: SidecarError) -> SidecarError:
        """The error, or the cause behind it: another container has the target's place, or the server is gone."""
        if isinstance(error, CommandFailed) and self.survey.gone and re.search(self.survey.gone, error.stderr):
            return ServerGone(error.message, exit_code=error.exit_code, stderr=error.stderr)
        if isinstance(error, (TargetDied, TargetGone)) and (name := self._successor()):
            hint = "It was re-created meanwhile; the next attempt, or run, uses the new container."
            return TargetReplaced(f"{self.job.key} is now container {name}", hint=hint)
        return error

    def _successor(self) -> str | None:
        """Name of another container that is of the target's service and runs, or is about to."""
        own = self.job.key.model_copy(update={"name": None})
        for listed in self.engine.containers():
            if named(listed)[0] == own and listed.state in COMING and listed.id != self.target.container.id:
                return listed.name
        return None
