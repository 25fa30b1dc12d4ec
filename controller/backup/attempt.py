"""One attempt of a run: pre, quiesce, dump, check, publish, post."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import chain
from typing import BinaryIO

from controller.backup.anomaly import judged
from controller.backup.counts import Counted, settled
from controller.backup.orphans import Orphans
from controller.backup.quiesce import Quiescing
from controller.backup.target_run import TargetRun
from controller.core.errors import CommandFailed, IncompleteDump, SidecarError
from controller.core.manifest import Artifact, Manifest, Proof, weakest
from controller.core.run import Report
from controller.engine.stream import ExecStream
from controller.storage import capture
from controller.storage.codecs import SUFFIX
from controller.storage.draft import Draft
from controller.storage.store import Store
from strategies.plan import Dump, Exec, ExecCheck, Incomplete

COUNT_SECONDS = 60.0
"""What a question for numbers may take."""
DECODE = {"zstd": "zstd -dc {}", "gzip": "gzip -dc {}", "none": "cat {}"}


@dataclass(frozen=True, slots=True)
class CapturedDump:
    """A dump on the disk, not yet proved."""

    dump: Dump
    name: str
    digest: capture.Captured
    sealed: bool
    witnesses: Mapping[str, str]


class BackupAttempt:
    """The order of one run."""

    def __init__(
        self, target_run: TargetRun, store: Store, quiescing: Quiescing, orphans: Orphans, good: Sequence[Report]
    ) -> None:
        """`good` are the target's last good runs, newest first."""
        self.target_run, self.store, self.job = target_run, store, target_run.job
        self.quiescing, self.orphans, self.good = quiescing, orphans, good
        self.settings = target_run.target.settings
        self.warnings: list[str] = list(target_run.survey.plan.warnings)
        self.counted: dict[str, Counted] = {}
        """By the dump's name."""

    def run(self) -> Manifest:
        """Raises `SidecarError`; whatever happens nothing unproved is left in the store, and `post` has run.

        But for what the store refuses, since then nothing has been done in the target.
        """
        started, outcome = datetime.now(UTC), "failed"
        with self.store.draft(self.job.key, self.job.report.id) as draft:
            try:
                self.target_run.pre()
                captured = self.captured(draft)
                artifacts = tuple(self.prove(dump, draft) for dump in captured)
                manifest = self.judged(self.manifest(artifacts, started))
                draft.publish(manifest)
                outcome = "succeeded"
            except SidecarError as error:
                raise self.target_run.explained(error) from error
            finally:
                self.end(failed=outcome == "failed")
                self.post(outcome)
        return manifest

    def end(self, *, failed: bool) -> None:
        """End what the run's dumps left behind; what could not be seen to be gone is looked for again later."""
        if left := self.target_run.end(failed=failed):
            self.warnings += left
            self.orphans.add(self.job.key, self.job.report.id)

    def post(self, outcome: str) -> None:
        """Run `commands.post`, come what may; its failure is a warning, since the artifacts are what they are."""
        try:
            self.target_run.post(outcome)
        except SidecarError as error:
            self.warnings.append(f"post-failed: {error.message}")

    def captured(self, draft: Draft) -> list[CapturedDump]:
        """Every dump of the plan, read while the target is held still where that is wanted, and no longer."""
        container, run = self.target_run.survey.probed.container.id, self.job.report.id
        with self.quiescing.held(container, self.settings.quiesce, run, self.target_run.deadline):
            killed = self.target_run.killed_for_memory()
            captured = [self.capture(dump, draft) for dump in reversed(self.target_run.survey.plan.dumps)][::-1]
            if killed and any(isinstance(dump.dump.source, Exec) and not dump.sealed for dump in captured):
                self.warnings.append("killed-before: a kill for memory would not have been seen, since there was one")
            elif not killed and self.target_run.killed_for_memory():
                hint = "Raise the container's memory limit, or dump less at a time."
                raise CommandFailed("the kernel killed something in the target for memory during the dump", hint=hint)
            return captured

    def capture(self, dump: Dump, draft: Draft) -> CapturedDump:
        """Stream one dump into its partial."""
        name = dump.name + SUFFIX[self.settings.compression.codec]
        witnesses = {question: self.target_run.ask(argv) for question, argv in dump.witnesses.items()}
        moment, counted = self.moment(dump), self.count(dump)
        before = self.job.report.bytes
        stream = self.target_run.source(dump)
        with draft.open(name) as file, stream:
            digest = capture.capture(
                stream,
                file,
                self.settings.compression,
                progress=lambda size: self.job.captured(before + size),
                stall=self.settings.stall_timeout.total_seconds(),
            )
        self.job.check()
        sealed = False
        if isinstance(stream, ExecStream):
            self.warnings += self.target_run.demand_success(dump, stream.result)
            sealed = stream.result.sealed
        least = max(dump.min_size, self.settings.expect.min_size or 0)
        if digest.plain_size < least:
            hint = "Look at what the command printed, or lower backup.expect.min-size."
            raise IncompleteDump(f"{dump.name} has {digest.plain_size} bytes, at least {least} are expected", hint=hint)
        if counted:
            unchanged = moment and moment == self.moment(dump)
            self.counted[dump.name] = Counted(counted) if unchanged else settled(counted, self.count(dump))
        return CapturedDump(dump, name, digest, sealed, witnesses)

    def count(self, dump: Dump) -> Mapping[str, int]:
        """Ask for the numbers of a dump whose own stream does not tell them; without an answer there is a warning."""
        if dump.count is None or not self.settings.counts or counts_itself(dump):
            return {}
        try:
            return self.target_run.session.count(dump.count, COUNT_SECONDS)
        except SidecarError as error:
            self.warnings.append(f"not-counted: {dump.name}: {error.message}")
            return {}

    def moment(self, dump: Dump) -> str:
        """What tells cheaply whether the numbers of a dump may have changed; empty where nothing does."""
        if dump.count is None or dump.count.still is None or not self.settings.counts:
            return ""
        with suppress(SidecarError):
            return self.target_run.ask(dump.count.still)
        return ""

    def disk(self, dump: Dump) -> int:
        """Bytes that the data takes in the target; 0 where it does not say."""
        if dump.disk is not None:
            with suppress(SidecarError, ValueError):
                return int(self.target_run.ask(dump.disk))
        return 0

    def prove(self, captured: CapturedDump, draft: Draft) -> Artifact:
        """Re-read the partial from the disk and check it in full; raises `Damaged` or `IncompleteDump`."""
        dump, digest, codec = captured.dump, captured.digest, self.settings.compression.codec
        proof = proof_of(dump, sealed=captured.sealed)
        path, consume = draft.partial(captured.name), self.consumer(captured)
        try:
            verified = capture.verify(path, digest, self.settings.compression, consume, check=self.job.check)
        except IncompleteDump as error:
            hint = "Run the dump by hand in the container and look at what it prints."
            raise IncompleteDump(f"{dump.name} is not a whole dump: {error.message}", hint=hint) from error
        self.warnings += [f"{dump.name}: {warning}" for warning in verified.warnings]
        argv = dump.source.argv if isinstance(dump.source, Exec) else ()
        counted = self.counted.get(dump.name, Counted({}))
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
            restore=f"{DECODE[codec].format(captured.name)} | {dump.restore}" if dump.restore else "",
            subject=dump.subject,
            counts=dict(counted.numbers),
            approximate=counted.approximate,
            disk=self.disk(dump),
        )

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

    def judged(self, manifest: Manifest) -> Manifest:
        """With what is odd about it, before it is published."""
        judgement = judged(manifest, self.good, self.settings.expect)
        self.warnings += judgement.warnings
        suspicious, warnings = (
            tuple(map(self.target_run.secrets.redact, reasons))
            for reasons in (judgement.suspicious, judgement.warnings)
        )
        return manifest.model_copy(update={"suspicious": suspicious, "warnings": (*manifest.warnings, *warnings)})

    def manifest(self, artifacts: tuple[Artifact, ...], started: datetime) -> Manifest:
        probed = self.target_run.survey.probed
        container = probed.container
        return Manifest(
            run=self.job.report.id,
            target=self.job.key,
            strategy=self.target_run.target.strategy,
            container=container.name,
            container_id=container.id,
            image=container.image,
            image_id=probed.image_id,
            engine=self.target_run.engine.version().engine,
            sidecar=version("backup-sidecar"),
            started=started,
            finished=datetime.now(UTC),
            proof=weakest(artifact.proof for artifact in artifacts),
            warnings=tuple(map(self.target_run.secrets.redact, self.warnings)),
            artifacts=artifacts,
        )


def begun(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    """The stream, whose first bytes have to be these; raises `Incomplete`."""
    if (begin := stream.read(len(head))) != head:
        raise Incomplete(f"it does not begin with {head!r}")
    return chain([begin], iter(partial(stream.read, 1 << 20), b""))


def counts_itself(dump: Dump) -> bool:
    """Whether what there is to count is in the dump's own stream, so that it costs nothing."""
    return dump.count is not None and dump.count.source == dump.source


def proof_of(dump: Dump, *, sealed: bool) -> Proof:
    """How far a dump is proved once its check has passed; raises `IncompleteDump` where nothing could prove it."""
    if dump.check is not None:
        return "full" if sealed else "framed"
    if sealed:
        return "sealed"
    hint = "Use an image with a shell, or a strategy whose format can be checked."
    raise IncompleteDump(f"{dump.name} can be proved neither by a seal nor by its format", hint=hint)
