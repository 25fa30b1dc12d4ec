"""Starts what is due and records what was missed; the shell around `schedule`, whose decisions it makes durable.

Up to when each target's due times are decided lies in a journal, so that it survives the process and a rebuilt catalog.
A run is started before that is written: a crash in between repeats a run, and never loses one.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from loguru import logger
from pydantic import Field

from controller.core.errors import SidecarError, Stopping, StoreError, TargetGone, UnknownTarget
from controller.core.events import RunEnded
from controller.core.failure import Failure
from controller.core.key import Key, KeyText
from controller.core.records import Versioned, rfc3339
from controller.core.run import Report
from controller.storage import journal
from controller.targets.target import Target
from controller.upkeep.schedule import MISSED_LIMIT, Decision, Rule, Standing, decide, rule_of

FILE = "schedule.json"
FORGET_AFTER = timedelta(days=90)
"""A target that is not listed for so long counts as new when it comes back."""
WHY_MISSED = "the sidecar or its host was down, or the target was not there"


class Standings(Versioned):
    """What was decided for each target, by key."""

    targets: dict[KeyText, Standing] = Field(default_factory=dict)


class Scheduler:
    """`look` does all that `clock` makes due; call it every second or so. Safe to use from several threads."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        start: Callable[[Key, str], object],
        record: Callable[[Report], None],
        folder: Path,
        *,
        orchestrated: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        """`start` queues a run or raises `SidecarError`; `record` takes the report of a run that never was."""
        self._targets, self._start, self._record = targets, start, record
        self._path, self._orchestrated, self._clock = folder / FILE, orchestrated, clock
        self._standings = (journal.read(self._path, Standings) or Standings()).targets
        self._upcoming: dict[str, tuple[Standing, datetime | None]] = {}
        self._written = True
        self._lock = threading.Lock()

    def next_due(self, target: Target) -> datetime | None:
        """When the target is due next, as of now; None for never."""
        rule, key, now = self._rule(target), str(target.key), self._clock()
        if rule is None:
            return None
        standing, upcoming = self._upcoming.get(key, (self._standings.get(key), None))
        if standing is None or standing.rule != str(rule):
            return rule.next(now)
        return upcoming if upcoming and now < upcoming else rule.next(max(now, standing.decided))

    def run_ended(self, event: RunEnded) -> None:
        """A run by schedule that the end of the sidecar has cut is caught up like one that was missed."""
        report = event.report
        if not (event.cut and report.trigger == "schedule"):  # What `look` itself records is not, and it has the lock.
            return
        with self._lock:
            if standing := self._standings.get(str(report.target)):
                self._standings[str(report.target)] = replace(standing, owed=report.created)
                self._upcoming.pop(str(report.target), None)
                self._write()

    def look(self) -> None:
        """Start and record what has come due since the last look; never raises `SidecarError`."""
        with self._lock:
            self._look()

    def _look(self) -> None:
        now, before = self._clock(), dict(self._standings)
        rules = {str(target.key): (target, rule) for target, rule in self._ruled()}
        for key, (target, rule) in rules.items():
            if not self._is_idle(key, rule, now):
                standing = self._attend(target, rule, now)
                self._standings[key] = standing
                self._upcoming[key] = (standing, rule.next(max(now, standing.decided)))
        self._upcoming = {key: known for key, known in self._upcoming.items() if key in rules}
        gone = [
            key for key in self._standings.keys() - rules.keys() if now - self._standings[key].decided > FORGET_AFTER
        ]
        for key in gone:
            del self._standings[key]
        if self._standings != before or not self._written:
            self._write()

    def _ruled(self) -> Iterator[tuple[Target, Rule]]:
        """The targets that have a schedule; what one with broken labels would have is not known."""
        for target in self._targets():
            if rule := self._rule(target):
                yield target, rule

    def _rule(self, target: Target) -> Rule | None:
        if target.settings is None or target.state == "replica":
            return None
        return rule_of(target.key, target.settings, orchestrated=self._orchestrated())

    def _is_idle(self, key: str, rule: Rule, now: datetime) -> bool:
        """Nothing can have changed since the last look."""
        standing, upcoming = self._upcoming.get(key, (None, None))
        if standing is None or standing.rule != str(rule) or standing.owed:
            return False
        return standing.decided <= now and (upcoming is None or now < upcoming)

    def _attend(self, target: Target, rule: Rule, now: datetime) -> Standing:
        """Decide a target's due times up to now, and act; gives what to remember."""
        assert target.settings is not None
        known, catch_up = self._standings.get(str(target.key)), target.settings.catch_up
        decision = decide(rule, known, now, catch_up=catch_up)
        for report in unattended(target, decision, now):
            self._record(report)
        standing = decision.standing if catch_up else replace(decision.standing, owed=None)
        due = decision.due or standing.owed
        if due is None:
            return standing
        error: SidecarError | None = None
        owed: datetime | None = None
        try:
            self._start(target.key, "schedule")
        except Stopping:
            return known or standing
        except (TargetGone, UnknownTarget) as away:
            error, owed = away, due if catch_up else None  # Until the target is back.
        except SidecarError as refused:
            error = refused
        if error and decision.due:
            self._record(missed(target, due, now, Failure.of(error)))
        return replace(standing, owed=owed)

    def _write(self) -> None:
        try:
            journal.write(self._path, Standings(targets=dict(sorted(self._standings.items()))))
        except StoreError as error:
            if self._written:
                logger.bind(code=error.code).error("what was due is remembered in memory only: {}", error)
            self._written = False
        else:
            self._written = True


def unattended(target: Target, decision: Decision, now: datetime) -> Iterator[Report]:
    """Reports of the due times at which nobody was there, oldest first."""
    for number, due in enumerate(decision.missed):
        earlier = f" More than {MISSED_LIMIT} were missed; the earlier ones are not listed." if decision.more else ""
        message = f"nobody started it: {WHY_MISSED}.{earlier if number == 0 else ''}".rstrip(".")
        hint = "The last of them is caught up once." if decision.due is None and decision.standing.owed else ""
        yield missed(target, due, now, Failure(code="missed", message=message, hint=hint))


def missed(target: Target, due: datetime, now: datetime, failure: Failure) -> Report:
    """The report of a run that never was; its id follows from the due time, so that it is never recorded twice."""
    digest = sha256(f"{target.key} {rfc3339(due)}".encode()).hexdigest()
    return Report(
        id=f"{due:%Y%m%dT%H%M%SZ}-{digest[:8]}",
        target=target.key,
        state="missed",
        trigger="schedule",
        created=due,
        strategy=target.strategy,
        finished=now,
        failure=failure,
    )
