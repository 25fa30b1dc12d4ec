"""One container as a place where things are asked and restored: who runs what there, until when, under which marker.

Apart from `inside`, which belongs to the run of a target; a restore may go into another container, a drill into a
throw-away one.
"""

import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from controller.core.cancelling import Cancellable
from controller.core.errors import CommandFailed, SidecarError
from controller.core.redaction import Redact
from controller.engine.archive import ArchiveStream
from controller.engine.client import Engine
from controller.engine.stream import ExecStream
from controller.storage.codecs import PlainReader
from strategies.base import Archive, Argv, Count, Exec, Incomplete, Shell

ANSWER = 64 << 20
"""Bytes that an answer may have."""


@dataclass(frozen=True, slots=True)
class Session:
    """Every method raises the engine's and the target's errors, and `CommandFailed` for an exit code other than 0."""

    engine: Engine
    container: str
    """Id."""
    shell: Shell | None
    user: str
    workdir: str
    run: str
    """The marker of everything that is started, by which `end` finds it."""
    redact: Redact
    deadline: float
    """Of `time.monotonic()`."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    reading: Callable[[Cancellable], None] = lambda stream: None
    """Hears what is read from or written to now, for who wants to cancel it."""

    def ask(self, argv: Argv, timeout: float | None = None) -> str:
        """Run a command without input; its standard output. `timeout` in seconds, at most what is left."""
        left = max(0.0, self.deadline - time.monotonic())
        answer = self.engine.ask(
            self.container,
            argv,
            environment=self.environment,
            user=self.user,
            workdir=self.workdir,
            shell=self.shell,
            run=self.run,
            timeout=left if timeout is None else min(timeout, left),
            limit=ANSWER,
            reading=self.reading,
        )
        self._demand(argv, answer.code, answer.stderr)
        return answer.stdout

    def feed(self, argv: Argv, chunks: Iterable[bytes]) -> None:
        """Write the chunks to a command's standard input, and wait for its end."""
        result = self.engine.feed(
            self.container,
            argv,
            chunks,
            environment=self.environment,
            user=self.user,
            workdir=self.workdir,
            run=self.run,
            deadline=self.deadline,
            reading=self.reading,
        )
        self._demand(argv, result.code, result.stderr)

    def put(self, folder: str, chunks: Iterable[bytes]) -> None:
        """Unpack a tar in a folder by the engine's archive endpoint."""
        self.engine.put(self.container, folder, chunks)

    def in_the_way(self, question: Exec | Archive) -> list[str]:
        """What a question of `Restore.occupied` names."""
        if isinstance(question, Archive):
            return [question.path] if self.engine.exists(self.container, question.path) else []
        return self.ask(question.argv, timeout=60).splitlines()

    def count(self, count: Count, timeout: float | None = None) -> Mapping[str, int]:
        """Ask for numbers; raises `CommandFailed` also for an answer that is none."""
        deadline = self.deadline if timeout is None else min(self.deadline, time.monotonic() + timeout)
        with self._stream(count.source, deadline) as stream:
            self.reading(stream)
            try:
                found = count.read(PlainReader(map(bytes, stream), io.BytesIO()))
            except Incomplete as error:
                raise CommandFailed(f"what was counted is not whole: {error}") from error
        if isinstance(stream, ExecStream) and isinstance(count.source, Exec):
            self._demand(count.source.argv, stream.result.code, stream.result.stderr)
        return found

    def end(self) -> tuple[str, ...]:
        """End what was started here and still runs; a warning when something is left, or nobody could look.

        Without a shell nobody can; there a command ends with its input.
        """
        try:
            left = () if self.shell is None else self.engine.end(self.container, self.run, user=self.user)
        except SidecarError as error:
            left = (f"nobody knows, since looking failed: {error.message}",)
        return (f"left-running: there is still in the container: {', '.join(left)}",) if left else ()

    def _stream(
        self, source: Exec | Archive, deadline: float
    ) -> AbstractContextManager[ExecStream] | AbstractContextManager[ArchiveStream]:
        if isinstance(source, Archive):
            return self.engine.archive(self.container, source.path, deadline=deadline)
        return self.engine.exec(
            self.container,
            source.argv,
            environment={**self.environment, **source.environment},
            user=self.user,
            workdir=self.workdir,
            shell=self.shell,
            run=self.run,
            deadline=deadline,
        )

    def _demand(self, argv: Sequence[str], code: int, stderr: str) -> None:
        if code != 0:
            told = self.redact(stderr).strip()
            last = "; ".join(told.splitlines()[-3:]) or "it printed nothing on standard error"
            message = f"{tool(argv)} failed with exit code {code}: {last[-1000:]}"
            raise CommandFailed(message, hint="Run it by hand in the container.", exit_code=code, stderr=told)


def tool(argv: Sequence[str]) -> str:
    """How messages call a command: by its last plain word before the options, for what runs under a shell's script."""
    words = [word for word in argv if word and "\n" not in word and not word.startswith("-")]
    plain = [word for word in words if word not in ("sh", "bash") and " " not in word and "=" not in word]
    return (plain or words or [argv[0]])[0]
