"""Gathers what the verdict is made of: promises, runs, restores, the room in the store, what the self-checks find."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from config.problems import Problem
from config.secrets import Secrets
from config.target import TargetSettings
from controller.backup.jobs import Jobs
from controller.core.errors import StoreError
from controller.core.key import Key
from controller.storage.catalog import Catalog
from controller.storage.room import room_for
from controller.storage.store import Store
from controller.targets.target import Target
from controller.upkeep.copy_freshness import CopyFreshness
from controller.upkeep.expectations import Expectations
from controller.upkeep.freshness import Freshness
from controller.upkeep.schedule import rule_of
from controller.upkeep.verdict import Pending, SidecarFacts, Status, TargetFacts, judged


class Situation:
    """To be asked often, and from any thread."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        expectations: Expectations,
        catalog: Catalog,
        jobs: Jobs,
        store: Store,
        *,
        secrets: Callable[[], Secrets],
        problems: Callable[[], Sequence[Problem]],
        watching: Callable[[], bool],
        dead: Callable[[], Sequence[str]],
        may_drill: Callable[[], bool],
        may_idle: Callable[[], bool],
        copies: Callable[[Freshness], tuple[CopyFreshness, ...]],
        clock: Callable[[], datetime],
    ) -> None:
        """`problems` are the sidecar's own; `dead` names the parts of the program that have ended.

        `may_idle` tells whether it is right that there is nothing to back up; `copies` judges those of a target.
        """
        self._targets, self._expectations, self._catalog = targets, expectations, catalog
        self._jobs, self._store, self._secrets = jobs, store, secrets
        self._problems, self._watching, self._dead = problems, watching, dead
        self._may_drill, self._may_idle, self._copies, self._clock = may_drill, may_idle, copies, clock

    def status(self) -> Status:
        """The verdict of this moment."""
        targets, fresh = {str(target.key): target for target in self._targets()}, self._expectations.all()
        facts = [self._of_target(one, targets.get(str(one.key))) for one in fresh]
        return judged(facts, self._catalog.damaged(), self._of_sidecar(fresh))

    def _of_target(self, fresh: Freshness, target: Target | None) -> TargetFacts:
        facts = TargetFacts(
            fresh,
            last=self._catalog.last_ended(fresh.key),
            pending=self._pending(fresh.key),
            restore=self._jobs.holder(fresh.key),
            copies=self._copies(fresh),
            allowed=self._allowed(fresh),
        )
        if target is None:
            return facts
        facts = replace(facts, problems=tuple(self._redacted(target)))
        if (settings := target.settings) is None:
            return facts
        return replace(facts, timeout=settings.timeout, idle_schedules=tuple(self._idle(target.key, settings)))

    def _redacted(self, target: Target) -> Iterable[Problem]:
        """A target's problems without secrets."""
        redact = self._secrets().with_also(target.sensitive).redact
        for problem in target.problems:
            yield replace(
                problem, place=redact(problem.place), message=redact(problem.message), hint=redact(problem.hint)
            )

    def _idle(self, key: Key, settings: TargetSettings) -> Iterable[str]:
        """The settings of schedules by which nothing will ever start."""
        rule = rule_of(key, settings, orchestrated=True)
        if rule and rule.next(self._clock()) is None:
            yield "schedule"
        if settings.drill.schedule == "none":
            return
        drills = rule_of(key, settings.model_copy(update={"schedule": settings.drill.schedule}), orchestrated=True)
        if not self._may_drill() or drills is None or drills.next(self._clock()) is None:
            yield "drill.schedule"

    def _pending(self, key: Key) -> Pending | None:
        if (job := self._jobs.of_target(key)) is None:
            return None
        report, deadline = job.report, job.deadline
        is_running = report.state == "running" and deadline is not None
        overdue = timedelta(seconds=time.monotonic() - deadline) if is_running and deadline else timedelta(0)
        return Pending(report.id, report.reason, self._clock() - report.created, overdue)

    def _allowed(self, fresh: Freshness) -> int | None:
        """Bytes that a target's next run may have, where those are too few."""
        if not is_expected(fresh) or fresh.good is None:
            return None
        return self._store.room.allowed_too_little(fresh.key, fresh.good.size or 0)

    def _of_sidecar(self, fresh: Sequence[Freshness]) -> SidecarFacts:
        sizes = [one.good.size for one in fresh if one.good and one.good.size and is_expected(one)]
        return SidecarFacts(
            problems=tuple(self._problems()),
            dead=tuple(self._dead()),
            watching=self._watching(),
            needed=sum(map(room_for, sizes)),
            free=self._free(),
            may_idle=self._may_idle(),
        )

    def _free(self) -> int | None:
        """Bytes that the store can take, with those of runs that go where room is needed."""
        try:
            return self._store.free()
        except StoreError:  # Which one of the self-checks tells.
            return None


def is_expected(fresh: Freshness) -> bool:
    """Whether another run of a target will come."""
    return fresh.present and fresh.state != "unpromised"
