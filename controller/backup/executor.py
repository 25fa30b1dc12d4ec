"""Brings a queued run to its report: waits for target and turn, attempts, and attempts again what failed in passing."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from loguru import logger

from config.secrets import Secrets
from controller.backup.attempt import BackupAttempt
from controller.backup.jobs import Job
from controller.backup.orphans import Orphans
from controller.backup.quiesce import Quiescing
from controller.backup.target_run import TargetRun
from controller.core.errors import (
    CommandFailed,
    IncompleteDump,
    SidecarError,
    StreamError,
    TargetDied,
    TargetGone,
    TargetNotReady,
    TargetPaused,
    TimedOut,
    UnknownTarget,
)
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.core.run import Report
from controller.engine.client import Engine
from controller.storage import marks
from controller.storage.store import Store
from controller.targets.survey import Surveyor, hindrance
from controller.targets.target import Target

BACK_OFF_SECONDS = (5.0, 20.0, 60.0)
"""Before the second attempt, the third, and each after that; give or take a fifth."""
HINDRANCE_CHECK_SECONDS = 1.0
"""Between two looks at a target that is paused or restarting."""
AWAY = (TargetDied, TargetGone, TargetNotReady, TargetPaused, UnknownTarget)
"""What passes by itself once an attempt has failed in passing: then the next one waits for the target."""
AT_THE_CONTAINER = (StreamError, TimedOut, CommandFailed, IncompleteDump)
"""What can be looked into only at the container, so that the report names it."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """An attempt whose run is published."""

    manifest: Manifest
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt of which nothing is left in the store."""

    failure: Failure
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes jobs. Holds no state of its own between two runs."""

    engine: Engine
    store: Store
    surveyor: Surveyor
    target: Callable[[Key], Target]
    secrets: Callable[[], Secrets]
    quiescing: Quiescing
    orphans: Orphans
    good: Callable[[Key], Sequence[Report]]
    """The last good runs of a target, newest first."""

    def __call__(self, job: Job) -> Report:
        """Do the whole run, from its start again after a transient failure, and give its final report; never raises."""
        outcome = self._attempt(job)
        while isinstance(outcome, Failed) and (seconds := self._back_off(job, outcome.failure)):
            job.again(outcome.failure)
            outcome = self._attempt(job, seconds)
        report = ended(job, outcome)
        return self._kept(report, outcome.manifest) if isinstance(outcome, Succeeded) else report

    def _kept(self, report: Report, manifest: Manifest) -> Report:
        """With its own mark, and beside the manifest, so that the catalog can be made anew; without that only the
        run's story is poorer.
        """
        try:
            report = report.model_copy(update={"mark": self.store.own_marks.of(manifest)})
            marks.keep(self.store, report)
        except SidecarError as error:
            logger.bind(run=report.id, code=error.code).warning("a run's marks are not kept: {}", error)
        return report

    def _attempt(self, job: Job, wait: float = 0.0) -> Succeeded | Failed:
        """One attempt after so many seconds."""
        redact, warnings, container = self.secrets().redact, list[str](), ""
        try:
            if wait:
                job.wait(wait, "retry")
            with self._entered(job) as target_run:
                redact, container = target_run.secrets.redact, target_run.target.container.name
                attempt = BackupAttempt(target_run, self.store, self.quiescing, self.orphans, self.good(job.key))
                warnings = attempt.warnings
                manifest = attempt.run()
            return Succeeded(manifest, tuple(map(redact, warnings)))
        except SidecarError as error:
            where = f"container {container}" if container and isinstance(error, AT_THE_CONTAINER) else ""
            failure = Failure.of(error, redact, where)
            if container and isinstance(error, TargetGone):  # In the middle, so that it may well come back.
                failure = failure.model_copy(update={"transient": True})
            return Failed(failure, tuple(map(redact, warnings)))
        except Exception as error:  # noqa: BLE001  # The boundary: exactly one report, whatever happens.
            return Failed(Failure.defect("run", error, redact), tuple(map(redact, warnings)))

    def _back_off(self, job: Job, failed: Failure) -> float:
        """Seconds until the next attempt; 0 when there is none, because it could not help or there is no time."""
        attempts = job.report.attempts
        if not failed.transient or job.cancelled or attempts > job.retries:
            return 0.0
        seconds = BACK_OFF_SECONDS[min(attempts, len(BACK_OFF_SECONDS)) - 1]
        seconds *= random.uniform(0.8, 1.2)  # noqa: S311  # Jitter.
        is_in_time = job.deadline is None or time.monotonic() + seconds < job.deadline
        return seconds if is_in_time else 0.0

    @contextmanager
    def _entered(self, job: Job) -> Iterator[TargetRun]:
        """The run's turn, once commands can run in its target, which is asked anew: it may have changed."""
        passing = AWAY if job.report.retried else TargetPaused
        while True:
            with ExitStack() as stack:
                try:
                    self._demand_able(job)
                    stack.enter_context(job.turn())
                    target_run = self._enter(job, stack)
                except passing as error:
                    hindrance = error
                else:
                    yield target_run
                    return
            self._wait_for_target(job, hindrance)

    def _demand_able(self, job: Job) -> None:
        """Raises `TargetPaused` while the target is held up; the run's time begins then."""
        target = self.target(job.key).runnable()
        job.retries = target.settings.retries
        job.update(strategy=target.strategy)
        container = self.engine.inspect(target.container.id)
        if state := hindrance(container, target.settings):
            job.begin(target.settings.timeout.total_seconds())
            hint = f"Let it run again (`docker unpause {container.name}`), or raise backup.timeout."
            message = f"container {container.name} was {state} until the run's deadline"
            raise TargetPaused(message, hint=hint, state=state)

    def _wait_for_target(self, job: Job, hindrance: SidecarError) -> None:
        """Wait a little, without a slot; raises what stands against going on once the run's time is over."""
        left = (job.deadline or 0.0) - time.monotonic()
        if left <= 0:
            raise hindrance
        reason = hindrance.state if isinstance(hindrance, TargetPaused) else "away"
        job.wait(min(HINDRANCE_CHECK_SECONDS, left), reason)

    def _enter(self, job: Job, stack: ExitStack) -> TargetRun:
        target = self.target(job.key).runnable()
        deadline = job.begin(target.settings.timeout.total_seconds())
        survey = stack.enter_context(self.surveyor.surveyed(target))
        self.orphans.end(target)
        secrets = self.secrets().with_also(survey.probed.sensitive)
        return TargetRun(self.engine, job, target, survey, secrets, deadline)


def ended(job: Job, outcome: Succeeded | Failed) -> Report:
    """The final report."""
    seconds = time.monotonic() - job.begun if job.begun else 0.0
    facts = {
        "reason": "",
        "warnings": outcome.warnings,
        "finished": datetime.now(UTC),
        "seconds": round(seconds, 3),
    }
    if isinstance(outcome, Failed):
        state = "cancelled" if job.cancelled else "failed"
        return job.ending(**facts, state=state, failure=outcome.failure)
    published = marks.succeeded(outcome.manifest)
    names = ("state", "bytes", "size", "proof", "artifacts", "suspicious")
    return job.ending(**facts, **{name: getattr(published, name) for name in names})
