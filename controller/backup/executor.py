"""From a queued run to its report: waits for target and turn, attempts, and attempts again what failed in passing.

Apart from the attempt itself, which knows nothing of queue and clock.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loguru import logger

from config.secrets import Secrets
from controller.backup.attempt import Attempt, of_success
from controller.backup.jobs import Job
from controller.backup.orphans import Orphans
from controller.backup.quiesce import Quiescing
from controller.backup.target_run import TargetRun
from controller.core.errors import SidecarError, TargetPaused
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.run import Report
from controller.engine.client import Engine
from controller.storage import marks
from controller.storage.store import Store
from controller.targets.survey import Surveyor, hindrance
from controller.targets.target import Target

BACK_OFF = (5.0, 20.0, 60.0)
"""Seconds before the second attempt, the third, and each after that; give or take a fifth."""
LOOK = 1.0
"""Seconds between two looks at a target that is paused or restarting."""


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
        changes = self._attempt(job)
        while patience := self._patience(job, changes):
            job.again(changes["failure"])
            changes = self._attempt(job, patience)
        seconds = time.monotonic() - job.begun if job.begun else 0.0
        report = job.ending(reason="", **changes, finished=datetime.now(UTC), seconds=round(seconds, 3))
        if report.stored:
            self._keep(report)
        return report

    def _keep(self, report: Report) -> None:
        """Beside the manifest, so that the catalog can be made anew; without it only the run's story is poorer."""
        try:
            marks.keep(self.store, report)
        except SidecarError as error:
            logger.bind(run=report.id, code=error.code).warning("a run's marks are not kept: {}", error)

    def _attempt(self, job: Job, patience: float = 0.0) -> dict[str, Any]:
        """One attempt after so many seconds; gives what it changes in the report."""
        redact, warnings = self.secrets().redact, []
        try:
            if patience:
                job.wait(patience, "retry")
            with self._entered(job) as target_run:
                redact = target_run.secrets.redact
                attempt = Attempt(target_run, self.store, self.quiescing, self.orphans, self.good(job.key))
                warnings = attempt.warnings
                changes = of_success(attempt.run())
        except SidecarError as error:
            changes = {"state": "cancelled" if job.cancelled else "failed", "failure": Failure.of(error, redact)}
        except Exception as error:  # noqa: BLE001  # The boundary: exactly one report, whatever happens.
            changes = {"state": "failed", "failure": Failure.defect("run", error, redact)}
        return changes | {"warnings": tuple(map(redact, warnings))}

    def _patience(self, job: Job, changes: Mapping[str, Any]) -> float:
        """Seconds until the next attempt; 0 when there is none, because it could not help or there is no time."""
        failed: Failure | None = changes.get("failure")
        attempts = job.report.attempts
        if failed is None or not failed.transient or job.cancelled or attempts > job.retries:
            return 0.0
        patience = BACK_OFF[min(attempts, len(BACK_OFF)) - 1] * random.uniform(0.8, 1.2)  # noqa: S311  # Jitter.
        is_in_time = job.deadline is None or time.monotonic() + patience < job.deadline
        return patience if is_in_time else 0.0

    @contextmanager
    def _entered(self, job: Job) -> Iterator[TargetRun]:
        """The run's turn, once commands can run in its target, which is asked anew: it may have changed."""
        while True:
            self._until_able(job)
            with job.turn(), ExitStack() as stack:
                target_run: TargetRun | None = None
                with suppress(TargetPaused):  # While the run waited for its turn.
                    target_run = self._enter(job, stack)
                if target_run:
                    yield target_run
                    return
            job.wait(LOOK, "paused")

    def _until_able(self, job: Job) -> None:
        """Wait, without a slot, while the target is held up; raises `TargetPaused` at the run's deadline."""
        while True:
            settings, _ = (target := self.target(job.key)).asked()
            job.retries = settings.retries
            job.update(strategy=target.strategy)
            container = self.engine.inspect(target.container.id)
            held_up = hindrance(container, settings)
            if held_up is None:
                return
            left = job.begin(settings.timeout.total_seconds()) - time.monotonic()
            if left <= 0:
                hint = f"Let it run again (`docker unpause {container.name}`), or raise backup.timeout."
                raise TargetPaused(f"container {container.name} was {held_up} until the run's deadline", hint=hint)
            job.wait(min(LOOK, left), held_up)

    def _enter(self, job: Job, stack: ExitStack) -> TargetRun:
        target = self.target(job.key)
        settings, options = target.asked()
        deadline = job.begin(settings.timeout.total_seconds())
        survey = stack.enter_context(self.surveyor.entered(target.container.id, settings, options))
        self.orphans.end(target)
        written = target.resolved.sensitive if target.resolved else ()
        secrets = self.secrets().with_also((*survey.sensitive, *written))
        return TargetRun(self.engine, job, target, survey, secrets, deadline)
