"""Clears up what a process left that died: half a run, what is not in the catalog, reports that never ended."""

from loguru import logger

from controller.app.parts import Parts
from controller.core.errors import StoreError
from controller.core.failure import Failure
from controller.core.run import Report
from controller.storage import marks
from controller.storage.catalog import GONE


def recover(parts: Parts) -> None:
    """Before anything is begun anew."""
    for run in parts.store.sweep():
        logger.bind(run=run).warning("removed the partial run of a process that died")
    enter_manifests(parts)
    parts.restores.recover()
    parts.drills.recover()
    interrupt_runs(parts)


def enter_manifests(parts: Parts) -> None:
    """The catalog knows every run that is stored, and no other."""
    present = set()
    for manifest in parts.store.manifests():
        if isinstance(manifest, StoreError):
            logger.bind(code=manifest.code).error("{}", manifest)
        else:
            present.add(manifest.run)
            parts.catalog.adopt(marks.report(parts.store, manifest))
            if drill := marks.drill(parts.store, manifest):
                parts.catalog.adopt_drill(drill)
            parts.pruner.finish(manifest)
    for run in parts.catalog.reconcile(present):
        logger.bind(run=run, code="damaged").error("run {} is lost: {}", run, GONE)


def interrupt_runs(parts: Parts) -> None:
    """What runs were under way ended with the process; what they left in their targets is looked for later."""
    for report in parts.catalog.unfinished(Report):
        parts.orphans.add(report.target, report.id)
        changes = {"state": "interrupted", "failure": Failure.interrupted(), "finished": parts.clock()}
        parts.jobs.record(report.model_copy(update=changes))
