"""Restores under way, and those that were: starting, watching, cancelling; apart from what decides them.

A restore holds its target, so that no run reads what is only half there, and leaves a small file that tells of it.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loguru import logger

from controller import journal
from controller.applying import Applying
from controller.errors import (
    Cancelled,
    CommandFailed,
    NotEmpty,
    SidecarError,
    TargetUnsuitable,
    UnknownRestore,
)
from controller.executor import failure
from controller.holds import Holds
from controller.jobs import Jobs
from controller.report import RUN_ID, SAFETY, Failure, Key, Restoration, new_run_id
from controller.restore import Asked, Decider, Prepared
from strategies.base import some


class Restores:
    """Every restore since the work folder was made. Safe to use from several threads."""

    def __init__(self, decider: Decider, jobs: Jobs, holds: Holds, folder: Path) -> None:
        self._decider, self._jobs, self._holds, self._folder = decider, jobs, holds, folder
        self._lock = threading.Lock()
        self._active: dict[str, Restoring] = {}

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
            self._holds.take([manifest.run])
        except SidecarError:
            self._jobs.release(name)
            raise
        try:
            prepared = self._decider.prepare(asked, name, manifest, destination)
            if prepared.in_the_way and not asked.replace:
                found = f"in {destination.container.name} there is already: {some(prepared.in_the_way)}"
                hint = "Give --replace, which backs that up first, or restore elsewhere with --to or --into."
                raise NotEmpty(found, hint=hint)
            restoring = Restoring(self, prepared, name)
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
        names = sorted((path.stem for path in self._folder.glob("*.json")), reverse=True)
        return [self.report(name) for name in names[:limit]]

    def report(self, name: str) -> Restoration:
        """Live while it is under way; raises `UnknownRestore`."""
        with self._lock:
            restoring = self._active.get(name)
        if restoring:
            return restoring.report
        fact = journal.read(self._folder / f"{name}.json") if RUN_ID.fullmatch(name) else None
        if fact is None:
            raise UnknownRestore(f"no restore {name[:60]!r}", hint="`/v1/restores` lists them.")
        return Restoration.model_validate(fact)

    def cancel(self, name: str) -> Restoration:
        """Ask for a restore's end; what can be undone is. One that has ended stays as it is."""
        with self._lock:
            restoring = self._active.get(name)
        if restoring:
            restoring.cancel()
        return self.report(name)

    def recover(self) -> None:
        """What a dead process left under way becomes `interrupted`."""
        for report in self.list(limit=10_000):
            if not report.final:
                hint = "Look at the destination, then restore again with --replace."
                told = "the sidecar ended while it was under way, and nothing was undone"
                broken = Failure(code="interrupted", message=told, hint=hint)
                self.keep(
                    report.model_copy(update={"state": "interrupted", "failure": broken, "finished": datetime.now(UTC)})
                )

    def stop(self) -> None:
        """Cancel what is under way and wait for its end."""
        with self._lock:
            active = list(self._active.values())
        for restoring in active:
            restoring.cancel()
        for restoring in active:
            restoring.join()

    def keep(self, report: Restoration) -> None:
        """Durable when it returns; raises `StoreError`."""
        journal.write(self._folder / f"{report.id}.json", report.model_dump(mode="json"))

    def ended(self, report: Restoration) -> None:
        """Tell of a restore that is over, and let its targets go."""
        try:
            self.keep(report)
        except SidecarError as error:
            logger.bind(restore=report.id, code=error.code).warning("a report is lost: {}", error)
        with self._lock:
            self._active.pop(report.id, None)
        self._release(report.id, report.run)
        facts = {"restore": report.id, "run": report.run, "target": str(report.target), "container": report.container}
        bound = logger.bind(**facts, state=report.state, seconds=report.seconds, compared=report.compared)
        if report.failure:
            bound.bind(code=report.failure.code).error("restore failed: {}", report.failure.message)
        else:
            bound.info("restore {}", report.state)

    def _release(self, name: str, run: str) -> None:
        self._holds.give([run])
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


class Restoring(threading.Thread):
    """One restore under way: its live report, and the way to end it."""

    def __init__(self, restores: Restores, prepared: Prepared, name: str) -> None:
        super().__init__(name="restore", daemon=True)
        self._restores, self._prepared = restores, prepared
        self._cancelled = False
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
        if not self._cancelled:
            self._cancelled = True
            self._prepared.place.end()

    def run(self) -> None:
        """The whole restore; exactly one report, whatever happens."""
        begun = time.monotonic()
        prepared = self._prepared
        applying = Applying(
            prepared.place,
            prepared.restore,
            prepared.sources,
            check=self._check,
            told=lambda step: self._update(step=step),
            progress=lambda size: self._update(bytes=size),
            warnings=list(prepared.restore.warnings),
        )
        redact = prepared.place.redact
        changes: dict[str, Any] = {"state": "succeeded"}
        try:
            applying.verify()
            if prepared.in_the_way:
                self._save()
            applying.run()
        except SidecarError as error:
            changes = {"state": "cancelled" if self._cancelled else "failed", "failure": failure(error, redact)}
        except Exception as error:  # noqa: BLE001  # The boundary: exactly one report, whatever happens.
            logger.opt(exception=error).error("restore ended by a defect of this program")
            told = redact(f"{type(error).__name__}: {error}")
            defect = Failure(code="internal-error", message=told, hint="Please report it with the log.")
            changes = {"state": "failed", "failure": defect}
        seconds, now = round(time.monotonic() - begun, 3), datetime.now(UTC)
        warnings = tuple(map(redact, applying.warnings))
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

    def _check(self) -> None:
        if self._cancelled:
            raise Cancelled(f"restore {self.report.id} was cancelled")

    def _update(self, **changes: object) -> None:
        with self._guard:
            self._report = self._report.model_copy(update=changes)
