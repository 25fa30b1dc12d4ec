"""Commands in one container for a run, a restore or a drill: asked, fed, streamed, and ended."""

import io
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from controller.core.cancelling import Cancellable
from controller.core.errors import CommandFailed, SidecarError
from controller.core.redaction import Redact
from controller.engine.archive import ArchiveStream
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.engine.models import ExecResult
from controller.engine.stream import ExecStream
from controller.storage.codecs import PlainReader
from controller.targets.remedies import Remedy, unknown
from strategies.base import ERROR, Answer
from strategies.plan import RESTART, Archive, Argv, Count, Exec, Incomplete
from strategies.tar import FOLDER, members

LIST_BYTES = 8 << 20
"""Of an answer that lists all objects of a database; it may take ten times as much in memory."""
ANSWER_BYTES = 1 << 20
"""Of any other answer."""
RESTART_SECONDS = 600.0
"""Within which a container has to stop and start again; it takes a grace period of its own."""
OBJECT = re.compile(r"from TOC entry|while PROCESSING TOC")


@dataclass(frozen=True, slots=True)
class Session:
    """Every method raises the engine's and the target's errors, and `CommandFailed` for an exit code other than 0."""

    engine: Engine
    context: ExecContext
    redact: Redact
    remedy: Remedy = unknown
    """Gives the next step where a command fails; the error's own where it is empty."""

    def heard_by(self, reading: Callable[[Cancellable], None]) -> "Session":
        """The same, for who wants to cancel what is read or written."""
        return replace(self, context=replace(self.context, reading=reading))

    def ask(self, argv: Argv, timeout: float = math.inf, *, called: str = "", limit: int = ANSWER_BYTES) -> str:
        """Run a command without input; its standard output. `timeout` in seconds, at most what is left; `called` is
        the command's name in messages, `limit` in bytes. `RESTART` is done by the engine.
        """
        if argv == RESTART:
            self.engine.transition(self.context.container, "restart", deadline=time.monotonic() + RESTART_SECONDS)
            return ""
        answer = self.engine.ask(self.context, argv, timeout=timeout, limit=limit)
        self.demand_success(called or tool(argv), answer)
        return answer.stdout

    def ask_all(self, questions: Mapping[str, Argv], timeout: float) -> Mapping[str, Answer]:
        """Answers by the questions' names, whatever their exit codes, asked one after another in one exec."""
        return self.engine.ask_all(self.context, questions, timeout=timeout, limit=LIST_BYTES)

    def run(self, argv: Argv, *, called: str = "") -> None:
        """Run a command without input, whose standard output nobody wants."""
        with self.engine.exec(self.context, argv) as stream:
            deque(stream, maxlen=0)
        self.demand_success(called or tool(argv), stream.result)

    def feed(self, argv: Argv, chunks: Iterable[bytes]) -> str:
        """Write the chunks to a command's standard input, and wait for its end; the tail of its standard error."""
        result = self.engine.feed(self.context, argv, chunks)
        self.demand_success(tool(argv), result)
        return result.stderr

    def put(self, folder: str, chunks: Iterable[bytes]) -> None:
        """Unpack a tar in a folder by the engine's archive endpoint."""
        self.engine.put(self.context.container, folder, chunks)

    def stream(self, source: Exec | Archive) -> ExecStream | ArchiveStream:
        """What a source gives, not yet opened."""
        if isinstance(source, Archive):
            return self.engine.archive(self.context, source.path)
        return self.engine.exec(self.context, source.argv)

    def in_the_way(self, question: Exec | Archive) -> list[str]:
        """What a question of `Restore.occupied` names."""
        if isinstance(question, Archive):
            there = self.engine.exists(self.context.container, question.path)
            return [question.path] if there and self._holds_anything(question) else []
        return self.ask(question.argv, timeout=60).splitlines()

    def _holds_anything(self, source: Archive) -> bool:
        """Whether it is more than an empty folder; no more of it is read than that takes."""
        with self.stream(source) as stream:
            found = members(PlainReader(map(bytes, stream), io.BytesIO()))
            below = (member.name.strip(b"/").removesuffix(b"/lost+found") for member in found)
            try:
                return any(member.kind != FOLDER for member in islice(found, 1)) or any(b"/" in name for name in below)
            except Incomplete:
                return True

    def count(self, count: Count, timeout: float = math.inf) -> Mapping[str, int]:
        """Ask for numbers; raises `CommandFailed` also for an answer that is none."""
        patient = replace(self, context=replace(self.context.within(timeout), stall=None))
        with patient.stream(count.source) as stream:
            try:
                numbers = count.read(PlainReader(map(bytes, stream), io.BytesIO()))
            except Incomplete as error:
                raise CommandFailed(f"what was counted is not whole: {error}") from error
        if isinstance(stream, ExecStream):
            self.demand_success(tool(stream.argv), stream.result)
        return numbers

    def end(self, age: float = 1e9) -> tuple[str, ...]:
        """End what was started here and still runs; a warning when something is left, or nobody could look.

        Without a shell nobody can; there a command ends with its input.
        """
        try:
            left = () if self.context.shell is None else self.engine.kill(self.context, age)
        except SidecarError as error:
            return (f"left-running: nobody could look whether something is left in the container: {error.message}",)
        return (f"left-running: there is still in the container: {', '.join(left)}",) if left else ()

    def demand_success(self, called: str, result: ExecResult | Answer) -> None:
        """Raises `CommandFailed` unless the exit code is 0."""
        if result.code != 0:
            stderr = self.redact(result.stderr).strip()
            why = reason(stderr)
            message, hint = f"{called} failed with exit code {result.code}: {why}", self.remedy(result.code, why)
            raise CommandFailed(message, hint=hint, exit_code=result.code, stderr=stderr)


def reason(stderr: str) -> str:
    """Why a command failed, as far as it said so: from the line that names the object to those after the error, where
    there is such a line; else the last ones.
    """
    lines = stderr.splitlines()
    errors = [number for number, line in enumerate(lines) if ERROR.search(line)]
    about = [number for number, line in enumerate(lines) if OBJECT.search(line)]
    if not errors:
        return "; ".join(lines[-3:])[-1000:] or "it printed nothing on standard error"
    first = errors[0]
    object_ = [lines[number] for number in about if first - 2 <= number < first]
    return "; ".join((*object_, *lines[first : first + 3]))[:1000]


def tool(argv: Sequence[str]) -> str:
    """How messages call a command: by its last plain word before the options, for what runs under a shell's script."""
    words = [word for word in argv if word and "\n" not in word and not word.startswith("-")]
    plain = [word for word in words if word not in ("sh", "bash") and " " not in word and "=" not in word]
    return (plain or words or [argv[0]])[0]
