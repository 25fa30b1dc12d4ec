"""One attempt of a run: pre, quiesce, dump, check, publish, post."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from controller.backup.anomaly import judged
from controller.backup.counts import Counted, shapes
from controller.backup.failures import Failures
from controller.backup.measuring import Measuring, measured_together
from controller.backup.orphans import Orphans
from controller.backup.proving import CapturedDump, Proving
from controller.backup.quiesce import Quiescing
from controller.backup.target_run import TargetRun
from controller.core.errors import CommandFailed, IncompleteDump, SidecarError
from controller.core.manifest import Artifact, Manifest, weakest
from controller.core.run import Report
from controller.core.structure import Shape, structure
from controller.engine.stream import ExecStream
from controller.storage import capture
from controller.storage.codecs import SUFFIX
from controller.storage.draft import Draft
from controller.storage.store import Store
from strategies.plan import Dump, Exec


class BackupAttempt:
    """The order of one run."""

    def __init__(
        self, target_run: TargetRun, store: Store, quiescing: Quiescing, orphans: Orphans, good: Sequence[Report]
    ) -> None:
        """`good` are the target's last good runs, newest first."""
        self.target_run, self.store, self.job = target_run, store, target_run.job
        self.quiescing, self.orphans, self.good = quiescing, orphans, good
        self.settings = target_run.target.settings
        self.warnings: list[str] = [*target_run.target.remarks, *target_run.survey.plan.warnings]
        self.failures = Failures(target_run)
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
                proving = Proving(self.target_run, draft, self.counted, self.warnings)
                artifacts = proving.artifacts(captured, self.failures)
                manifest = self.judged(self.manifest(artifacts, started, structure(map(self.shape, captured))))
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
            captured = self.capture_all(draft)
            if self.failures:
                return captured
            if killed and any(isinstance(dump.dump.source, Exec) and not dump.sealed for dump in captured):
                self.warnings.append("killed-before: a kill for memory would not have been seen, since there was one")
            elif not killed and self.target_run.killed_for_memory():
                hint = "Raise the container's memory limit, or dump less at a time."
                raise CommandFailed("the kernel killed something in the target for memory during the dump", hint=hint)
            return captured

    def capture_all(self, draft: Draft) -> list[CapturedDump]:
        """Every dump of the plan, in its order, made from the last to the first."""
        captured: list[CapturedDump] = []
        for dumps in measured_together(self.target_run.survey.plan.dumps[::-1]):
            measuring = Measuring(self.target_run, dumps, self.warnings)
            measuring.before()
            for dump in dumps:
                with self.failures.apart(dump):
                    captured.append(self.capture(dump, draft, measuring))
            self.counted |= measuring.after()
        return captured[::-1]

    def capture(self, dump: Dump, draft: Draft, measuring: Measuring) -> CapturedDump:
        """Stream one dump into its partial."""
        name = dump.name + SUFFIX[self.settings.compression.codec]
        witnesses = self.target_run.ask(dump.witnesses)
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
        return CapturedDump(dump, name, digest, sealed, witnesses, measuring.disk(dump), measuring.schema(dump))

    def shape(self, captured: CapturedDump) -> Shape:
        """What its structure is."""
        dump = captured.dump
        return Shape(dump.name, dump.format, dump.subject, shapes(self.counted[dump.name].numbers), captured.schema)

    def judged(self, manifest: Manifest) -> Manifest:
        """With what is odd about it, before it is published."""
        answered = {name for name, counted in self.counted.items() if counted.answered}
        judgement = judged(manifest, self.good, self.settings.expect, answered)
        self.warnings += judgement.warnings
        suspicious, warnings = (
            tuple(map(self.target_run.secrets.redact, reasons))
            for reasons in (judgement.suspicious, judgement.warnings)
        )
        return manifest.model_copy(update={"suspicious": suspicious, "warnings": (*manifest.warnings, *warnings)})

    def manifest(self, artifacts: tuple[Artifact, ...], started: datetime, made: str) -> Manifest:
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
            structure=made,
            artifacts=artifacts,
        )
