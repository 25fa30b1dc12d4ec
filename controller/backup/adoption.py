"""Takes in what was backed up elsewhere, while the sidecar serves: runs with their manifests, or a bare file.

What is taken in was read to its end, and says where it comes from. Its own words are shown, and never run.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from loguru import logger

from config.secrets import Secrets
from controller.backup.bare_file import BareFile
from controller.core.errors import NotAdopted, SidecarError, Stopping, StoreFull, UnknownRun
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.core.records import rfc3339
from controller.core.run import Report
from controller.engine.client import Engine
from controller.storage import marks
from controller.storage.adopt import Arrival, arrivals, kept_marks, manifest_of, verify
from controller.storage.catalog import Catalog
from controller.storage.codecs import opened
from controller.storage.draft import MANIFEST
from controller.storage.staging import Staging, staging
from controller.storage.store import Store
from controller.targets.runnable import RunnableTarget
from controller.targets.session import Session
from controller.targets.survey import Survey, Surveyor
from controller.targets.target import Target
from strategies.base import Strategy
from strategies.plan import Check

ADOPT = "adopt"
"""Trigger of a run of which nobody knows who had asked for it."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What has become of one run that came along."""

    outcome: Literal["adopted", "known", "refused"]
    manifest: Manifest | None = None
    """None where it cannot be read."""
    error: SidecarError | None = None
    """Why it was refused."""
    place: str = ""
    """Its folder in the archive."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """Each call is one adoption. Safe to use from several threads."""

    store: Store
    catalog: Catalog
    engine: Engine
    strategies: Mapping[str, Strategy[Any]]
    surveyor: Surveyor
    target: Callable[[Key], Target]
    secrets: Callable[[], Secrets]
    check: Callable[[], None]
    """Is asked again and again, and raises `Stopping`."""
    purge: Callable[[Report], object]
    """Takes a damaged run out of the store, for the same one that is whole; raises `InUse`, `StoreError`."""
    clock: Callable[[], datetime]

    def runs(self, chunks: Iterator[bytes], origin: str) -> list[Adopted]:
        """Enter every run of a tar, which may be compressed, as one of `origin`; one that is refused hides no other.

        Raises `NotAdopted` for an archive that is not right, of which nothing is entered then; `StoreError`.
        """
        with staging(self.store) as place:
            everything = [
                self._entered(place, arrival, origin) for arrival in arrivals(opened(chunks), place, self.check)
            ]
        if not everything:
            hint = "It needs the folders of runs, each with its manifest.json; a bare file needs --as KEY."
            raise NotAdopted("there is no run in it", hint=hint)
        return everything

    def file(self, key: Key, chunks: Iterator[bytes], name: str, made: datetime, origin: str) -> Report:
        """Enter a bare file as a run of a target that is there, whose plan tells its format.

        Raises `NotAdopted`, `UnknownTarget`, `TargetUnsuitable`, `TargetGone` and what the check of the format raises.
        """
        target, made = self.target(key).runnable(), made.astimezone(UTC)
        self.surveyor.survey(target)  # What is wrong with it is told before anything is sent.
        with staging(self.store) as place:
            file = BareFile(place, chunks, name, self.check)
            if self.store.holds(key, file.run(made)):
                return self._stored(key, file.run(made))
            with self.surveyor.surveyed(target) as survey:
                manifest = self._manifest(file, target, survey, made)
            return self._published(place, file.arrival, manifest, {"report": {"trigger": ADOPT}}, origin)

    def _stored(self, key: Key, run: str) -> Report:
        """The run of a file that was taken in before; raises `UnknownRun` for a deleted one, `NotAdopted`."""
        self.store.demand_published(key, run)
        if (report := self.catalog.get(run)).damaged:
            hint = f"`backup-sidecar delete {run} --purge` makes room for it; then take it in again."
            raise NotAdopted(f"run {run} of the same file is there, and damaged: {report.damaged}", hint=hint)
        return report

    def _manifest(self, file: BareFile, target: RunnableTarget, survey: Survey, made: datetime) -> Manifest:
        """What the target's own tools find in a file; whatever they started is ended."""
        deadline = time.monotonic() + target.settings.timeout.total_seconds()
        context = replace(survey.context, run=file.run(made), deadline=deadline)
        known = self.secrets().with_also(survey.probed.sensitive)
        session = Session(self.engine, context, known.redact)
        try:
            return file.manifest(target, survey, session, made=made, now=self.clock())
        finally:
            session.end()

    def _entered(self, place: Staging, arrival: Arrival, origin: str) -> Adopted:
        manifest: Manifest | None = None
        try:
            manifest = manifest_of(arrival, self.clock())
            known = self.catalog.get(manifest.run) if self._is_known(arrival, manifest) else None
            if known and not known.damaged:
                return Adopted("known", manifest)
            verify(arrival, manifest, self._check_of, self.check)
            found = kept_marks(arrival)
            if known:
                found |= {"pinned": {"pinned": rfc3339(known.pinned), "note": known.note}} if known.pinned else {}
                self.purge(known)
            self._published(place, arrival, manifest, found, origin)
        except (Stopping, StoreFull):
            raise
        except SidecarError as error:
            return Adopted("refused", manifest, error, arrival.place)
        return Adopted("adopted", manifest)

    def _is_known(self, arrival: Arrival, manifest: Manifest) -> bool:
        """Whether the very same run is there; raises `NotAdopted` for another one of its id."""
        run, folder = manifest.run, self.store.folder(manifest.target, manifest.run)
        if self.store.holds(manifest.target, run):
            self.store.demand_published(manifest.target, run)
            if (arrival.folder / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes():
                return True
            raise NotAdopted(f"run {run} is there with another content", hint="Look at both before you delete one.")
        try:
            known = self.catalog.get(run)
        except UnknownRun:
            return False
        if known.target != manifest.target or not known.final:
            raise NotAdopted(f"run {run} is one of {known.target} here", hint="Nobody's runs should have one id.")
        return False

    def _published(
        self, place: Staging, arrival: Arrival, manifest: Manifest, found: dict[str, dict[str, object]], origin: str
    ) -> Report:
        now = rfc3339(self.clock())
        found["adopted"] = {"origin": origin, "adopted": now, "verified": now}
        place.publish(arrival.folder, manifest, found)
        report = marks.report(self.store, manifest)
        self.catalog.keep(report)
        bound = logger.bind(target=str(manifest.target), run=manifest.run, size=manifest.size)
        bound.info("run adopted from {}", origin)
        return report

    def _check_of(self, strategy: str, kind: str) -> Check | None:
        known = self.strategies.get(strategy)
        return known.formats().get(kind) if known else None
