"""Reads what is stored again and compares it with what was written: on demand, and all of it little by little.

A run whose bytes have changed is `damaged`, and one whose bytes are right again is not.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

from loguru import logger

from config.settings import Verify
from controller.core.errors import Damaged, SidecarError, Stopping, StoreError, Tampered, UnknownRun
from controller.core.manifest import Artifact
from controller.core.records import Time, Versioned
from controller.core.run import Report
from controller.storage import capture, journal, marks
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.storage.source import Source
from controller.storage.store import Store
from controller.upkeep.stored_runs import demand_stored

FILE = "scrub.json"
REMEDY = (
    "Do not trust this run: make a new one, look at the store's disk, and restore the file from a copy if there is one."
)
CHUNK_BYTES = 1 << 20

Yield = Callable[[], None]
"""Is called after each chunk; may wait, and raise to give up."""


class Rest(Versioned):
    """Until when nothing is scrubbed, since the day's budget is used up."""

    written: Time
    until: Time


class Verifier:
    """`verify` takes as long as the reading; call `look` every few seconds, from one thread, for the scrub."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        leases: Leases,
        folder: Path,
        *,
        settings: Callable[[], Verify],
        give_way: Yield,
        clock: Callable[[], datetime],
    ) -> None:
        """`give_way` waits, in the scrub, as long as there is something more important to do with the disk."""
        self._store, self._catalog, self._leases = store, catalog, leases
        self._path, self._settings, self._give_way, self._clock = folder / FILE, settings, give_way, clock

    def verify(self, report: Report, give_way: Yield = lambda: None) -> Report:
        """Re-read every artifact of a run; gives its report as it is then, `damaged` or not.

        Raises `UnknownRun` where nothing is stored, `StoreError` when the store is not there.
        """
        with self._leases.held(report.id):
            self._store.demand_present()
            known = demand_stored(self._catalog.get(report.id))
            try:
                damage = "; ".join(self._damage(known, give_way))
            except Tampered as error:
                return self._tampered(known, error)
            return self._damaged(known, damage) if damage else self._proved(known)

    def look(self) -> None:
        """Re-read the run whose turn it is, as far as the budget allows; never raises `SidecarError`."""
        settings, now = self._settings(), self._clock()
        if not settings.budget or now < self._resting(now):
            return
        try:
            report = self._catalog.longest_unproved(now - settings.every)
            if report is None:
                return
            self._give_way()
            self.verify(report, self._give_way)
            rest = timedelta(days=1) * ((report.size or 0) / settings.budget)
            journal.write(self._path, Rest(written=now, until=self._clock() + rest))
        except Stopping:
            return
        except SidecarError as error:
            logger.bind(code=error.code).error("cannot scrub: {}", error)

    def _resting(self, now: datetime) -> datetime:
        """Until when the budget is used up; a clock that went back since does not prolong it."""
        known = journal.read(self._path, Rest)
        return known.until if known and known.written <= now else now

    def _damage(self, report: Report, give_way: Yield) -> Iterator[str]:
        """What is wrong with each artifact; with both digests where there are two."""
        try:
            artifacts: Sequence[Artifact] = self._store.manifest(report.target, report.id).artifacts
        except UnknownRun:
            yield "it is not in the store any more"
            return
        except Tampered:
            raise
        except StoreError as error:
            yield error.message
            return
        for artifact in artifacts:
            try:
                path = self._store.artifact(report.target, report.id, artifact.name)
                Source(artifact, path).verify(reading(give_way))
            except UnknownRun:
                yield f"{artifact.name} is not there"
            except StoreError as error:
                yield error.message

    def _damaged(self, report: Report, damage: str) -> Report:
        place = self._store, report.target, report.id
        changed = self._marked(report, lambda: marks.write(*place, "damaged", damaged=damage), damaged=damage)
        bound = logger.bind(target=str(changed.target), run=changed.id, code=Damaged.code)
        bound.error("run {} is damaged: {}. {}", changed.id, damage, REMEDY)
        return changed

    def _tampered(self, report: Report, error: Tampered) -> Report:
        """What the store's own marks have told already."""
        place, words = (self._store, report.target, report.id), error.message
        write = partial(marks.write, *place, "damaged", damaged=words, tampered=True)
        return self._marked(report, write, damaged=words, tampered=True)

    def _proved(self, report: Report) -> Report:
        now, place = self._clock(), (self._store, report.target, report.id)
        if report.damaged:
            for mark in ("damaged", "forgotten"):
                self._marked(report, partial(marks.remove, *place, mark), damaged="", tampered=False, forgotten=None)
            bound = logger.bind(target=str(report.target), run=report.id)
            bound.warning("run {} is healed: its bytes are again what was written", report.id)
        return self._marked(report, lambda: marks.write(*place, "verified", verified=now), damaged="", verified=now)

    def _marked(self, report: Report, write: Callable[[], None], **fields: object) -> Report:
        """In the store and in the catalog; where the disk takes neither, at least this process knows."""
        try:
            write()
        except SidecarError as error:
            logger.bind(run=report.id, code=error.code).error("a mark of run {} is not kept: {}", report.id, error)
        return self._catalog.amend(report.id, **fields)


def reading(give_way: Yield) -> capture.Consume:
    """Reads a stream to its end."""

    def consume(stream: BinaryIO) -> Sequence[str]:
        while stream.read(CHUNK_BYTES):
            give_way()
        return ()

    return consume
