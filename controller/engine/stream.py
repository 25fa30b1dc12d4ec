"""The stream of one exec: every byte of standard output, and the proof that nothing is missing."""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from controller.core.errors import (
    Cancelled,
    CommandFailed,
    EngineError,
    EngineLost,
    SidecarError,
    StreamTruncated,
    TargetDied,
    TargetGone,
    TargetPaused,
)
from controller.engine import seal
from controller.engine.api import Api
from controller.engine.context import ExecContext
from controller.engine.frames import Frames, Malformed
from controller.engine.models import ExecResult, ExecState, Inspected
from controller.engine.wire import Wire, start_exec

SETTLING_SECONDS = 1.0
"""Seconds in which the engine may still come to know why a stream has ended."""
CROWDED = re.compile("fork|resource temporarily unavailable|procReady|init-p", re.IGNORECASE)
"""What shells and the engine say when the container has as many processes as it may."""
CROWDED_REMEDY = "Raise the container's pids limit."
SIGNALLED = range(128, 193)
"""Exit codes of commands that a signal has ended."""
ENDING_SECONDS = 5.0
"""Seconds that the engine may take to say that a command whose stream has ended is not running."""


class ExecStream:
    """What a command in a container writes to standard output, and the proof that it arrived whole.

    A context manager and iterator of chunks, up to about 1 MiB each. After the last chunk `result` tells how it
    ended; a stream is complete only with an end on a frame boundary, its seal (where there is a shell), and an
    inspection that says not running and the same code. Iterating raises `StreamTruncated`, `TargetDied`,
    `TargetGone`, `EngineLost`, `Stalled`, `TimedOut`, `Cancelled`, and `CommandFailed` (126, 127) for a command
    that could not be started. The command's own exit code is never an exception.
    """

    result: ExecResult

    def __init__(self, api: Api, context: ExecContext, argv: Sequence[str]) -> None:
        self._api, self._context, self.argv = api, context, list(argv)
        self._seal = seal.Seal() if context.shell is not None else None
        self._deadline = context.deadline
        self._frames = Frames()
        self._wire: Wire | None = None
        self._reason: SidecarError | None = None
        self._held = b""
        self._begun = self._seal is None
        """Whether the data has begun: behind the token of the seal, where there is one."""
        self._answered = False
        self._exec_id = ""

    def __enter__(self) -> Self:
        self._context.reading(self)
        self._before = _able(self._api.inspect(self._context.container))
        pinned = replace(self._context, container=self._before.id)
        self._exec_id = self._api.create_exec(pinned, self._argv)
        if self._reason:
            raise self._reason
        self._wire, first = start_exec(
            self._api, self._exec_id, self._before.id, deadline=self._deadline, stall=self._context.stall
        )
        if self._deadline is not None:
            self._wire.hurry(self._deadline)
        if self._reason:
            self._wire.cancel(self._reason)
        if self._seal:
            self._say(self._seal.announcement)
        self._first = first
        return self

    @property
    def _argv(self) -> list[str]:
        return seal.wrap(self.argv, lasting=self._context.lasting) if self._seal else self.argv

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes | memoryview]:
        try:
            yield from self._chunks()
        except (OSError, Malformed) as error:
            raise self._why(str(error) or type(error).__name__) from error
        self._settle()
        yield from filter(None, [self._last()])

    def cancel(self, reason: SidecarError | None = None) -> None:
        """From any thread: close the socket first; whoever iterates gets `reason`, else `Cancelled`."""
        self._reason = self._reason or reason or Cancelled("the run was cancelled")
        if self._wire is not None:
            self._wire.cancel(self._reason)

    def hurry(self, deadline: float) -> None:
        """From any thread: end by then, if not sooner."""
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        if self._wire is not None:
            self._wire.hurry(deadline)

    def check(self) -> None:
        """Raise what stands against going on: a cancellation, the deadline."""
        if self._wire is not None:
            self._wire.check()

    def close(self) -> None:
        """Close the socket, which also ends what runs under the seal; from any thread, more than once."""
        if self._wire is not None:
            self._wire.close()

    def ends(self, patience: float) -> bool:
        """Whether the command itself is over, or is so many seconds later; nothing is known of its children."""
        limit = time.monotonic() + patience
        while self._exec_id and self._api.exec_state(self._exec_id).running:
            if time.monotonic() > limit:
                return False
            time.sleep(0.1)
        return True

    def _chunks(self) -> Iterator[bytes | memoryview]:
        """Everything but what may be the seal."""
        frames, wire = self._frames, self._wire
        assert wire is not None, "an ExecStream is used in a with statement"
        frames.room()[: len(self._first)] = self._first
        count: int | None = len(self._first)
        while True:
            if count:
                frames.received(count)
                if self._answered and frames.output_size != self._sealed_size:
                    raise self._why("output came after the seal")
                self._answer()
            if frames.full or count is None:
                yield from filter(None, [self._take(idle=count is None)])
            count = wire.receive_into(frames.room())
            if count == 0:
                return

    def _take(self, *, idle: bool) -> memoryview:
        """What can be given away: all that has come, but for the last bytes, which may belong to the seal."""
        taken = self._begin(self._frames.take(self._held))
        keep = seal.LENGTH if self._seal else 0
        if self._seal and idle and self._seal.token in taken[:-keep]:
            raise self._why("output came after the seal")
        self._held = taken[max(0, len(taken) - keep) :] if keep else b""
        return memoryview(taken)[: len(taken) - len(self._held)]

    def _begin(self, taken: bytes) -> bytes:
        """The data, without the seal's opening. Raises `CommandFailed` for what is not ours."""
        if self._begun or self._seal is None or len(taken) < len(self._seal.opening):
            return taken
        self._begun = taken.startswith(self._seal.opening)
        if not self._begun:
            self._held = taken[:4096]
            said = taken[:200].decode("utf-8", "replace").partition("\n")[0]
            raise self._unstarted(self._ended()) or CommandFailed(
                f"the shell prints something of its own when it starts: {said!r}",
                hint="Look at what sh is in the container, and at what it runs at its start.",
            )
        return taken[len(self._seal.opening) :]

    def _tail(self) -> bytes:
        tail = self._frames.tail(seal.LENGTH)
        return tail if len(tail) == seal.LENGTH else (self._held + tail)[-seal.LENGTH :]

    def _answer(self) -> None:
        """Let the wrapper end once its seal is here; until then it lives, and the engine does not drop the tail."""
        if self._seal and not self._answered and self._seal.code(self._tail()) is not None:
            self._answered, self._sealed_size = True, self._frames.output_size
            self._say(b"\n")

    def _say(self, data: bytes) -> None:
        """Write to the wrapper; one that is gone shows in how the stream ends."""
        assert self._wire is not None
        with contextlib.suppress(OSError):
            self._wire.send(data)

    def _last(self) -> bytes:
        rest = self._begin(self._frames.take(self._held))
        return rest[: len(rest) - seal.LENGTH] if self._seal else rest

    def _settle(self) -> None:
        """Decide whether what came is everything, and set the result; else raise."""
        state = self._ended()
        if unstarted := self._unstarted(state):
            raise unstarted
        if not self._frames.boundary:
            raise self._why("the stream ended inside a frame")
        code = self._seal.code(self._tail()) if self._seal else state.code
        if self._seal and code is None:
            raise self._shell_failed(state) or self._why("the stream ended without its seal")
        if not state.known or state.running or state.code != code:
            raise self._why(f"the stream's code is {code}, the engine says {_described(state)}")
        assert code is not None
        self.result = self._result(code)

    def _result(self, code: int) -> ExecResult:
        return ExecResult(code, self._seal is not None, self._frames.error.decode("utf-8", "replace"))

    def _ended(self) -> ExecState:
        """The exec's state, given some time to say that it is over, when a seal tells that it must be."""
        patience = ENDING_SECONDS if self._answered or not self._seal else SETTLING_SECONDS
        limit = time.monotonic() + patience
        while True:
            try:
                state = self._api.exec_state(self._exec_id)
            except EngineError as error:
                raise self._lost(error) from error
            if not state.running or time.monotonic() > limit:
                return state
            time.sleep(0.02)

    def _unstarted(self, state: ExecState) -> CommandFailed | None:
        """The engine's reason for not starting the command comes as if it were output (moby, 26.1); it is no data."""
        if not state.known or state.running or state.pid != 0 or state.code not in (126, 127):
            return None
        text = (self._held + self._frames.tail(4096)).decode("utf-8", "replace").strip()
        return CommandFailed(
            f"the command could not be started: {text}",
            hint=CROWDED_REMEDY
            if CROWDED.search(text)
            else "Check the command's name, backup.user and backup.workdir.",
            exit_code=state.code,
            stderr=text,
        )

    def _why(self, seen: str) -> SidecarError:
        """Why the stream ended too early, by what has become of the container; a kill is known only after a moment."""
        limit = time.monotonic() + SETTLING_SECONDS
        while True:
            try:
                now = self._api.inspect(self._before.id)
                state = self._api.exec_state(self._exec_id)
            except TargetGone as error:
                return error
            except EngineError as error:
                return self._lost(error)
            if now.restarting or now.started_at != self._before.started_at:
                return died(now, f"the dump after {self._frames.output_size} bytes")
            if not now.running:  # `docker rm --force` kills first, and removes a moment later.
                if time.monotonic() > limit:
                    return died(now, f"the dump after {self._frames.output_size} bytes")
                time.sleep(0.05)
                continue
            if not state.known:
                return EngineLost(f"the engine was restarted during the dump: {seen}")
            if time.monotonic() > limit or (not state.running and (state.code or 0) not in SIGNALLED):
                return StreamTruncated(
                    f"{seen}, after {self._frames.output_size} bytes; {_described(state)}",
                    hint="Something before the engine cut the stream: raise a proxy's tunnel time-out.",
                )
            time.sleep(0.05)

    def _shell_failed(self, state: ExecState) -> CommandFailed | None:
        """The wrapper never ends by itself without its seal, unless its shell cannot go on."""
        code, text = state.code, self._frames.error.decode("utf-8", "replace").strip()
        if self._answered or not state.known or state.running or not code or code in (125, *SIGNALLED) or not text:
            return None
        hint = CROWDED_REMEDY if CROWDED.search(text) else "Look at what sh is in the container."
        last = text.rpartition("\n")[2]
        return CommandFailed(f"the shell ended with exit code {code}: {last}", hint=hint, exit_code=code, stderr=text)

    def _lost(self, error: EngineError) -> EngineError:
        lost = EngineLost(f"the engine went away during the dump: {error.message}", hint=error.hint)
        return lost if error.transient else error


def _able(container: Inspected) -> Inspected:
    """The container, when something can be run in it."""
    if container.paused or container.restarting:
        raise TargetPaused(f"container {container.name} is {container.status}", hint="Unpause it, or wait.")
    if not container.running:
        raise TargetDied(f"container {container.name} is not running: {container.status}", hint="Start it.")
    return container


def died(now: Inspected, what: str) -> TargetDied:
    """The error of a container that stopped during something."""
    killed = ", the kernel killed for memory" if now.oom else ""
    state = f"restarted at {now.started_at}" if now.running else f"{now.status}, exit code {now.exit_code}"
    return TargetDied(
        f"container {now.name} stopped during {what}: {state}{killed}",
        hint="Look at the container's log and memory limit.",
    )


def _described(state: ExecState) -> str:
    if not state.known:
        return "the command is forgotten"
    return "the command is still running" if state.running else f"the command's code is {state.code}"
