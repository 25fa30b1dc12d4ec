"""Copies what is stored to every destination: a lane for each, which works as long as that lacks a run."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from loguru import logger

from config.copies import DestinationSettings, VerifyCopies
from config.loading import Loaded
from controller.core.copy import Copy
from controller.core.copy_errors import NotACopy, UnknownDestination
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.redaction import Redact
from controller.core.run import SAFETY, Report
from controller.storage.catalog import Catalog
from controller.storage.copies.orders import Heard, Pruned, Setup, Verified
from controller.storage.leases import Leases
from controller.storage.store import Store
from controller.upkeep.copy_chores import Daily, Hearing, Rereading, Retiring, Rules
from controller.upkeep.copy_freshness import CopyFreshness, judge_copies
from controller.upkeep.copy_keys import TriedKeys
from controller.upkeep.copy_lane import Lane
from controller.upkeep.copy_queue import queue
from controller.upkeep.freshness import Freshness
from controller.upkeep.verifier import Verifier

FOLDER = "copies"
MOST_MISSED = 1000
"""Of all places that are counted."""
NEVER = datetime.min.replace(tzinfo=UTC)
LOOK_AGAIN = timedelta(minutes=1)
"""After that it is looked for runs to copy though nothing was told of."""


class Copier:
    """Call `look` every few seconds; `wake` when something is to be copied; the rest from any thread."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        leases: Leases,
        verifier: Verifier,
        *,
        workdir: Path,
        writer: str,
        loaded: Callable[[], Loaded],
        rules: Callable[[Key], Rules | None],
        trusted: Callable[[], bool],
        redact: Redact,
        clock: Callable[[], datetime],
    ) -> None:
        """`writer` is the sidecar's id; `rules` are those of a target; `trusted` tells whether the clock may be
        believed.
        """
        self._rules, self._trusted = rules, trusted
        self._store, self._catalog, self._leases, self._verifier = store, catalog, leases, verifier
        self._folder, self._writer = workdir / FOLDER, writer
        self._loaded, self._redact, self._clock = loaded, redact, clock
        self._lock, self._lanes = threading.Lock(), dict[str, Lane]()
        self.tried = TriedKeys(self._folder / "tried.json")
        self._looked: datetime | None = None
        self._stopped, self._kept = False, dict[str, int]()

    @property
    def destinations(self) -> Mapping[str, DestinationSettings]:
        copies = self._loaded().settings.copies
        return copies.destinations if copies else {}

    def look(self) -> None:
        """Let every lane work that has work."""
        now = self._clock()
        if self._stopped or (self._looked and timedelta(0) <= now - self._looked < LOOK_AGAIN):
            return
        self._looked = now
        for name in self.destinations:
            self.lane(name).work_if_due()

    def wake(self, _: object = None) -> None:
        """At the next look it is looked for work."""
        self._looked = None

    def reloaded(self, _: object = None) -> None:
        """What was refused may be right now."""
        for lane in list(self._lanes.values()):
            lane.forgive()
        self.wake()

    def lane(self, name: str) -> Lane:
        """Raises `UnknownDestination`."""
        if name not in self.destinations:
            known = ", ".join(self.destinations) or "none"
            hint = f"`copies.destinations` in config.yaml names {known}."
            raise UnknownDestination(f"there is no destination {name[:60]!r}", hint=hint)
        with self._lock:
            if name not in self._lanes:
                self._lanes[name] = self._new_lane(name)
            return self._lanes[name]

    def _new_lane(self, name: str) -> Lane:
        return Lane(
            name,
            *(self._store, self._catalog, self._leases, self._verifier),
            setup=lambda: self._setup(name),
            waiting=lambda: self.waiting(name),
            chores=(self._rereading(name), self._retiring(name), self._hearing(name)),
            redact=self._redact,
            clock=self._clock,
        )

    def waiting(self, name: str) -> Sequence[Report]:
        """The runs that a destination lacks, in the order in which they are copied."""
        keys = [key for key in map(Key.parse, self._catalog.keys()) if name in self.copied_to(key)]
        copies = {copy.run: copy for key in keys for copy in self._catalog.copies(key, name)}
        return queue((list(self._catalog.stored(key)) for key in keys), copies, self._clock())

    def copied_to(self, key: Key) -> tuple[str, ...]:
        """Names of the destinations of a target's runs."""
        return self._loaded().settings.copied_to(str(key))

    def awaits(self, report: Report) -> bool:
        """Whether a run should stay until it is copied: one that can be, to a place where copies still arrive."""
        settings, now = self._loaded().settings.copies, self._clock()
        if settings is None or report.damaged or report.is_future(now):
            return False
        for name in self.copied_to(report.target):
            copies = self._catalog.copies(report.target, name)
            arrived = [copy.finished for copy in copies if copy.counts and copy.finished]
            since = max([report.finished or report.created, *arrived])
            if is_lacking(report, copies) and now - since <= settings.hold:
                return True
        return False

    def lost(self, report: Report) -> None:
        """A run goes: keep that it was never copied, where it was not."""
        for name in self.copied_to(report.target):
            if is_lacking(report, self._catalog.copies(report.target, name)):
                copy = Copy.begun(report.target, report.id, name, self._clock(), report.size or 0)
                self._catalog.keep(copy.model_copy(update={"state": "missed", "finished": self._clock()}))
                bound = logger.bind(target=str(report.target), run=report.id)
                bound.warning("run {} is deleted here and was never copied to {}", report.id, name)

    def missed(self, name: str) -> int:
        """How many runs were deleted before they were copied."""
        missed = self._catalog.page(Copy, states=("missed",), limit=MOST_MISSED)
        return sum(copy.destination == name for copy in missed)

    def kept(self, name: str) -> int:
        """How many copies are kept by the destination alone, by a lock or because it lets nothing go."""
        return self._kept.get(name, 0)

    def newest(self, key: Key, name: str) -> tuple[Copy, Report] | None:
        """The newest good run of a target that a destination has, and no safety backup: that is of what was broken."""
        for copy in self._catalog.copies(key, name):
            report = self._catalog.known(copy.run) if copy.counts else None
            if report and not report.doubt and report.trigger != SAFETY:
                return copy, report
        return None

    def freshness(self, fresh: Freshness) -> tuple[CopyFreshness, ...]:
        """Of the copies of a target, at each of its destinations."""
        return tuple(self._judged(fresh, name) for name in self.copied_to(fresh.key))

    def _judged(self, fresh: Freshness, name: str) -> CopyFreshness:
        copy, report = self.newest(fresh.key, name) or (None, None)
        max_age = self.destinations[name].max_age
        state, reason = judge_copies(fresh.promise, max_age, report, fresh.good, self._clock())
        rehearsed = [each.rehearsed for each in self._catalog.copies(fresh.key, name) if each.rehearsed]
        time = report.time if report else None
        return CopyFreshness(fresh.key, name, state, reason, copy, time, max(rehearsed, default=None))

    def failures(self) -> dict[str, Failure]:
        """By destination: why nothing can be copied there at the moment."""
        lanes = {name: self._lanes[name] for name in self.destinations if name in self._lanes}
        return {name: failure for name, lane in lanes.items() if (failure := lane.failure or lane.doubt)}

    def now(self) -> datetime:
        return self._clock()

    def verified(self, name: str, found: Verified) -> None:
        """Take down what was read again at a destination; a copy that lacks something is none, and made anew."""
        for key in map(Key.parse, self._catalog.keys()):
            for copy in self._catalog.copies(key, name):
                if copy.run in found.damaged and copy.counts:
                    self._catalog.keep(copy.model_copy(update={"state": "damaged"}))
                elif copy.run in found.proved and copy.counts:
                    self._catalog.keep(copy.model_copy(update={"proved": found.proved[copy.run]}))
        for wrong in found.wrong:
            logger.bind(code=NotACopy.code).error("at {}: {}", name, wrong)
        self.wake()

    def heard(self, name: str, found: Heard) -> None:
        """Take down which copies at a destination were rehearsed, and with whose identity."""
        for told in found.rehearsals:
            report = self._catalog.known(told.run)
            for copy in self._catalog.copies(report.target, name) if report else ():
                if copy.run == told.run and copy.counts and (copy.rehearsed or NEVER) < told.rehearsed:
                    self._catalog.keep(copy.model_copy(update={"rehearsed": told.rehearsed}))
        self.tried.take(found.rehearsals)
        for wrong in found.wrong:
            logger.bind(code=NotACopy.code).warning("at {}: {}", name, wrong)

    def stop(self) -> None:
        """End what is under way; what was begun goes on at the next start."""
        self._stopped = True
        for lane in list(self._lanes.values()):
            lane.stop()

    def _hearing(self, name: str) -> Hearing:
        return Hearing(Daily(self._folder / f"{name}-heard.json", self._clock), partial(self.heard, name))

    def _rereading(self, name: str) -> Rereading:
        def settings() -> VerifyCopies:
            copies = self._loaded().settings.copies
            return copies.verify if copies else VerifyCopies()

        daily = Daily(self._folder / f"{name}-read.json", self._clock)
        return Rereading(daily, settings, partial(self.verified, name))

    def _retiring(self, name: str) -> Retiring:
        return Retiring(
            Daily(self._folder / f"{name}-pruned.json", self._clock),
            rules=partial(self._rules_at, name),
            known=self._catalog.known,
            safety=lambda: self._loaded().settings.policy.safety,
            trusted=self._trusted,
            take=partial(self._retired, name),
        )

    def _rules_at(self, name: str, key: Key) -> Rules | None:
        """By which copies go there; None where all stay."""
        if (settings := self.destinations.get(name)) is None or not settings.delete:
            return None
        own = self._rules(key)
        if settings.retention is None:
            return own
        return settings.retention, own[1] if own else ZoneInfo("UTC")

    def _retired(self, name: str, pruned: Pruned) -> None:
        self._kept[name] = pruned.kept
        for run in pruned.runs:
            report = self._catalog.known(run)
            for copy in self._catalog.copies(report.target, name) if report else ():
                if copy.run == run:
                    self._catalog.keep(copy.model_copy(update={"state": "gone"}))
            logger.bind(run=run).info("its copy at {} is deleted, as the rules say", name)

    def _setup(self, name: str) -> Setup:
        loaded, settings = self._loaded(), self.destinations[name]
        copies = loaded.settings.copies
        assert copies is not None
        return Setup(
            name=name,
            kind=settings.kind,
            options=settings.options(loaded.destination_secrets.get(name, {})),
            store=self._store.root,
            ledger=self._folder / f"{name}.sqlite",
            writer=self._writer,
            recipients=copies.recipients,
            signing_key=loaded.signing_key or "",
            signers=copies.signers,
            bandwidth=settings.bandwidth or 0,
        )


def is_lacking(report: Report, copies: Iterable[Copy]) -> bool:
    """Whether a run was never copied, and nothing is known that would keep it from being."""
    return not any(copy.run == report.id and copy.state != "running" for copy in copies)
