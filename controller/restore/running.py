"""One restore under way: verified, what is in the way backed up, applied, compared, or undone."""

import time
from datetime import UTC, datetime
from typing import Any

from controller.backup.jobs import Jobs
from controller.core.activity import Activity
from controller.core.cancelling import Cancellable
from controller.core.errors import CommandFailed, SidecarError, TargetUnsuitable
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.core.run import SAFETY
from controller.restore.apply import UNDOING, Applying
from controller.restore.owed import TO_BE_UNDONE, OwedUndo, OwedUndos
from controller.restore.plan import PreparedRestore
from controller.storage.catalog import Catalog

SAFETY_LOOK_SECONDS = 0.1
"""Between two looks at the safety backup."""


class RunningRestore(Activity[Restoration]):
    """A restore that was decided."""

    def __init__(self, name: str, prepared: PreparedRestore, jobs: Jobs, catalog: Catalog, owed: OwedUndos) -> None:
        report = Restoration(
            id=name,
            run=prepared.manifest.run,
            target=prepared.manifest.target,
            container=prepared.destination.container.name,
            where=prepared.restore.where,
            strategy=prepared.manifest.strategy,
            state="running",
            created=datetime.now(UTC),
            total=sum(source.artifact.plain_size for source in prepared.sources.values()),
            warnings=prepared.restore.warnings,
        )
        super().__init__(report)
        self._prepared, self._jobs, self._catalog, self._owed = prepared, jobs, catalog, owed

    def cancel(self, why: str = "") -> None:
        """Ask for the end, unless what was done is being undone already."""
        if not self.cancelled and self.report.step != UNDOING:
            super().cancel(why)

    def close(self, stream: Cancellable | None) -> None:
        """End what runs in the container before its input ends, which it could take for the end of the data."""
        self._prepared.session.end()
        super().close(stream)

    def do(self) -> Restoration:
        """The whole restore; exactly one final report, whatever happens."""
        begun, prepared = time.monotonic(), self._prepared
        redact = prepared.session.redact
        applying = Applying(
            prepared.session.heard_by(self.reading),
            prepared.restore,
            prepared.sources,
            check=self.check,
            on_step=lambda step: self.update(step=step),
            on_bytes=lambda size: self.update(bytes=size),
            on_owed=self._owe,
            warnings=list(prepared.restore.warnings),
        )
        changes: dict[str, Any] = {"state": "succeeded"}
        try:
            applying.verify()
            if prepared.in_the_way:
                self._save()
            applying.run()
        except SidecarError as error:
            failure = Failure.of(self.cancellation() if self.cancelled else error, redact)
            changes = {"state": "cancelled" if self.cancelled else "failed", "failure": failure}
        except Exception as error:  # noqa: BLE001  # The boundary: exactly one report, whatever happens.
            changes = {"state": "failed", "failure": Failure.defect("restore", error, redact)}
        seconds, now = round(time.monotonic() - begun, 3), datetime.now(UTC)
        warnings = tuple(map(redact, applying.warnings)) + ((TO_BE_UNDONE,) if applying.owed else ())
        facts = {"compared": applying.compared, "undone": applying.undone, "warnings": warnings, "step": ""}
        return self.report.model_copy(update=changes | facts | {"seconds": seconds, "finished": now})

    def _save(self) -> None:
        """Back up what is about to be replaced.

        Raises `TargetUnsuitable` where nobody could, `CommandFailed` when the run does not succeed.
        """
        self.update(step="safety backup")
        job = self._jobs.start(self._saved_target(), SAFETY, holder=self.id)
        while not job.future.done():
            try:
                self.check()
            except SidecarError:
                job.cancel()
                raise
            time.sleep(SAFETY_LOOK_SECONDS)
        run = job.future.result()
        if run.state != "succeeded":
            why = run.failure.message if run.failure else run.state
            hint = f"Nothing was replaced. See run {run.id}."
            raise CommandFailed(f"the safety backup of {job.key} did not succeed: {why}", hint=hint)
        self.update(safety=run.id)
        self._catalog.keep(self.report)  # Whoever looks for it later may find nothing else than that.

    def _saved_target(self) -> Key:
        """The target that the container is, rather the restore's own."""
        destination, strategy = self._prepared.destination, self._prepared.manifest.strategy
        keys = [target.key for target in destination.targets if target.strategy == strategy]
        if not keys:
            hint = "Label it, so that it can be backed up before it is replaced, or empty it yourself."
            message = f"container {destination.container.name} is no target"
            raise TargetUnsuitable(message, hint=hint, code="no-safety-backup")
        own = self._prepared.order.key
        return own if own in keys else keys[0]

    def _owe(self, applying: Applying) -> None:
        """Raises `StoreError`."""
        prepared, destination = self._prepared, self._prepared.destination
        owed = OwedUndo(
            restore=self.id,
            target=prepared.order.key,
            to=prepared.order.to,
            strategy=prepared.manifest.strategy,
            container=prepared.session.context.container,
            keys=tuple({prepared.order.key, *(target.key for target in destination.targets)}),
            commands=applying.owed,
            kept=applying.kept,
            whole=applying.whole,
        )
        self._owed.owe(owed)
