"""Restores under way, and those that were: starting, listing, cancelling, and making good what they still owe.

A restore reserves its targets, so that no run reads what is only half there.
"""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger

from config.wording import shortened
from controller.backup.jobs import Jobs
from controller.backup.quiesce import Quiescing
from controller.core.activity import Activities
from controller.core.errors import NotEmpty, SidecarError, StoreError, UnknownRestore
from controller.core.events import Bus, RestoreEnded
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.core.run import new_run_id
from controller.restore.owed import OwedUndo, OwedUndos, interrupted, made_good
from controller.restore.plan import PreparedRestore, RestoreOrder, RestorePlanner
from controller.restore.running import RunningRestore
from controller.storage import files, journal
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.targets.session import Session


class Restores:
    """Every restore that the catalog knows. Safe to use from several threads."""

    def __init__(
        self,
        planner: RestorePlanner,
        jobs: Jobs,
        leases: Leases,
        catalog: Catalog,
        folder: Path,
        *,
        quiescing: Quiescing,
        events: Bus,
    ) -> None:
        self._planner, self._jobs, self._leases, self._catalog = planner, jobs, leases, catalog
        self._folder, self._quiescing, self._events = folder, quiescing, events
        self._activities = Activities[RunningRestore, Restoration]()
        """By id."""
        self._owed = OwedUndos(self._again, folder / "owed")

    def plan(self, order: RestoreOrder) -> PreparedRestore:
        """Decide, and ask the container, without changing anything; raises `SidecarError`."""
        manifest, destination = self._planner.choose(order)
        return self._planner.prepare(order, new_run_id(datetime.now(UTC)), manifest, destination)

    def start(self, order: RestoreOrder) -> Restoration:
        """Begin a restore; raises what `plan` raises, `NotEmpty`, and `Busy` or `RestoreUnderWay` for a held target."""
        name = new_run_id(datetime.now(UTC))
        manifest, destination = self._planner.choose(order)
        self._jobs.reserve({order.key, *(target.key for target in destination.targets)}, name)
        try:
            self._leases.take([manifest.run])
        except SidecarError:
            self._jobs.release(name)
            raise
        try:
            prepared = self._planner.prepare(order, name, manifest, destination)
            if prepared.in_the_way and not order.replace:
                message = f"in {destination.container.name} there is already: {shortened(prepared.in_the_way)}"
                hint = f"Give --replace, which backs that up first, or restore elsewhere with {prepared.elsewhere}."
                raise NotEmpty(message, hint=hint)
            if prepared.room:
                prepared.room.demand(destination.container.name)
            self._jobs.reserve(self._planner.keys_of(prepared.stops), name)
            running = RunningRestore(name, prepared, self._jobs, self._catalog, self._owed, quiescing=self._quiescing)
            self._catalog.keep(running.report)
        except BaseException:
            self._leases.give([manifest.run])
            self._jobs.release(name)
            raise
        self._activities.start(name, running, self._work)
        return running.report

    def page(self, key: Key | None = None, *, before: str = "", limit: int = 50) -> list[Restoration]:
        """As the catalog's, live."""
        return self._activities.live(self._catalog.page(Restoration, key, before=before, limit=limit))

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return bool(self._activities.all())

    def active(self, name: str) -> RunningRestore | None:
        return self._activities.get(name)

    def report(self, name: str) -> Restoration:
        """Live while it is under way; raises `UnknownRestore`."""
        running = self.active(name)
        return running.report if running else self._catalog.restore(name)

    def recover(self) -> None:
        """What a dead process left under way becomes `interrupted`; what it owes keeps its targets from being run."""
        self._adopt()
        owed = {undo.restore: undo for undo in self._owed.all()}
        for undo in owed.values():
            self._jobs.reserve(undo.keys, undo.restore)
        for report in self._catalog.unfinished(Restoration):
            self._catalog.keep(interrupted(report, owed.get(report.id)))

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
            if not self.active(owed.restore) and (good := self._owed.make_good(owed)):
                self._settled(*good)

    def _again(self, owed: OwedUndo) -> Session | None:
        return self._planner.again(RestoreOrder(owed.target, to=owed.to), owed.strategy, owed.restore, owed.container)

    def _settled(self, owed: OwedUndo, left: tuple[str, ...]) -> None:
        """Tell what has become of it, and let the targets go."""
        with suppress(UnknownRestore):  # The catalog was lost.
            self._catalog.keep(made_good(self.report(owed.restore), owed, left))
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
        self._activities.stop()

    def _work(self, running: RunningRestore) -> None:
        report = running.do()
        self._catalog.keep(report)
        owed: OwedUndo | None = None
        try:
            owed = self._owed.of(report.id)
            if owed and not owed.commands:
                self._owed.settle(report.id)
        except SidecarError as error:
            logger.bind(restore=report.id, code=error.code).warning("what a restore owes is not known: {}", error)
        self._leases.give([report.run])
        if not (owed and owed.commands):
            self._jobs.release(report.id)
        self._activities.finish(running, report)
        self._events.publish(RestoreEnded(report))
