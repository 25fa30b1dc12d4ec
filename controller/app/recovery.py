"""Clears up what a process left that died: half a run, what is not in the catalog, reports that never ended."""

from collections.abc import Mapping

from loguru import logger

from controller.app.parts import Parts
from controller.core.errors import StoreError
from controller.core.failure import Failure
from controller.core.run import Report
from controller.storage import marks, staging
from controller.storage.catalog import GONE
from controller.storage.rebuild import everything


def recover(parts: Parts) -> None:
    """Before anything is begun anew."""
    staging.clear(parts.store)
    for run in parts.store.sweep():
        logger.bind(run=run).warning("removed the partial run of a process that died")
    enter_manifests(parts)
    parts.restores.recover()
    parts.drills.recover()
    interrupt_runs(parts)


def enter_manifests(parts: Parts) -> None:
    """The catalog knows every run that the store holds, deleted or not, and no other."""
    present: Mapping[bool, set[str]] = {False: set(), True: set()}
    for deleted, manifest in everything(parts.store):
        if isinstance(manifest, StoreError):
            logger.bind(code=manifest.code).error("{}", manifest)
        else:
            present[deleted].add(manifest.run)
            parts.catalog.adopt(marks.report(parts.store, manifest, deleted=deleted))
            if drill := marks.drill(parts.store, manifest):
                parts.catalog.adopt_drill(drill)
    for run in parts.catalog.reconcile(present[False], present[True]):
        logger.bind(run=run, code="damaged").error("run {} is lost: {}", run, GONE)


def interrupt_runs(parts: Parts) -> None:
    """What runs were under way ended with the process; what they left in their targets is looked for later."""
    for report in parts.catalog.unfinished(Report):
        parts.orphans.add(report.target, report.id)
        changes = {"state": "interrupted", "failure": Failure.interrupted(), "finished": parts.clock()}
        parts.jobs.record(report.model_copy(update=changes))
