"""What the sidecar tells of itself to its orchestrator: who it is, where it can be called, how its targets are."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from config.loading import Loaded
from config.problems import Problem
from controller.backup.jobs import Jobs
from controller.core.errors import SidecarError
from controller.core.records import Time, Versioned
from controller.core.run import Report
from controller.targets.target import Target
from controller.upkeep.situation import Situation
from controller.views.schemas import ProblemView, RunView, StatusView, View
from controller.views.targets import TargetSummary, TargetViews


class Greeting(View, Versioned):
    """Who speaks; all of a farewell."""

    id: str
    """ULID; the same for as long as the work folder lives."""
    instance: str
    """Names the process."""
    sent: Time


class Versions(View):
    """Of the program, and of the contract that it speaks."""

    sidecar: str
    contract: str = "v1"


class Lease(View):
    """For how long the orchestrator may take the sidecar to be alive."""

    ttl_seconds: float


class Announcement(Greeting):
    """Everything that the orchestrator needs to know the sidecar by, and to call it."""

    url: str | None
    """None when the sidecar is not on the orchestrator's network."""
    versions: Versions
    lease: Lease
    targets: tuple[TargetSummary, ...]
    running: tuple[RunView, ...]
    ended: tuple[RunView, ...]
    """Runs that have ended since the last announcement was accepted."""
    freshness: StatusView
    problems: tuple[ProblemView, ...]
    """What concerns no single target."""


class Announcer:
    """Makes announcements; safe to use from several threads."""

    def __init__(
        self,
        identity: str,
        instance: str,
        version: str,
        *,
        loaded: Callable[[], Loaded],
        own_address: Callable[[], str | None],
        targets: Callable[[], Sequence[Target]],
        views: TargetViews,
        jobs: Jobs,
        situation: Situation,
        problems: Callable[[], Sequence[Problem]],
    ) -> None:
        self.identity, self._instance, self._version = identity, instance, version
        self._loaded, self._own_address, self._problems = loaded, own_address, problems
        self._targets, self._views, self._jobs, self._situation = targets, views, jobs, situation

    def greeting(self) -> Greeting:
        return Greeting(id=self.identity, instance=self._instance, sent=datetime.now(UTC))

    def announcement(self, ttl_seconds: float, ended: Sequence[Report]) -> Announcement:
        """With a lease for so long, and runs that ended."""
        return Announcement(
            **dict(self.greeting()),
            url=self._url(),
            versions=Versions(sidecar=self._version),
            lease=Lease(ttl_seconds=round(ttl_seconds, 3)),
            targets=tuple(map(self._views.brief, self._targets())),
            running=tuple(RunView.of(job.report) for job in self._jobs.active()),
            ended=tuple(map(RunView.of, ended)),
            freshness=StatusView.of(self._situation.status()),
            problems=tuple(map(ProblemView.of, self._problems())),
        )

    def fingerprint(self) -> str:
        """Changes with what should be announced at once."""
        targets = [(str(target.key), target.state, target.problems) for target in self._targets()]
        return repr((targets, self._situation.status().verdict))

    def _url(self) -> str | None:
        """Where the orchestrator can call."""
        api = self._loaded().settings.api
        if api.advertise:
            return api.advertise
        try:
            address = self._own_address()
        except SidecarError:
            return None
        return f"http://{address}:{api.port}" if address else None
