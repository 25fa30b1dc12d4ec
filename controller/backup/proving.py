"""Proves what was captured: re-read from the disk, compared with its digests, and given to what checks its format."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import BinaryIO

from controller.backup.counts import Counted
from controller.backup.failures import Failures
from controller.backup.measuring import counts_itself
from controller.backup.target_run import TargetRun
from controller.core.errors import IncompleteDump, SidecarError
from controller.core.grouping import grouped
from controller.core.manifest import Artifact, Proof
from controller.storage import capture
from controller.storage.draft import Draft
from strategies.plan import Dump, Exec, ExecCheck, Incomplete

DECODE = {"zstd": "zstd -dc {}", "gzip": "gzip -dc {}", "none": "cat {}"}
SMALL_BYTES, TOGETHER_BYTES = 1 << 20, 16 << 20
"""Of the plain streams that one exec checks: each, which the container holds in memory, and all, which we do."""
# A block is read whole from the pipe; what the command leaves of it is not the next one's.
EACH = """
sizes=$1
shift
for size in $sizes; do
    dd bs="$size" count=1 iflag=fullblock 2>/dev/null | "$@" || exit
done
"""


@dataclass(frozen=True, slots=True)
class CapturedDump:
    """A dump on the disk, not yet proved."""

    dump: Dump
    name: str
    digest: capture.Captured
    sealed: bool
    witnesses: Mapping[str, str]
    disk: int
    schema: str = ""


class Proving:
    """Makes artifacts of the dumps of one run."""

    def __init__(self, target_run: TargetRun, draft: Draft, counted: dict[str, Counted], warnings: list[str]) -> None:
        """`counted`, by the dump's name, gets what the streams themselves tell."""
        self.target_run, self.draft, self.counted, self.warnings = target_run, draft, counted, warnings
        self.settings = target_run.target.settings

    def artifacts(self, captured: Sequence[CapturedDump], failures: Failures) -> tuple[Artifact, ...]:
        """Of each dump one; raises `Damaged`, and what is wrong with one of them, before or now."""
        artifacts: dict[str, Artifact] = {}
        for dumps in checked_together(captured):
            accepted = len(dumps) > 1 and self.accepted(dumps)
            for each in dumps:
                with failures.apart(each.dump):
                    artifacts[each.dump.name] = self.prove(each, accepted=accepted)
        failures.demand_none(artifacts)
        return tuple(artifacts.values())

    def accepted(self, captured: Sequence[CapturedDump]) -> bool:
        """Whether the command that checks these dumps takes each of them, asked by one exec.

        Where it does not, or where there is no `dd` that can do this, each by itself says why.
        """
        check = captured[0].dump.check
        assert isinstance(check, ExecCheck)
        streams = [self.plain(one) for one in captured]
        if self.target_run.session.context.shell is None or not all(one.startswith(check.head) for one in streams):
            return False
        sizes = " ".join(str(len(stream)) for stream in streams)
        try:
            self.target_run.feed(("sh", "-c", EACH, "check", sizes, *check.argv), streams)
        except Incomplete:
            return False
        return True

    def plain(self, captured: CapturedDump) -> bytes:
        """What lies on the disk, decoded; empty where it is not what was captured, or cannot be read."""
        path, digest = self.draft.partial(captured.name), captured.digest
        with suppress(OSError, SidecarError), capture.open_plain(path, self.settings.compression) as stream:
            plain = stream.read(digest.plain_size)
            return plain if hashlib.sha256(plain).hexdigest() == digest.plain_sha256 else b""
        return b""

    def prove(self, captured: CapturedDump, *, accepted: bool = False) -> Artifact:
        """Re-read the partial from the disk and check it in full, but for what has been `accepted` already."""
        dump, digest, codec = captured.dump, captured.digest, self.settings.compression.codec
        proof = proof_of(dump, sealed=captured.sealed)
        path, consume = self.draft.partial(captured.name), None if accepted else self.consumer(captured)
        try:
            verified = capture.verify(path, digest, self.settings.compression, consume, check=self.target_run.job.check)
        except IncompleteDump as error:
            raise IncompleteDump(f"{dump.name} is not a whole dump: {error.message}") from error
        self.warnings += [f"{dump.name}: {warning}" for warning in verified.warnings]
        argv = dump.source.argv if isinstance(dump.source, Exec) else ()
        counted = self.counted[dump.name]
        return Artifact(
            name=captured.name,
            format=dump.format,
            compression=codec,
            size=digest.stored_size,
            sha256=digest.stored_sha256,
            plain_size=digest.plain_size,
            plain_sha256=digest.plain_sha256,
            proof=proof,
            argv=tuple(map(self.target_run.secrets.redact, argv)),
            restore=f"{DECODE[codec].format(captured.name)} | {self.by_hand(dump)}" if dump.restore else "",
            subject=dump.subject,
            counts=dict(counted.numbers),
            approximate=counted.approximate,
            disk=captured.disk,
        )

    def by_hand(self, dump: Dump) -> str:
        """The line for the manifest; only what a user wrote may hold a secret, and any other has to stay as it is."""
        return self.target_run.secrets.redact(dump.restore) if dump.format == "raw" else dump.restore

    def consumer(self, captured: CapturedDump) -> Callable[[BinaryIO], Sequence[str]] | None:
        """What the plain stream is given to while it is re-read."""
        check = captured.dump.check
        if isinstance(check, ExecCheck):
            return partial(self.feed, check)
        if counts_itself(captured.dump):
            return partial(self.count_stream, captured.dump)
        return None if check is None else lambda stream: check(stream, captured.witnesses)

    def count_stream(self, dump: Dump, stream: BinaryIO) -> Sequence[str]:
        """Count what the stream holds, which checks it as well."""
        assert dump.count
        self.counted[dump.name] = Counted(dump.count.read(stream))
        return ()

    def feed(self, check: ExecCheck, stream: BinaryIO) -> Sequence[str]:
        """Give the plain stream to a command in the target that reads all of it."""
        self.target_run.feed(check.argv, begun(stream, check.head))
        return ()


def checked_together(captured: Sequence[CapturedDump]) -> Iterator[list[CapturedDump]]:
    """All of them, in their order: small neighbours that the same command checks as one group, any other by itself."""

    def size(one: CapturedDump) -> int:
        plain = one.digest.plain_size
        return plain if plain <= SMALL_BYTES else TOGETHER_BYTES + 1

    def alike(one: CapturedDump, other: CapturedDump) -> bool:
        return isinstance(other.dump.check, ExecCheck) and one.dump.check == other.dump.check

    return grouped(captured, size, TOGETHER_BYTES, alike)


def begun(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    """The stream, whose first bytes have to be these; raises `Incomplete`."""
    if (begin := stream.read(len(head))) != head:
        raise Incomplete(f"it does not begin with {head!r}")
    return chain([begin], iter(partial(stream.read, 1 << 20), b""))


def proof_of(dump: Dump, *, sealed: bool) -> Proof:
    """How far a dump is proved once its check has passed; raises `IncompleteDump` where nothing could prove it."""
    if dump.check is not None:
        return "full" if sealed else "framed"
    if sealed:
        return "sealed"
    hint = "Use an image with a shell, or a strategy whose format can be checked."
    raise IncompleteDump(f"{dump.name} can be proved neither by a seal nor by its format", hint=hint)
