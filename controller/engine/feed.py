"""Writing a stream to a command in a container, such as the tool that checks a dump."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from controller.core.errors import CommandFailed, SidecarError, StreamTruncated
from controller.engine.api import Api
from controller.engine.context import ExecContext
from controller.engine.frames import Frames, Malformed
from controller.engine.models import ExecResult, Inspected
from controller.engine.stream import SETTLING_SECONDS, SIGNALLED, died
from controller.engine.wire import Wire, start_exec

ENDING_SECONDS = 5.0
"""Seconds that the engine may take to say that a command whose stream has ended is not running."""


def feed(api: Api, context: ExecContext, argv: Sequence[str], chunks: Iterable[bytes | memoryview]) -> ExecResult:
    """See `Engine.feed`. Output is read in a thread, since a command that cannot write does not read either."""
    before = api.inspect(context.container)
    exec_id = api.create_exec(replace(context, container=before.id), argv)
    wire, first = start_exec(api, exec_id, before.id, deadline=context.deadline, stall=None)
    listener = _Listener(wire, first, lambda: not api.exec_state(exec_id).running)
    try:
        listener.start()
        context.reading(wire)
        _write(wire, chunks, listener, context.stall)
        while listener.is_alive():
            listener.join(1.0)
            wire.check()
    finally:
        wire.close()
        listener.join()
    return _result(api, exec_id, listener, before)


def _write(wire: Wire, chunks: Iterable[bytes | memoryview], listener: "_Listener", stall: float | None) -> None:
    """A pipe that breaks is the command's own end: its code will tell."""
    for chunk in chunks:
        try:
            wire.send(chunk, stall)
        except OSError:
            return
    with contextlib.suppress(OSError):
        wire.end_sending()


def _result(api: Api, exec_id: str, listener: "_Listener", before: Inspected) -> ExecResult:
    """Raises `TargetDied` where the container did, of which the command's code tells only that it was killed."""
    limit = time.monotonic() + ENDING_SECONDS
    while (state := api.exec_state(exec_id)).running and time.monotonic() < limit:
        time.sleep(0.02)
    if not state.known or state.running or state.code is None or state.code in SIGNALLED:
        _demand_alive(api, before)
    if not state.known or state.running or state.code is None:
        raise StreamTruncated("the connection to the command ended before the command did")
    if state.pid == 0 and state.code in (126, 127):
        text = listener.output.decode("utf-8", "replace").strip()
        raise CommandFailed(f"the command could not be started: {text}", exit_code=state.code, stderr=text)
    return ExecResult(state.code, False, listener.frames.error.decode("utf-8", "replace"))


def _demand_alive(api: Api, before: Inspected) -> None:
    """Raises `TargetDied`, `TargetGone` unless the container still runs; the engine knows that only after a moment."""
    limit = time.monotonic() + SETTLING_SECONDS
    while True:
        now = api.inspect(before.id)
        if now.started_at != before.started_at or now.restarting or not now.running:
            raise died(now, "the command that it was given data for")
        if time.monotonic() > limit:
            return
        time.sleep(0.05)


class _Listener(threading.Thread):
    """Reads what the command says until it ends; keeps the tail of standard error and the last of standard output."""

    def __init__(self, wire: Wire, first: bytes, over: Callable[[], bool]) -> None:
        super().__init__(name="feed-listener", daemon=True)
        self._wire, self._first, self._over = wire, first, over
        self.frames = Frames(size=256 << 10)
        self.output = b""

    def run(self) -> None:
        # A command that ends without having read everything resets the connection; its code tells, not this.
        with contextlib.suppress(OSError, Malformed, SidecarError):
            self._listen()
            while not self._over():
                self._wire.check()
                time.sleep(0.02)
            # The engine (26.1) goes on taking the input of a command that has ended, for up to 35 s.
            self._wire.shut()

    def _listen(self) -> None:
        count: int | None = len(self._first)
        self.frames.room()[:count] = self._first
        while True:
            if count:
                self.frames.received(count)
                self.output = (self.output + self.frames.tail(4096))[-4096:]
                self.frames.take()
            count = self._wire.receive_into(self.frames.room())
            if count == 0:
                return
