"""Which runs make an export: new ones, what a client may claim, and the last good ones of targets that are stopped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.api.claims import Claim
from controller.api.problems import Refused
from controller.backup.jobs import Job, Jobs
from controller.core.errors import Busy, TargetUnsuitable
from controller.core.key import Key
from controller.core.run import SAFETY, Report
from controller.storage.catalog import Catalog
from controller.targets.target import Target
from controller.upkeep.freshness import ORCHESTRATED_MAX_AGE, Freshness, ago


@dataclass(frozen=True, slots=True)
class ExportRuns:
    """The runs of an export."""

    jobs: tuple[Job, ...] = ()
    claimed: tuple[Report, ...] = ()
    older: tuple[Report, ...] = ()
    """Of targets that are stopped."""

    @property
    def reports(self) -> tuple[Report, ...]:
        return (*(job.report for job in self.jobs), *self.claimed, *self.older)


class ExportPlanner:
    """A target's key stands for an export of that target, None for one of all."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        verdicts: Callable[[], Sequence[Freshness]],
        start: Callable[[Key, str, str], Job],
        jobs: Jobs,
        catalog: Catalog,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._targets, self._verdicts, self._start, self._clock = targets, verdicts, start, clock
        self._jobs, self._catalog = jobs, catalog

    def begun(self, key: Key | None, by: str) -> ExportRuns:
        """With a new run of each target, or the one that it has under way. Raises `SidecarError`, `Refused`."""
        keys, older = ([key], ()) if key else self._everything()
        return ExportRuns(jobs=tuple(self._run(each, by) for each in keys), older=older)

    def covered(self, key: Key | None, claim: Claim) -> ExportRuns | None:
        """What a claim gives; None where a target has no such run yet. Raises as `begun` does."""
        keys, older = ([key], ()) if key else self._everything()
        claimed = tuple(report for each in keys if (report := self._newest(each, claim)))
        return ExportRuns(claimed=claimed, older=older) if claimed and len(claimed) == len(keys) else None

    def _run(self, key: Key, by: str) -> Job:
        while True:
            try:
                return self._start(key, "export", by)
            except Busy as busy:
                if job := self._jobs.job(busy.run):
                    return job

    def _newest(self, key: Key, claim: Claim) -> Report | None:
        """The newest good run that a claim covers; where there is none, one that is only suspicious, which is told.

        No safety backup, which is of what a restore has replaced.
        """
        if (good := self._catalog.last_good(key)) and claim.covers(good):
            return good
        doubtful = (run for run in self._catalog.stored(key) if run.time <= self._clock() and not run.damaged)
        return next((run for run in doubtful if run.trigger != SAFETY and claim.covers(run)), None)

    def _everything(self) -> tuple[list[Key], tuple[Report, ...]]:
        """The targets that run, and for those that are stopped the last good run.

        Raises `TargetUnsuitable` where neither can be had: a backup of everything may not lack a target in silence.
        """
        targets = {str(target.key): target for target in self._targets()}
        keys, older, lacking = list[Key](), list[Report](), dict[str, str]()
        for verdict in self._verdicts():
            key = str(verdict.key)
            target = targets.get(key)
            if target and target.state in ("ready", "pending"):
                keys.append(verdict.key)
            elif target and target.state == "problem":
                lacking[key] = f"is broken: {target.reasons}"
            elif verdict.good is None:
                lacking[key] = "is stopped, and there is no good run of it"
            elif self._is_within_promise(verdict, verdict.good):
                older.append(verdict.good)
            else:
                age = ago(self._clock() - verdict.good.time)
                lacking[key] = f"is stopped, and its last good run is {age} old, which is more than was promised"
        if lacking:
            raise lacks(lacking)
        if not keys and not older:
            hint = "Set `backup.enable=true` and `backup.strategy` on a container; `backup-sidecar targets` lists them."
            raise Refused(409, "no-targets", "There is nothing to back up.", hint=hint)
        return keys, tuple(older)

    def _is_within_promise(self, verdict: Freshness, good: Report) -> bool:
        """Where nothing was promised, the promise of an orchestrator's nights stands for it."""
        if verdict.state == "unpromised":
            return self._clock() - good.time <= ORCHESTRATED_MAX_AGE
        return verdict.state == "fresh"


def lacks(reasons: Mapping[str, str]) -> TargetUnsuitable:
    """The refusal of an export that would lack targets; the reasons are by key."""
    detail = "; ".join(f"{key} {reason}" for key, reason in reasons.items())
    forget = ", ".join(f"`backup-sidecar forget {key}`" for key in reasons)
    hint = (
        f"Start or mend it; if it is gone for good, {forget}. `/targets/<key>/backup/export` exports one of the others."
    )
    return TargetUnsuitable(f"the export would not be whole: {detail}", hint=hint, code="unsuitable")
