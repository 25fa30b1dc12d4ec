"""What is told of a run at its beginning and at its end; one that is shown as ended has let its target go."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.backup.jobs import Job, Jobs
from controller.core.events import Bus, RunBegan, RunEnded
from controller.core.key import Key
from controller.core.run import Report
from controller.storage.catalog import Catalog

KEY = Key(project="shop", service="db")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with closing(Catalog(tmp_path / "catalog.sqlite")) as opened:
        yield opened


class SlowCatalog(Catalog):
    """On a disk that takes its time."""

    def put(self, report: Report) -> None:
        time.sleep(0.1)
        super().put(report)


def test_a_target_whose_run_is_shown_as_ended_can_be_run_again_at_once(tmp_path: Path) -> None:
    def execute(job: Job) -> Report:
        with job.turn():
            return job.ending(state="succeeded", finished=datetime.now(UTC))

    with closing(SlowCatalog(tmp_path / "catalog.sqlite")) as slow:
        jobs = Jobs(execute, slow, 2, Bus())
        first = jobs.start(KEY, "cli").report.id
        while not jobs.report(first).final:
            time.sleep(0.001)

        assert jobs.start(KEY, "cli").report.id != first
        jobs.stop(grace=5)


def test_a_run_with_several_turns_begins_once_and_ends_once(catalog: Catalog) -> None:
    def execute(job: Job) -> Report:
        for _ in range(3):
            with job.turn():
                pass
        return job.ending(state="failed")

    states: list[str] = []
    events = Bus()
    events.subscribe(RunBegan, lambda event: states.append(event.report.state))
    events.subscribe(RunEnded, lambda event: states.append(event.report.state))
    jobs = Jobs(execute, catalog, 2, events)

    jobs.start(KEY, "cli").future.result(timeout=10)
    jobs.stop()

    assert states == ["running", "failed"]


def test_who_waits_for_a_run_has_its_report_whatever_becomes_of_those_who_hear_of_it(catalog: Catalog) -> None:
    """Also a stop waits for those, so that the last run is told before the process ends."""
    heard: list[str] = []

    def hear(event: RunEnded) -> None:
        time.sleep(0.3)
        heard.append(event.report.state)
        raise ZeroDivisionError

    events = Bus()
    events.subscribe(RunEnded, hear)
    jobs = Jobs(lambda job: job.ending(state="succeeded"), catalog, 2, events)

    assert jobs.start(KEY, "cli").future.result(timeout=10).state == "succeeded"
    jobs.stop()

    assert heard == ["succeeded"]
