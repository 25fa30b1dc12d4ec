"""Everything that can go wrong, as one tree: any room raises it, only a boundary reports it. docs/errors.md has it all.

Each class has a stable `code`; its docstring says what it means. Those without one are never raised, or are given it.
"""

from typing import ClassVar


class SidecarError(Exception):
    """Base of the tree: a stable `code`, whether trying again may help, and the user's next step."""

    code: ClassVar[str] = "internal-error"
    transient: ClassVar[bool] = False
    remedy: ClassVar[str] = ""
    """The next step where whoever raises it knows none that is better."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message, self.hint = message, hint or self.remedy
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class EngineError(SidecarError):
    """The Docker engine, not the target, is the trouble."""

    code = "engine-error"
    remedy = "Look at the engine's log."


class EngineUnreachable(EngineError):
    """No connection to the engine's address."""

    code, transient = "engine-unreachable", True


class EngineLost(EngineError):
    """The engine went away while something was under way."""

    code, transient = "engine-lost", True
    remedy = "Look at the engine's log; what was under way begins again where backup.retries allows it."


class EngineRefused(EngineError):
    """The engine, or a proxy before it, forbids a request that is needed."""

    code = "engine-refused"


class BadAnswer(EngineError):
    """What the engine, or a proxy before it, answered is no answer: of another shape, or too large."""

    code, transient = "bad-answer", True
    remedy = "Look at the engine's log, and at a proxy before it."


class NotFrozen(EngineError):
    """A container could not be paused: its processes fork, or wait for a disk, for longer than the engine tries."""

    code, transient = "not-frozen", True
    remedy = "Where it happens again, set backup.quiesce to `stop`."


class ImageGone(EngineError):
    """The engine does not have an image, or no longer."""

    code = "image-gone"


class TargetError(SidecarError):
    """The target's container is not in a state in which it can be backed up."""


class TargetGone(TargetError):
    """The container was removed."""

    code = "target-gone"
    remedy = "Start its container again."


class TargetDied(TargetError):
    """The container stopped while it was being read."""

    code, transient = "target-died", True
    remedy = "Look at the container's log, and start it again."


class TargetReplaced(TargetError):
    """Another container has taken the target's place; a new run uses the new one."""

    code, transient = "target-replaced", True


class TargetPaused(TargetError):
    """The container is paused or restarting, so nothing can be run in it."""

    code = "target-paused"
    remedy = "Let it run again, or wait until it does."

    def __init__(self, message: str, *, hint: str = "", state: str = "paused") -> None:
        super().__init__(message, hint=hint)
        self.state = state


class TargetResumed(TargetError):
    """Somebody let the container run while it was held still for reading."""

    code, transient = "target-resumed", True


class StillRunning(TargetError):
    """What an earlier run started in the container could not be ended."""

    code = "left-running"


class TargetUnsuitable(TargetError):
    """The strategy cannot work with this target; `code` is the strategy's own."""

    def __init__(self, message: str, *, hint: str, code: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # the strategy names it


class TargetNotReady(TargetError):
    """The server in the container does not accept connections yet, or not any more."""

    code, transient = "not-ready", True


class StreamError(SidecarError):
    """The stream from the target did not arrive as it was sent."""


class StreamTruncated(StreamError):
    """The stream ended without its seal, inside a frame, or with bytes after the seal."""

    code, transient = "stream-truncated", True
    remedy = "Look for what cut the connection: the engine's log tells, or that of a proxy before it."


class Stalled(StreamError):
    """The command sent no byte for the stall timeout."""

    code = "stalled"


class WriterStalled(StreamError):
    """The store took no byte for the stall timeout."""

    code = "writer-stalled"


class CommandFailed(SidecarError):
    """A command in the target ended with a code that its plan does not allow."""

    code = "command-failed"
    remedy = "Mend what it complains of in the container, and try again."

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None, stderr: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code, self.stderr = exit_code, stderr


class ServerGone(CommandFailed):
    """A command in the target failed since the server there closed its connection, or takes none at the moment."""

    code, transient = "server-gone", True
    remedy = "Look at the server's log."


class TimedOut(SidecarError):
    """The run went beyond its deadline."""

    code = "timeout"


class Cancelled(SidecarError):
    """Somebody asked for the end of the run."""

    code = "cancelled"


class IncompleteDump(SidecarError):
    """The bytes arrived whole, but they are not a whole dump."""

    code = "incomplete-dump"
    remedy = "Mend what is named in the container, and make another run."


class StoreError(SidecarError):
    """The store cannot be read or written."""

    code = "store-error"


class StoreFull(StoreError):
    """No room is left in the store."""

    code = "store-full"


class NotAdopted(SidecarError):
    """What should be taken in from elsewhere is no backup that this release can read, or may not be in a store."""

    code = "not-adopted"
    remedy = "Look at where it comes from, and take it from there again."


class Damaged(StoreError):
    """A stored artifact is not what was written."""

    code = "damaged"
    remedy = "Look at the store's disk; restore from another run."


class Tampered(Damaged):
    """A stored run is not the one that was published: manifest, catalog and the run's own mark differ."""

    code = "tampered"
    remedy = "Find out who can write to the store; restore another run with --run, and look at what it holds."


class UnknownTarget(SidecarError):
    """No target has this key."""

    code = "unknown-target"


class UnknownRun(SidecarError):
    """No run has this id, or it holds no such artifact."""

    code = "unknown-run"


class InUse(SidecarError):
    """The run is being downloaded, verified or restored, so it cannot be deleted."""

    code, transient = "run-in-use", True


class LastGood(SidecarError):
    """The run is the target's last good one, which nobody deletes by mistake."""

    code = "last-good-run"


class Pinned(SidecarError):
    """Somebody keeps the run, so that it cannot be deleted."""

    code = "pinned"


class NotGone(SidecarError):
    """The target is there, or the run is whole, so that there is nothing to forget."""

    code = "not-gone"


class NoRoom(SidecarError):
    """The place that a restore goes to has not the room for what is there and what comes."""

    code = "no-room"
    remedy = "Free room there, or restore elsewhere: with --to, or files with --into."


class NotEmpty(SidecarError):
    """Something is where a restore would go."""

    code = "not-empty"


class UnsafeArtifact(SidecarError):
    """An artifact holds what no restore may apply, such as a path that leads elsewhere."""

    code = "unsafe-artifact"


class CountsDiffer(SidecarError):
    """What was restored is not what was counted when the dump was made."""

    code = "counts-differ"


class RestoreUnderWay(SidecarError):
    """The target is being restored."""

    code = "restore-in-progress"


class UnknownRestore(SidecarError):
    """No restore has this id."""

    code = "unknown-restore"


class ContainersForbidden(SidecarError):
    """The operator has not allowed that throw-away containers are created."""

    code = "containers-forbidden"


class Unsupported(SidecarError):
    """A drill cannot be done with this target, whatever is in the backup."""

    code = "unsupported"


class DrillFailed(SidecarError):
    """The rehearsal did not succeed; `code` says at which step."""

    def __init__(self, message: str, *, hint: str, code: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # the step names it


class Stopping(SidecarError):
    """The sidecar is shutting down and takes no new run."""

    code, transient = "stopping", True


class CannotListen(SidecarError):
    """The API's address or socket cannot be taken."""

    code = "cannot-listen"


class Busy(SidecarError):
    """The target has a run under way, whose id is `run`."""

    code = "run-in-progress"

    def __init__(self, message: str, *, run: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.run = run
