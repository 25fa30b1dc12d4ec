"""What a run does inside its target: streams, commands, questions, and seeing that nothing of it is left behind.

Apart from the runner, which knows the order of things, so that here is the one place that decides which user, folder,
environment, deadline and marker an exec gets.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from config.secrets import Secrets
from controller.backup.jobs import Job
from controller.core.errors import (
    CommandFailed,
    IncompleteDump,
    SidecarError,
    StreamError,
    TargetDied,
    TargetGone,
    TargetReplaced,
    TimedOut,
)
from controller.engine.archive import ArchiveStream
from controller.engine.client import Engine
from controller.engine.models import ExecResult
from controller.engine.stream import ExecStream
from controller.targets.discovery import SERVICE
from controller.targets.scope import PROJECT
from controller.targets.session import Session
from controller.targets.survey import Helper, Survey
from controller.targets.target import Target
from strategies.base import Archive, Argv, Dump, Incomplete, script

POST = 300.0
"""Seconds that `post` gets in any case, since it undoes what `pre` did also after the run's own deadline."""
ENDING = 5.0
"""Seconds that a command in a target without a shell gets to end by itself, once nobody listens any more."""
QUESTION = 60.0
"""Seconds that a question before the dump may take."""
COMING = ("created", "running", "restarting")
"""States of a container that takes a target's place; Compose creates it before it stops the old one."""
ANSWER = 64 << 20
"""Bytes that its answer may have: a list of all objects of a server."""


@dataclass(frozen=True, slots=True)
class TargetRun:
    """One run's hands in one container. Every method raises the engine's and the target's errors."""

    engine: Engine
    job: Job
    target: Target
    survey: Survey
    secrets: Secrets
    """The operator's, and what the container's own environment keeps secret; for redaction."""
    deadline: float
    """Of `time.monotonic()`."""
    opened: list[ExecStream] = field(default_factory=list)
    """The streams of this run in the target so far."""

    @property
    def stall(self) -> float:
        return self.target.asked()[0].stall_timeout.total_seconds()

    @property
    def user(self) -> str:
        return self.target.asked()[0].user or ""

    @property
    def session(self) -> Session:
        """Where the plan runs: the target, or the helper that reads its volumes."""
        return self._session(self.survey.helper)

    def _session(self, helper: Helper | None) -> Session:
        settings, _ = self.target.asked()
        return Session(
            engine=self.engine,
            container=helper.container if helper else self.survey.container.id,
            shell=helper.shell if helper else self.survey.facts.shell,
            user="" if helper else self.user,
            workdir="" if helper else settings.workdir or "",
            run=self.job.report.id,
            redact=self.secrets.redact,
            deadline=self.deadline,
            environment={} if helper else self.survey.environment,
        )

    def source(self, dump: Dump) -> ExecStream | ArchiveStream:
        """The stream of a dump, not yet opened."""
        session, source = self.session, dump.source
        if isinstance(source, Archive):
            return self.engine.archive(session.container, source.path, deadline=self.deadline, stall=self.stall)
        own = {} if self.survey.helper else self._environment("backup")
        return self._exec(session, source.argv, {**own, **session.environment, **source.environment}, self.deadline)

    def pre(self) -> None:
        """Run `commands.pre`; raises `CommandFailed`."""
        self._commands("pre", {}, self.deadline, self.job.reading)

    def post(self, outcome: str) -> None:
        """Run `commands.post` with `BACKUP_OUTCOME`, also for a run that was cancelled or is past its deadline."""
        deadline = max(self.deadline, time.monotonic() + POST)
        self._commands("post", {"BACKUP_OUTCOME": outcome}, deadline, self.job.posting)

    def ask(self, argv: Sequence[str]) -> str:
        """The standard output of a read-only question; raises `CommandFailed`."""
        session = self.session
        answer = self.engine.ask(
            session.container,
            argv,
            user=session.user,
            shell=session.shell,
            run=self.job.report.id,
            timeout=min(QUESTION, self.deadline - time.monotonic()),
            limit=ANSWER,
            reading=self.job.reading,
        )
        self.demand_success(
            "a question before the dump", ExecResult(answer.code, sealed=False, stderr=answer.stderr), {}
        )
        return answer.stdout

    def feed(self, argv: Argv, chunks: Iterable[bytes]) -> None:
        """Write chunks to a command's standard input; raises `Incomplete` when it does not like them."""
        session = self.session
        result = self.engine.feed(
            session.container,
            argv,
            chunks,
            user=session.user,
            run=self.job.report.id,
            deadline=self.deadline,
            stall=self.stall,
            reading=self.job.reading,
        )
        if result.code != 0:
            last = self.secrets.redact(result.stderr[-500:]).strip()
            raise Incomplete(f"{argv[0]} refuses it with exit code {result.code}: {last}")

    def demand_success(self, what: str, result: ExecResult, allowed: Mapping[int, str]) -> tuple[str, ...]:
        """Raises `CommandFailed` unless the exit code is 0, or one that is allowed, which is a warning."""
        stderr = self.secrets.redact(result.stderr).strip()
        if result.code in allowed:
            return (f"{what}: {allowed[result.code]}: {stderr[-1000:]}",)
        if result.code != 0:
            last = "; ".join(stderr.splitlines()[-3:]) or "it printed nothing on standard error"
            hint = "The last lines of its standard error are in the report; run it by hand in the container."
            message = f"{what} failed with exit code {result.code}: {last[-500:]}"
            raise CommandFailed(message, hint=hint, exit_code=result.code, stderr=stderr)
        return ()

    def end(self) -> str:
        """End what a failed run started here, and look that it is gone; else a warning that says what is known."""
        try:
            left = self._end()
        except SidecarError as error:
            return f"left-running: nobody could look whether something of this run is left: {error.message}"
        return f"left-running: of this run there is still in the target: {', '.join(left)}" if left else ""

    def _end(self) -> tuple[str, ...]:
        """What is left, as `pid name`. Without a shell only the commands themselves can be watched, not ended."""
        container, run = self.survey.container.id, self.job.report.id
        if self.survey.facts.shell is not None:
            return self.engine.end(container, run, user=self.user)
        left = [stream.argv[0] for stream in self.opened if not stream.ends(ENDING)]
        if self.opened and not left:
            raise CommandFailed("the target has no shell, so only its commands themselves were seen to end")
        return tuple(f"{name} (the target has no shell to end it by)" for name in left)

    def killed_for_memory(self) -> bool:
        """Whether the engine knows that the kernel has killed something in the container for memory since its start.

        For what runs without the seal, or where the container does not show the kernel's own count.
        """
        return self.engine.inspect(self.session.container).oom

    def explained(self, error: SidecarError) -> SidecarError:
        """The error with the container's name, or the cause behind it: another container has the target's place."""
        if isinstance(error, (TargetDied, TargetGone)) and (name := self._successor()):
            hint = "It was re-created meanwhile; the next attempt, or run, uses the new container."
            return TargetReplaced(f"{self.job.key} is now container {name}", hint=hint)
        name = self.survey.container.name
        if isinstance(error, (StreamError, TimedOut, CommandFailed, IncompleteDump)) and name not in error.message:
            error.message += f" (container {name})"
        return error

    def _commands(
        self, when: str, extra: Mapping[str, str], deadline: float, reading: Callable[[ExecStream], None]
    ) -> None:
        session, environment = self._session(None), {**self._environment(when), **extra}
        for command in getattr(self.target.asked()[0].commands, when):
            with self._exec(session, script([command], session.shell), environment, deadline) as stream:
                reading(stream)
                for _ in stream:
                    pass
            self.demand_success(when, stream.result, {})

    def _exec(self, session: Session, argv: Argv, environment: Mapping[str, str], deadline: float) -> ExecStream:
        stream = self.engine.exec(
            session.container,
            argv,
            environment=environment,
            user=session.user,
            workdir=session.workdir,
            shell=session.shell,
            run=session.run,
            deadline=deadline,
            stall=self.stall,
        )
        if session.container == self.survey.container.id:
            self.opened.append(stream)
        return stream

    def _environment(self, when: str) -> dict[str, str]:
        """Of an exec; the operator's secrets only for a command that the operator's file wrote."""
        origins = self.target.resolved.origins if self.target.resolved else {}
        secrets = dict(self.secrets) if origins.get(when) == "file" else {}
        return {**secrets, **self.target.asked()[0].env, "BACKUP_KEY": str(self.job.key)}

    def _successor(self) -> str | None:
        """Name of another container that carries the target's Compose labels now and runs, or is about to."""
        own = (self.job.key.project, self.job.key.service)
        for listed in self.engine.containers():
            same = (listed.labels.get(PROJECT), listed.labels.get(SERVICE)) == own
            if same and listed.state in COMING and listed.id != self.survey.container.id:
                return listed.name
        return None
