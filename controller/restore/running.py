"""One restore under way: verified, what is in the way backed up, applied, compared, or undone."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from controller.backup.jobs import Jobs
from controller.backup.quiesce import Quiescing
from controller.core.activity import Activity
from controller.core.cancelling import Cancellable
from controller.core.errors import CommandFailed, SidecarError, TargetUnsuitable
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.core.run import SAFETY
from controller.restore.apply import UNDOING, Applying
from controller.restore.owed import TO_BE_UNDONE, OwedUndo, OwedUndos, way_back
from controller.restore.plan import PreparedRestore
from controller.storage.catalog import Catalog

STOP_SECONDS = 600.0
"""Within which a container has to stop; it takes a grace period of its own."""
STARTING = "starting again"
"""The step in which what was stopped begins to run again."""
SAFETY_LOOK_SECONDS = 0.1
"""Between two looks at the safety backup."""


class RunningRestore(Activity[Restoration]):
    """A restore that was decided."""

    def __init__(
        self,
        name: str,
        prepared: PreparedRestore,
        jobs: Jobs,
        catalog: Catalog,
        owed: OwedUndos,
        *,
        quiescing: Quiescing,
    ) -> None:
        report = Restoration(
            id=name,
            run=prepared.manifest.run,
            target=prepared.manifest.target,
            container=prepared.destination.container.name,
            where=prepared.restore.where,
            strategy=prepared.manifest.strategy,
            by=prepared.order.by,
            state="running",
            created=datetime.now(UTC),
            beside=bool(prepared.beside),
            total=prepared.size,
            warnings=prepared.restore.warnings,
        )
        super().__init__(report)
        self._prepared, self._jobs, self._catalog, self._owed = prepared, jobs, catalog, owed
        self._quiescing = quiescing

    def cancel(self, why: str = "") -> None:
        """Ask for the end, unless what was done is being undone already."""
        if not self.cancelled and self.report.step not in (UNDOING, STARTING):
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
            accept_differences=prepared.order.accept_differences,
        )
        changes: dict[str, Any] = {"state": "succeeded"}
        try:
            applying.verify()
            with self._alone():
                if prepared.is_saved:
                    self._save()
                applying.run()
        except SidecarError as error:
            failure = Failure.of(self.cancellation() if self.cancelled else error, redact)
            if applying.left and (back := way_back(self.report)):
                failure = failure.model_copy(update={"hint": back})
            changes = {"state": "cancelled" if self.cancelled else "failed", "failure": failure}
        except Exception as error:  # noqa: BLE001  # The boundary: exactly one report, whatever happens.
            changes = {"state": "failed", "failure": Failure.defect("restore", error, redact)}
        seconds, now = round(time.monotonic() - begun, 3), datetime.now(UTC)
        warnings = tuple(map(redact, applying.warnings)) + ((TO_BE_UNDONE,) if applying.owed else ())
        as_before = changes["state"] != "succeeded" and (applying.undone or applying.untouched)
        facts = {"compared": applying.compared, "undone": as_before, "warnings": warnings, "step": ""}
        return self.report.model_copy(update=changes | facts | {"seconds": seconds, "finished": now})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """What writes beside is stopped, and runs again afterwards."""
        with ExitStack() as stopped:
            for container in self._prepared.stops:
                self.check()
                self.update(step=f"stopping {container.name}", stopped=(*self.report.stopped, container.name))
                deadline = time.monotonic() + STOP_SECONDS
                held = self._quiescing.held(container.id, "stop", self.id, deadline, throughout=False)
                stopped.enter_context(held)
            yield
            self.update(step=STARTING)

    def _save(self) -> None:
        """Back up what is about to be replaced.

        Raises `TargetUnsuitable` where nobody could, `CommandFailed` when the run does not succeed.
        """
        self.update(step="safety backup")
        job = self._jobs.start(self._saved_target(), SAFETY, holder=self.id, by=self.report.by)
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
            hint = f"Nothing was replaced. See run {run.id}; --without-safety-backup replaces what cannot be backed up."
            raise CommandFailed(f"the safety backup of {job.key} did not succeed: {why}", hint=hint)
        self.update(safety=run.id, safety_of=job.key)
        self._catalog.keep(self.report)  # Whoever looks for it later may find nothing else than that.

    def _saved_target(self) -> Key:
        """The target that the container is, rather the restore's own."""
        destination, strategy = self._prepared.destination, self._prepared.manifest.strategy
        keys = [target.key for target in destination.targets if target.strategy == strategy]
        if not keys:
            hint = "Label it, so that it can be backed up before it is replaced, or give --without-safety-backup."
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
            settled=prepared.restore.settled or (),
            finish=prepared.restore.finish,
            leaves=applying.left,
            whole=applying.whole,
        )
        self._owed.owe(owed)
