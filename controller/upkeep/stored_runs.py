"""What rules and people do to one stored run: delete it, which can be undone for a while, purge it, pin it.

The store is told first and the catalog after it; where a crash came between the two, the next start believes the store.
A deleted run is no backup, and nothing of it is lost before it is purged. The report stays as history, and once its
artifacts are gone it lists none.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from loguru import logger

from controller.core.errors import StoreError, UnknownRun
from controller.core.run import BY_HAND, Report
from controller.storage import marks
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.storage.store import Store


class StoredRuns:
    """Each call raises `InUse` for a run that is being read, and `StoreError`, with the run then as it was."""

    def __init__(self, store: Store, catalog: Catalog, leases: Leases, clock: Callable[[], datetime]) -> None:
        self._store, self._catalog, self._leases, self._clock = store, catalog, leases, clock

    def delete(self, report: Report, cause: str) -> Report:
        """Let a stored run be no backup any more; gives its report as it is then, as the others do."""
        deletion: dict[str, Any] = {"pruned": self._clock(), "cause": cause}
        place = report.target, report.id
        with self._leases.deleting(report.id):
            try:
                with suppress(StoreError):  # A full disk takes no mark, and the catalog knows as much.
                    marks.write(self._store, *place, "deleted", **deletion)
                self._store.delete(*place)
            except UnknownRun:
                logger.bind(run=report.id).warning("run {} had left the store before it was deleted", report.id)
                deletion["artifacts"] = ()
            deleted = self._catalog.amend(report.id, **deletion)
        logger.bind(target=str(report.target), run=report.id, size=report.size).info("run deleted: {}", cause)
        return deleted

    def undelete(self, report: Report) -> Report:
        """Let a deleted run be a backup again; pinned where a rule had deleted it, since it would do so once more."""
        place = report.target, report.id
        with self._leases.deleting(report.id):
            self._store.undelete(*place)
            with suppress(StoreError):  # It says nothing of a run that is no longer deleted.
                marks.remove(self._store, *place, "deleted")
            restored = self._catalog.amend(report.id, pruned=None, cause="")
        logger.bind(target=str(report.target), run=report.id).info("run undeleted, {} had gone", report.cause)
        return restored if report.cause == BY_HAND else self.pin(restored, f"undeleted: {report.cause}")

    def purge(self, report: Report, cause: str = "") -> Report:
        """Take a run, deleted or not, out of the store for good."""
        purged = {"pruned": report.pruned or self._clock(), "cause": cause or report.cause, "artifacts": ()}
        with self._leases.deleting(report.id):
            try:
                self._store.purge(report.target, report.id)
            except UnknownRun:
                logger.bind(run=report.id).warning("run {} had left the store before it was purged", report.id)
            except StoreError:
                if not self._store.holds(report.target, report.id):
                    self._catalog.amend(report.id, **purged)
                raise
            gone = self._catalog.amend(report.id, **purged)
        logger.bind(target=str(report.target), run=report.id, size=report.size).info("run purged: {}", gone.cause)
        return gone

    def pin(self, report: Report, note: str) -> Report:
        """Keep a stored run, whatever the rules say."""
        pin: dict[str, Any] = {"pinned": self._clock(), "note": note}
        marks.write(self._store, report.target, report.id, "pinned", **pin)
        return self._catalog.amend(report.id, **pin)

    def unpin(self, report: Report) -> Report:
        """Leave a run to the rules again."""
        marks.remove(self._store, report.target, report.id, "pinned")
        return self._catalog.amend(report.id, pinned=None, note="")


def demand_stored(report: Report) -> Report:
    """The same; raises `UnknownRun` where it is no backup."""
    if report.recoverable:
        hint = f"`backup-sidecar undelete {report.id}` undoes that; `delete {report.id} --purge` frees its room now."
        raise UnknownRun(f"run {report.id} is deleted", hint=hint)
    if not report.stored:
        state = "purged" if report.pruned else report.state
        raise UnknownRun(f"run {report.id} has no artifacts: it is {state}", hint="`backup-sidecar runs` lists them.")
    return report
