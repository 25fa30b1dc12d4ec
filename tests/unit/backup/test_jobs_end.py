"""What is told of a run at its beginning and at its end; one that is shown as ended has let its target go."""

import time
from datetime import UTC, datetime
from pathlib import Path

from controller.backup.jobs import Job, Jobs
from controller.core.key import Key
from controller.core.run import Report
from controller.storage.catalog import Catalog

KEY = Key(project="shop", service="db")


class SlowCatalog(Catalog):
    """On a disk that takes its time."""

    def put(self, report: Report) -> None:
        time.sleep(0.1)
        super().put(report)


def test_a_target_whose_run_is_shown_as_ended_can_be_run_again_at_once(tmp_path: Path) -> None:
    def execute(job: Job) -> Report:
        with job.turn():
            return job.ending(state="succeeded", finished=datetime.now(UTC))

    jobs = Jobs(execute, SlowCatalog(tmp_path / "catalog.sqlite"), 2)
    first = jobs.start(KEY, "cli").report.id
    while not jobs.report(first).final:
        time.sleep(0.001)

    assert jobs.start(KEY, "cli").report.id != first
    jobs.stop(grace=5)


def test_a_run_with_several_turns_begins_once_and_ends_once(tmp_path: Path) -> None:
    def execute(job: Job) -> Report:
        for _ in range(3):
            with job.turn():
                pass
        return job.ending(state="failed")

    told: list[str] = []
    jobs = Jobs(execute, Catalog(tmp_path / "catalog.sqlite"), 2)
    jobs.on_begin(lambda report: told.append(report.state))
    jobs.on_end(lambda report: told.append(report.state))

    jobs.start(KEY, "cli").future.result(timeout=10)

    assert told == ["running", "failed"]
