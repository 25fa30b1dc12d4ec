"""Starts the drills that are due by `drill.schedule`."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from controller.core.errors import Busy, Stopping, UnknownRun
from controller.core.key import Key
from controller.drill.drills import Drills
from controller.storage.catalog import Catalog
from controller.targets.target import Target
from controller.upkeep.schedule import rule_of


class DrillSchedule:
    """Call `look` every few seconds, from one thread."""

    def __init__(
        self,
        drills: Drills,
        catalog: Catalog,
        targets: Callable[[], Sequence[Target]],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._drills, self._catalog, self._targets, self._clock = drills, catalog, targets, clock

    def look(self) -> None:
        """Start what is due: later than the last drill, or than the oldest run where there was none.

        So what was missed while nobody was there is made up for once. What cannot be started is no run of its own; the
        target's problems tell why.
        """
        if not self._drills.allowed:
            return
        for target in self._targets():
            if target.state == "ready" and self._is_due(target):
                with suppress(Busy, UnknownRun, Stopping):
                    self._drills.start(target.key, "schedule")

    def _is_due(self, target: Target) -> bool:
        settings = target.settings
        if settings is None or settings.drill.schedule == "none":
            return False
        rule = rule_of(
            target.key, settings.model_copy(update={"schedule": settings.drill.schedule}), orchestrated=False
        )
        since = self._since(target.key)
        due = rule.next(since) if rule and since else None
        return due is not None and due <= self._clock()

    def _since(self, key: Key) -> datetime | None:
        if last := self._catalog.last_drill(key):
            return last.created
        first = self._catalog.first(key)
        return first.created if first else None
