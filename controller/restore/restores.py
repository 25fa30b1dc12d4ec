"""Restores under way, and those that were: starting, watching, cancelling; apart from what decides them.

A restore holds its target, so that no run reads what is only half there, and leaves a small file that tells of it.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loguru import logger

from controller.backup.jobs import LAST, Jobs
from controller.core.cancelling import Cancellable
from controller.core.errors import (
    Cancelled,
    CommandFailed,
    NotEmpty,
    SidecarError,
    StoreError,
    TargetUnsuitable,
    UnknownRestore,
)
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.core.run import SAFETY, new_run_id
from controller.restore.apply import UNDOING, Applying
from controller.restore.owed import LATER, Owed, OwedUndos, interrupted, made_good
from controller.restore.plan import Asked, Decider, Prepared
from controller.storage import files, journal
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.targets.session import Session
from strategies.base import some


class Restores:
    """Every restore since the work folder was made. Safe to use from several threads."""

    def __init__(self, decider: Decider, jobs: Jobs, leases: Leases, catalog: Catalog, folder: Path) -> None:
        self._decider, self._jobs, self._leases, self._catalog, self._folder = decider, jobs, leases, catalog, folder
        self._lock = threading.Lock()
        self._active: dict[str, RunningRestore] = {}
        self._owed = OwedUndos(self._again, folder / "owed")

    def plan(self, asked: Asked) -> Prepared:
        """Decide, and ask the container, without changing anything; raises `SidecarError`."""
        manifest, destination = self._decider.choose(asked)
        return self._decider.prepare(asked, new_run_id(datetime.now(UTC)), manifest, destination)

    def start(self, asked: Asked) -> Restoration:
        """Begin a restore; raises what `plan` raises, `NotEmpty`, and `Busy` or `RestoreUnderWay` for a held target."""
        name = new_run_id(datetime.now(UTC))
        manifest, destination = self._decider.choose(asked)
        self._jobs.hold({asked.key, *(target.key for target in destination.targets)}, name)
        try:
            self._leases.take([manifest.run])
        except SidecarError:
            self._jobs.release(name)
            raise
        try:
            prepared = self._decider.prepare(asked, name, manifest, destination)
            if prepared.in_the_way and not asked.replace:
                found = f"in {destination.container.name} there is already: {some(prepared.in_the_way)}"
                hint = f"Give --replace, which backs that up first, or restore elsewhere with {prepared.elsewhere}."
                raise NotEmpty(found, hint=hint)
            restoring = RunningRestore(self, prepared, name)
            self.keep(restoring.report)
        except BaseException:
            self._release(name, manifest.run)
            raise
        with self._lock:
            self._active[name] = restoring
        restoring.start()
        return restoring.report

    def list(self, limit: int = 50) -> list[Restoration]:
        """Newest first."""
        with self._lock:
            active = {name: restoring.report for name, restoring in self._active.items()}
        return [active.get(report.id, report) for report in self._catalog.page(Restoration, limit=limit)]

    def report(self, name: str) -> Restoration:
        """Live while it is under way; raises `UnknownRestore`."""
        with self._lock:
            restoring = self._active.get(name)
        return restoring.report if restoring else self._catalog.restore(name)

    def cancel(self, name: str) -> Restoration:
        """Ask for a restore's end; what can be undone is. One that has ended stays as it is."""
        with self._lock:
            restoring = self._active.get(name)
        if restoring:
            restoring.cancel()
        return self.report(name)

    def recover(self) -> None:
        """What a dead process left under way becomes `interrupted`; what it owes keeps its targets from being run."""
        self._adopt()
        owed = {one.restore: one for one in self._owed.all()}
        for one in owed.values():
            self._jobs.hold(one.keys, one.restore)
        for report in self._catalog.unfinished(Restoration):
            self.keep(interrupted(report, owed.get(report.id)))

    def _adopt(self) -> None:
        """Take what earlier releases kept beside the catalog into it."""
        try:
            for report in journal.facts(self._folder, Restoration, "id"):
                self._catalog.put(report)
                files.remove(self._folder / f"{report.id}.json")
        except StoreError as error:
            logger.bind(code=error.code).warning("a report of a restore stays where it is: {}", error)

    def look(self) -> None:
        """Make good what restores that are over still owe, as far as that can be done now."""
        for owed in self._owed.all():
            with self._lock:
                is_active = owed.restore in self._active
            if not is_active and (left := self._owed.make_good(owed)) is not None:
                self._settled(owed, left)

    def _again(self, owed: Owed) -> Session | None:
        return self._decider.again(Asked(owed.target, to=owed.to), owed.strategy, owed.restore, owed.container)

    def owe(self, owed: Owed) -> None:
        """Durable when it returns; raises `StoreError`."""
        self._owed.owe(owed)

    def _settled(self, owed: Owed, left: tuple[str, ...]) -> None:
        """Tell what has become of it, and let the targets go."""
        with suppress(UnknownRestore):  # The catalog was lost.
            self.keep(made_good(self.report(owed.restore), owed, left))
        self._owed.settle(owed.restore)
        self._jobs.release(owed.restore)
        bound = logger.bind(restore=owed.restore, target=str(owed.target), container=owed.container)
        remaining = (*owed.staying, *left)
        if owed.whole or remaining:
            bound.warning("what is left of the restore: {}", "; ".join(remaining) or "nothing")
        else:
            bound.info("everything that the restore had done is undone")

    def stop(self) -> None:
        """Cancel what is under way and wait for its end; what takes too long is undone at the next start."""
        with self._lock:
            active = list(self._active.values())
        until = time.monotonic() + LAST
        for restoring in active:  # Each apart, since cancelling asks the engine, which may hang.
            threading.Thread(target=restoring.cancel, name="cancel", daemon=True).start()
        for restoring in active:
            restoring.join(max(0.0, until - time.monotonic()))

    def keep(self, report: Restoration) -> None:
        self._catalog.keep(report)

    def ended(self, report: Restoration) -> None:
        """Tell of a restore that is over, and let its targets go, unless it still owes them something."""
        self.keep(report)
        owed: Owed | None = None
        try:
            owed = self._owed.of(report.id)
            if owed and not owed.commands:
                self._owed.settle(report.id)
        except SidecarError as error:
            logger.bind(restore=report.id, code=error.code).warning("a report is lost: {}", error)
        self._leases.give([report.run])
        if not (owed and owed.commands):
            self._jobs.release(report.id)
        with self._lock:
            self._active.pop(report.id, None)
        facts = {"restore": report.id, "run": report.run, "target": str(report.target), "container": report.container}
        bound = logger.bind(**facts, state=report.state, seconds=report.seconds, compared=report.compared)
        if report.failure:
            bound.bind(code=report.failure.code).error("restore failed: {}", report.failure.message)
        else:
            bound.info("restore {}", report.state)

    def _release(self, name: str, run: str) -> None:
        self._leases.give([run])
        self._jobs.release(name)

    def back_up(self, key: Key, holder: str, check: Callable[[], None]) -> str:
        """Run the target once within a restore; the run's id. Raises `CommandFailed` when the run does not succeed."""
        job = self._jobs.start(key, SAFETY, holder=holder)
        while not job.future.done():
            try:
                check()
            except SidecarError:
                job.cancel()
                raise
            time.sleep(0.1)
        report = job.future.result()
        if report.state != "succeeded":
            why = report.failure.message if report.failure else report.state
            hint = f"Nothing was replaced. See run {report.id}."
            raise CommandFailed(f"the safety backup of {key} did not succeed: {why}", hint=hint)
        return report.id


class RunningRestore(threading.Thread):
    """One restore under way: its live report, and the way to end it."""

    def __init__(self, restores: Restores, prepared: Prepared, name: str) -> None:
        super().__init__(name="restore", daemon=True)
        self._restores, self._prepared = restores, prepared
        self._cancelled = False
        self._stream: Cancellable | None = None
        self._guard = threading.Lock()
        self._report = Restoration(
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

    @property
    def report(self) -> Restoration:
        with self._guard:
            return self._report

    def cancel(self) -> None:
        """Ask for the end: what runs in the container is ended, then what was done is undone."""
        if not self._cancelled and self.report.step != UNDOING:
            self._cancelled, stream = True, self._stream
            self._prepared.session.end()  # Before its input ends, which it could take for the end of the data.
            if stream:
                stream.cancel(self._reason())

    def run(self) -> None:
        """The whole restore; exactly one report, whatever happens."""
        begun = time.monotonic()
        prepared = self._prepared
        applying = Applying(
            replace(prepared.session, context=replace(prepared.session.context, reading=self._reading)),
            prepared.restore,
            prepared.sources,
            check=self._check,
            told=lambda step: self._update(step=step),
            progress=lambda size: self._update(bytes=size),
            warnings=list(prepared.restore.warnings),
            owe=self._owe,
        )
        redact = prepared.session.redact
        changes: dict[str, Any] = {"state": "succeeded"}
        try:
            applying.verify()
            if prepared.in_the_way:
                self._save()
            applying.run()
        except SidecarError as error:
            failure = Failure.of(self._reason() if self._cancelled else error, redact)
            changes = {"state": "cancelled" if self._cancelled else "failed", "failure": failure}
        except Exception as error:  # noqa: BLE001  # The boundary: exactly one report, whatever happens.
            changes = {"state": "failed", "failure": Failure.defect("restore", error, redact)}
        seconds, now = round(time.monotonic() - begun, 3), datetime.now(UTC)
        warnings = tuple(map(redact, applying.warnings)) + ((LATER,) if applying.owed else ())
        facts = {"compared": applying.compared, "undone": applying.undone, "warnings": warnings, "step": ""}
        self._update(**changes, **facts, seconds=seconds, finished=now)
        self._restores.ended(self.report)

    def _save(self) -> None:
        """Back up what is about to be replaced; raises `TargetUnsuitable` where nobody could."""
        self._update(step="safety backup")
        strategy = self._prepared.manifest.strategy
        fitting = [target for target in self._prepared.destination.targets if target.strategy == strategy]
        own = [target for target in fitting if target.key == self._prepared.asked.key]
        if not fitting:
            hint = "Label it, so that it can be backed up before it is replaced, or empty it yourself."
            name = self._prepared.destination.container.name
            raise TargetUnsuitable(f"container {name} is no target", hint=hint, code="no-safety-backup")
        run = self._restores.back_up((own or fitting)[0].key, self.report.id, self._check)
        self._update(safety=run)
        self._restores.keep(self.report)  # Whoever looks for it later may find nothing else than that.

    def _owe(self, applying: Applying) -> None:
        """Raises `StoreError`."""
        prepared, destination = self._prepared, self._prepared.destination
        owed = Owed(
            restore=self.report.id,
            target=prepared.asked.key,
            to=prepared.asked.to,
            strategy=prepared.manifest.strategy,
            container=prepared.session.context.container,
            keys=tuple({prepared.asked.key, *(target.key for target in destination.targets)}),
            commands=applying.owed,
            kept=applying.kept,
            whole=applying.whole,
        )
        self._restores.owe(owed)

    def _reading(self, stream: Cancellable) -> None:
        self._stream = stream

    def _check(self) -> None:
        if self._cancelled:
            raise self._reason()

    def _reason(self) -> Cancelled:
        return Cancelled(f"restore {self.report.id} was cancelled", hint="Start it again when it is wanted.")

    def _update(self, **changes: object) -> None:
        with self._guard:
            self._report = self._report.model_copy(update=changes)
