"""A restore's plan, carried out in one container: verify everything, apply, compare, or undo.

A drill applies the same plan to a throw-away container.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from controller.backup import counts
from controller.core.errors import CommandFailed, CountsDiffer, Damaged, SidecarError, UnsafeArtifact
from controller.core.manifest import Artifact
from controller.storage import capture
from controller.storage.source import Source
from controller.targets.session import Session, tool
from strategies.plan import Argv, Feed, Put, Restore, Run, Step, Unsafe

UNDOING = "undoing"
"""The step in which what has failed is made good; nothing cancels it."""
NOT_CLEARED = "not-cleared-up: "
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
    undone: bool = False
    on_owed: Callable[["Applying"], None] = lambda applying: None
    """Hears, before each step and whenever it changes, what `owed` and `kept` are; may raise."""
    owed: tuple[Argv, ...] = ()
    """What would make good everything that was begun; once `whole`, what clears up."""
    whole: bool = False
    """Everything was applied and compared."""
    _begun: list[Step] = field(default_factory=list)
    _applied: int = 0

    def verify(self) -> None:
        """Read every artifact to its end before anything is applied; raises `Damaged`, `UnsafeArtifact`."""
        self.on_step("verifying")
        for name, source in self.sources.items():
            guard = self.restore.guards.get(name)
            try:
                source.verify(self._guarding(guard))
            except Unsafe as error:
                hint = "Nothing was applied. Look at it with --to-file."
                raise UnsafeArtifact(f"{source.artifact.name}: {error}", hint=hint) from error

    def run(self) -> None:
        """Apply, compare, clear up; raises `SidecarError` after what can be undone has been."""
        try:
            self._take(self.restore.steps)
            self._compare()
            self._take(self.restore.swap)
        except BaseException:
            self._undo()
            raise
        self.whole = True
        self._owe(*self.restore.finish)
        self._finish()

    @property
    def kept(self) -> tuple[str, ...]:
        """The steps that were begun and that nothing undoes, as messages call them."""
        return tuple(called(step) for step in self._begun if not (isinstance(step, Run | Feed) and step.undo))

    def _take(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.check()
            self._begun.append(step)
            self._owe(*(step.undo for step in reversed(self._begun) if isinstance(step, Run | Feed) and step.undo))
            self._apply(step)

    def _finish(self) -> None:
        """Clear up. What the container refuses is told; what could not be asked of it is still owed."""
        self.on_step("clearing up")
        owed: list[Argv] = []
        for argv in self.restore.finish:
            try:
                self.session.ask(argv)
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

    def _guarding(self, guard: Callable[[BinaryIO], object] | None) -> capture.Consume:
        def consume(stream: BinaryIO) -> tuple[str, ...]:
            if guard is not None:
                guard(stream)
            while stream.read(1 << 20):
                self.check()
            return ()

        return consume

    def _apply(self, step: Step) -> None:
        if isinstance(step, Run):
            self.on_step(f"running {tool(step.argv)}")
            printed = self.session.ask(step.argv)
            self.warnings += printed.splitlines() if step.tells else ()
            return
        self.on_step(f"applying {step.artifact}")
        with self.sources[step.artifact].open_plain() as stream:
            chunks = self._chunks(stream, self.sources[step.artifact].artifact)
            if isinstance(step, Put):
                self.session.put(step.folder, chunks)
            else:
                self.session.feed(step.argv, self._rewritten(step, chunks))

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

    def _compare(self) -> None:
        """Count what is there now; raises `CountsDiffer` with every name that differs."""
        self.on_step("comparing")
        differences: list[str] = []
        for name, count in self.restore.counts.items():
            artifact = self.sources[name].artifact
            if not artifact.counts:
                self.warnings.append(f"not-compared: nothing was counted when {artifact.name} was made")
                continue
            self.counted[name] = self.session.count(count)
            comparison = counts.compared(artifact, self.counted[name])
            self.warnings += [f"approximate: {artifact.name}: {warning}" for warning in comparison.warnings]
            differences += [f"{artifact.name}: {difference}" for difference in comparison.differences]
            self.compared += len(artifact.counts)
        if differences:
            listed = "; ".join(differences[:MOST_NAMED])
            more = f"; and {len(differences) - MOST_NAMED} more" if differences[MOST_NAMED:] else ""
            hint = "The artifact is not what the server held when it was made; take another run."
            raise CountsDiffer(f"what was restored is not what was counted at the dump: {listed}{more}", hint=hint)

    def _undo(self) -> None:
        """Make good what the steps that were begun have done, the last one first."""
        self.on_step(UNDOING)
        self.warnings += self.session.end()
        failed: list[Argv] = []
        for argv in self.owed:
            try:
                self.session.ask(argv)
            except SidecarError as error:
                failed.append(argv)
                self.warnings.append(f"not-undone: {error.message}")
        self.warnings += [f"kept: what `{name}` has done stays" for name in self.kept]
        self.undone = not failed and not self.kept
        with suppress(SidecarError):  # Then more is owed than need be, which does no harm.
            self._owe(*failed)


def called(step: Step) -> str:
    """How messages call a step."""
    return tool(step.argv) if isinstance(step, Run) else step.artifact
