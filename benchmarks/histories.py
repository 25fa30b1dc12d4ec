"""What a long history costs: a target whose runs have been counted for years."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks.figures import REPEATS, Figure, of_median
from benchmarks.lab import Lab, Sizes
from config.target import Retention
from controller.catalog import Catalog
from controller.report import Key, Report
from controller.retention import decide

KEY = Key(project="shop", service="db")
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
EVERY = timedelta(minutes=30)
ZONE = ZoneInfo("Europe/Madrid")
POLICY = Retention(keep_last=10, keep_hourly=48, keep_daily=30, keep_weekly=52, keep_monthly=60, keep_yearly=10)
STORED = 100
"""One of so many runs is still stored; the others were pruned."""


def retention(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """Deciding what stays: of as many stored runs, and of a catalog that remembers as many."""
    reports = [report(number) for number in range(sizes.runs)]
    end = BEGIN + sizes.runs * EVERY
    lab.say(f"retention: a decision about {sizes.runs} runs")
    samples = [timed(lambda: decide(POLICY, reports, end, ZONE, trusted=True)) for _ in range(REPEATS)]
    yield of_median("retention", f"decision about {sizes.runs} stored runs", 1.0, samples, "in memory")
    lab.say(f"retention: a catalog of {sizes.runs} runs")
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder,
        closing(Catalog(Path(folder) / "catalog.sqlite")) as catalog,
    ):
        for number, one in enumerate(reports):
            catalog.put(one if number % STORED == 0 else one.model_copy(update={"pruned": end}))
        samples = [timed(lambda: decide(POLICY, catalog.stored(KEY), end, ZONE, trusted=True)) for _ in range(REPEATS)]
    note = f"{sizes.runs // STORED} of them stored"
    yield of_median("retention", f"decision from a catalog of {sizes.runs}", 1.0, samples, note)


def report(number: int) -> Report:
    """A good run."""
    when = BEGIN + number * EVERY
    return Report(
        id=f"{when:%Y%m%dT%H%M%SZ}-{number:08x}", target=KEY, state="succeeded", trigger="schedule", created=when
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
