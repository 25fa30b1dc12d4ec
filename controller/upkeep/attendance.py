"""Knows whether the orchestrator comes: one that begins no run says nothing of when there should be one.

What counts are its runs and not its answers to heartbeats. They are in the catalog; since when it is waited for lies in
a journal, so that a restart gives it no new time.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from loguru import logger

from config.fields import written
from config.problems import Problem
from config.settings import Orchestrator
from controller.core.errors import StoreError
from controller.core.events import RunBegan
from controller.core.records import Time, Versioned
from controller.storage import journal
from controller.storage.catalog import Catalog
from controller.targets.target import Target
from controller.upkeep.freshness import ORCHESTRATED_MAX_AGE, ago

FILE = "orchestrator.json"
TRIGGERS = ("export", "api")
"""Of the runs that an orchestrator begins."""
NOBODYS = ("disabled", "replica")
HINT = (
    "Let it call `POST /backup/export` or start runs under `/v1`. For one that comes once a week set "
    "`orchestrator.patience: 8d`."
)


class Expected(Versioned):
    """Since when which orchestrator is waited for."""

    url: str
    since: Time


class Attendance:
    """Call `look` every few seconds, from one thread; the rest may be called from any."""

    def __init__(
        self,
        settings: Callable[[], Orchestrator | None],
        catalog: Catalog,
        folder: Path,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings, self._path, self._clock = settings, folder / FILE, clock
        self._expected = journal.read(self._path, Expected)
        self._last: datetime | None = None
        """When it last began a run, if that is not too long ago."""
        self._told_absent = False
        if orchestrator := settings():
            runs = catalog.begun_by(TRIGGERS, clock() - orchestrator.patience)
            self._last = next((run.created for run in runs if run.created <= clock()), None)
        self._expect(clock())

    def run_began(self, event: RunBegan) -> None:
        if event.report.trigger in TRIGGERS:
            self.came()

    def came(self) -> None:
        """It began a run, or fetched one that it had asked for before."""
        self._last = self._clock()

    def look(self) -> None:
        """Say once that it does not come, and once that it does again."""
        now = self._clock()
        self._expect(now)
        if self._settings() and self.is_awaited is self._told_absent:
            self._told_absent = not self._told_absent
            if self._told_absent:
                logger.bind(code="orchestrator-absent").error("orchestrator {}", self._words())
            else:
                logger.info("the orchestrator has begun a run; it says again when targets without a schedule are due")

    @property
    def is_awaited(self) -> bool:
        """Whether there is an orchestrator, and it is still to be expected that it says when targets are due."""
        orchestrator, now = self._settings(), self._clock()
        return orchestrator is not None and now - self._seen(now) <= orchestrator.patience

    @property
    def promise(self) -> timedelta | None:
        """How old a backup may be where the orchestrator says when; None where it does not."""
        orchestrator = self._settings()
        return max(ORCHESTRATED_MAX_AGE, orchestrator.patience) if orchestrator and self.is_awaited else None

    def problems(self, targets: Iterable[Target], place: str) -> Iterable[Problem]:
        """That it does not come, where targets have to be backed up without it."""
        alone = [one for one in targets if one.settings and not one.settings.schedule and one.state not in NOBODYS]
        if alone and self._settings() and not self.is_awaited:
            yield Problem("orchestrator-absent", place, self._words(), HINT)

    def _words(self) -> str:
        orchestrator, now = self._settings(), self._clock()
        patience = written(orchestrator.patience) if orchestrator else ""
        return (
            f"has begun no run for {ago(now - self._seen(now))}, and `orchestrator.patience` is {patience}: until it "
            "does, targets without a schedule of their own are backed up once a night"
        )

    def _seen(self, now: datetime) -> datetime:
        """When it last began a run, or was first waited for."""
        moments = (self._last, self._expected.since if self._expected else None)
        return max((moment for moment in moments if moment and moment <= now), default=now)

    def _expect(self, now: datetime) -> None:
        """Note since when it is waited for; anew for another one, and where the clock has gone back."""
        orchestrator, known = self._settings(), self._expected
        if orchestrator is None or (known and known.url == orchestrator.url and known.since <= now):
            return
        self._expected = Expected(url=orchestrator.url, since=now)
        with suppress(StoreError):  # Then it is waited for from the next start on.
            journal.write(self._path, self._expected)
