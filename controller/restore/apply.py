"""A restore's plan, carried out in one container: verify everything, apply, compare, or undo.

A drill applies the same plan to a throw-away container.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from controller.backup import counts
from controller.core.errors import CommandFailed, CountsDiffer, Damaged, SidecarError, UnsafeArtifact
from controller.core.manifest import Artifact
from controller.restore.watch import watched
from controller.storage import capture
from controller.storage.source import Source
from controller.targets.session import Session, tool
from strategies.plan import Argv, Count, Feed, Put, Restore, Run, Step, Unsafe

UNDOING = "undoing"
"""The step in which what has failed is made good; nothing cancels it."""
NOT_CLEARED = "not-cleared-up: "
NOT_UNDONE = "not-undone: "
NOT_LOADED = "not-loaded: "
MOST_TOLD = 100
"""Lines of what a step prints that are warnings."""
TOLD = re.compile(r"[a-z]+(-[a-z]+)+: ")
"""What a line begins with that is a warning."""
MOST_NAMED = 20
"""Differences that a message names."""


@dataclass(slots=True)
class Applying:
    """One restore into one place; `check` is asked before each piece and may raise."""

    session: Session
    restore: Restore
    sources: Mapping[str, Source]
    """By the dump's name."""
    check: Callable[[], None] = lambda: None
    on_step: Callable[[str], object] = lambda step: None
    """Called with what begins."""
    on_bytes: Callable[[int], object] = lambda size: None
    """Called with the plain bytes applied so far."""
    warnings: list[str] = field(default_factory=list)
    compared: int = 0
    """Numbers that were found again."""
    counted: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """By the dump's name: the numbers that were found after the restore."""
    accept_differences: bool = False
    """What was restored is kept, although it is not what was counted at the dump."""
    undone: bool = False
    on_owed: Callable[["Applying"], None] = lambda applying: None
    """Hears, before each step and whenever it changes, what `owed` and `left` are; may raise."""
    owed: tuple[Argv, ...] = ()
    """What would make good everything that was begun; once `whole`, what clears up."""
    whole: bool = False
    """Everything was applied and compared."""
    _taken: int = 0
    """How many of the steps that were begun have ended well."""
    _begun: list[Step] = field(default_factory=list)
    _applied: int = 0

    def verify(self) -> None:
        """Read every artifact to its end before anything is applied; raises `Damaged`, `UnsafeArtifact`."""
        self.on_step("verifying")
        for name, source in self.sources.items():
            guard = self.restore.guards.get(name)
            try:
                source.verify(self._guarding(guard), self.check)
            except Unsafe as error:
                hint = "Nothing was applied. Look at it with --to-file."
                raise UnsafeArtifact(f"{source.artifact.name}: {error}", hint=hint) from error

    def run(self) -> None:
        """Apply, compare, clear up; raises `SidecarError` after what can be undone has been."""
        try:
            self._take(self.restore.steps)
            self._compare(self.restore.counts)
            self._swap()
        except BaseException as error:
            self.on_step(UNDOING)
            self.warnings += self.session.end()
            if not self._is_settled(error):
                self._undo()
                raise
            self.warnings.append(f"in-place: everything was in place already when this came: {error}")
        self.whole = True
        self._owe(*self.restore.finish)
        self._load_belated()
        self._finish()

    @property
    def untouched(self) -> bool:
        """No step was begun."""
        return not self._begun

    @property
    def left(self) -> tuple[str, ...]:
        """What was begun and nothing undoes, in words."""
        steps = enumerate(self._begun)
        return tuple(left_by(step, certainly=number < self._taken) for number, step in steps if not undo_of(step))

    def _is_settled(self, error: BaseException) -> bool:
        """Whether the last step was done all the same, as the place itself tells."""
        begun = bool(self.restore.swap and self._begun and self._begun[-1] is self.restore.swap[-1])
        return begun and isinstance(error, SidecarError) and is_settled(self.session, self.restore.settled)

    def _take(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.check()
            self._begun.append(step)
            self._owe(*dict.fromkeys(undo for step in reversed(self._begun) if (undo := undo_of(step))))
            self._apply(step)
            self._taken += 1

    def _swap(self) -> None:
        """The last step settles it, so that whatever is wrong is looked for before."""
        self._take(self.restore.swap[:-1])
        if self.restore.swapped:
            self._compare(self.restore.swapped)
        self._take(self.restore.swap[-1:])

    def _load_belated(self) -> None:
        for feed in filter(None, (belated() for belated in self.restore.belated)):
            try:
                self._feed(feed)
            except SidecarError as error:
                self.warnings.append(f"{NOT_LOADED}{feed.artifact}: {error.message}")

    def _finish(self) -> None:
        """Clear up. What the container refuses is told; what could not be asked of it is still owed."""
        self.on_step("clearing up")
        owed: list[Argv] = []
        for argv in self.restore.finish:
            try:
                self._ask(argv)
            except CommandFailed as error:
                self.warnings.append(f"{NOT_CLEARED}{error.message}")
            except SidecarError as error:
                owed.append(argv)
                self.warnings.append(f"{NOT_CLEARED}{error.message}")
        with suppress(SidecarError):  # Then it is done once more, which does no harm.
            self._owe(*owed)

    def _owe(self, *commands: Argv) -> None:
        self.owed = commands
        self.on_owed(self)

    def _guarding(self, guard: Callable[[BinaryIO], Sequence[str] | None] | None) -> capture.Consume:
        def consume(stream: BinaryIO) -> tuple[str, ...]:
            if guard is not None:
                self.warnings += guard(stream) or ()
            return ()

        return consume

    def _apply(self, step: Step) -> None:
        if isinstance(step, Run):
            self.on_step(f"running {tool(step.argv)}")
            printed = self._ask(step.argv)
            self.warnings += printed.splitlines()[:MOST_TOLD] if step.tells else ()
        elif isinstance(step, Feed):
            self._feed(step)
        else:
            self.on_step(f"applying {step.artifact}")
            with self._opened(step) as chunks, self._watched() as session:
                session.put(step.folder, chunks)

    def _feed(self, step: Feed) -> None:
        self.on_step(f"applying {step.artifact}")
        printed, hear = self._fed(step), step.hear
        for line in filter(TOLD.match, printed.splitlines()):
            if hear:
                self.warnings.append(line)
                hear(line)

    def _fed(self, step: Feed) -> str:
        """What the step has printed, or what it says would help once it has failed."""
        try:
            with self._opened(step) as chunks, self._watched() as session:
                return session.feed(step.argv, self._rewritten(step, chunks))
        except CommandFailed as error:
            another = step.again(error.stderr) if step.again else None
            if another is None:
                raise
        return self._fed(another)

    @contextmanager
    def _opened(self, step: Feed | Put) -> Iterator[Iterator[bytes]]:
        source = self.sources[step.artifact]
        with source.open_plain() as stream:
            yield self._chunks(stream, source.artifact)

    def _watched(self) -> AbstractContextManager[Session]:
        return watched(self.session, lambda: self._applied)

    def _ask(self, argv: Argv) -> str:
        with self._watched() as session:
            return session.ask(argv)

    def _rewritten(self, step: Feed, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Raises `UnsafeArtifact` where it cannot be rewritten."""
        try:
            yield from step.rewrite(chunks) if step.rewrite else chunks
        except Unsafe as error:
            hint = "Write it to a file with --to-file, and follow the line `restore` of its manifest."
            raise UnsafeArtifact(f"{step.artifact}: {error}", hint=hint) from error

    def _chunks(self, stream: BinaryIO, artifact: Artifact) -> Iterator[bytes]:
        """The plain stream, again with its digest, since the file may be another than that which was verified."""
        digest = hashlib.sha256()
        while chunk := stream.read(1 << 20):
            self.check()
            digest.update(chunk)
            yield chunk
            self._applied += len(chunk)
            self.on_bytes(self._applied)
        if digest.hexdigest() != artifact.plain_sha256:
            raise Damaged(f"{artifact.name} was changed while it was restored", hint="Look at who writes to the store.")

    def _compare(self, counts_of: Mapping[str, Count]) -> None:
        """Count what is there now; raises `CountsDiffer` with every name that differs."""
        self.on_step("comparing")
        differences: list[str] = []
        for name, count in counts_of.items():
            artifact = self.sources[name].artifact
            if not artifact.counts:
                told = f"not-compared: nothing was counted when {artifact.name} was made"
                self.warnings += [told] if told not in self.warnings else []
                continue
            with self._watched() as session:
                found = session.count(count)
            self.counted[name] = {**self.counted.get(name, {}), **found}
            comparison = counts.compared(artifact, found, count)
            self.warnings += comparison.warnings
            differences += comparison.differences
            self.compared += sum(map(count.covers, artifact.counts))
        if differences and self.accept_differences:
            self.warnings += [f"accepted: {difference}" for difference in differences]
        elif differences:
            listed = "; ".join(differences[:MOST_NAMED])
            more = f"; and {len(differences) - MOST_NAMED} more" if differences[MOST_NAMED:] else ""
            hint = "Take another run; --accept-differences keeps what was restored as it is."
            raise CountsDiffer(f"what was restored is not what was counted at the dump: {listed}{more}", hint=hint)

    def _undo(self) -> None:
        """Make good what the steps that were begun have done, the last one first."""
        failed: list[Argv] = []
        for argv in self.owed:
            try:
                self.warnings += told_by(self._ask(argv))
            except SidecarError as error:
                failed.append(argv)
                self.warnings.append(f"{NOT_UNDONE}{error.message}")
        self.warnings += [f"{NOT_UNDONE}{what}" for what in self.left]
        self.undone = not failed and not self.left
        with suppress(SidecarError):  # Then more is owed than need be, which does no harm.
            self._owe(*failed)


def is_settled(session: Session, question: Argv | None) -> bool:
    """The answer to `Restore.settled`; a place that cannot answer has settled nothing."""
    try:
        return question is not None and session.ask(question, timeout=60).strip() == "yes"
    except CommandFailed:
        return False


def told_by(printed: str) -> list[str]:
    """The warnings among the lines that an undo has printed."""
    return [line for line in printed.splitlines() if TOLD.match(line)][:MOST_TOLD]


def undo_of(step: Step) -> Argv | None:
    return None if isinstance(step, Put) else step.undo


def left_by(step: Step, *, certainly: bool) -> str:
    """What a step that nothing undoes has done, for people; a command that has failed has perhaps done nothing."""
    if not isinstance(step, Run):
        return step.leaves or f"what {step.artifact} has brought stays"
    what = step.leaves or f"what {tool(step.argv)} has done stays"
    return what if certainly else f"perhaps {what}"
