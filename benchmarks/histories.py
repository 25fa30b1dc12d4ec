"""What a long history costs: a target whose runs have been counted for years."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from benchmarks.figures import Figure, of_median
from benchmarks.lab import Lab, Sizes, wait_for
from benchmarks.sidecar import Sidecar
from config.target import Retention
from controller.app.program import CATALOG
from controller.core.key import Key
from controller.core.manifest import Artifact
from controller.core.run import Report
from controller.storage.catalog import Catalog
from controller.upkeep.retention import Verdict, decide

KEY = Key(project="shop", service="db")
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
EVERY = timedelta(minutes=30)
ZONE = ZoneInfo("Europe/Madrid")
POLICY = Retention(keep_last=10, keep_hourly=48, keep_daily=30, keep_weekly=52, keep_monthly=60, keep_yearly=10)
STORED = 100
"""One of so many runs is still stored; the others were pruned."""
PAGE, PAGES = 50, 20
"""Runs on a page, as the list has them unless it is asked for more; and pages that are fetched."""
WORK = "/var/lib/sidecar/work"


def retention(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """Deciding what stays: of as many stored runs, and of a catalog that remembers as many."""
    reports = [report(number) for number in range(sizes.runs)]
    end = BEGIN + sizes.runs * EVERY
    lab.say(f"retention: a decision about {sizes.runs} runs")
    samples = [timed(lambda: decided(reports, end)) for _ in range(sizes.repeats)]
    yield of_median("retention", f"decision about {sizes.runs} stored runs", 1.0, samples, "in memory")
    lab.say(f"retention: a catalog of {sizes.runs} runs")
    stored = (one if number % STORED == 0 else gone(one) for number, one in enumerate(reports))
    with remembered(stored) as path, closing(Catalog(path)) as catalog:
        samples = [timed(lambda: decided(catalog.stored(KEY), end)) for _ in range(sizes.repeats)]
    note = f"{sizes.runs // STORED} of them stored"
    yield of_median("retention", f"decision from a catalog of {sizes.runs}", 1.0, samples, note)


def pages(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """Fifty runs of the list, through the API of a sidecar that remembers as many."""
    lab.say(f"pages: a catalog of {sizes.runs} runs")
    middle = report(sizes.runs // 2).id
    queries: dict[str, dict[str, str | int]] = {
        "the newest": {},
        "from the middle on": {"before": middle},
        "of one target, from the middle on": {"target": str(KEY), "before": middle},
        "of a rare state": {"state": "failed"},
    }
    sidecar = Sidecar(lab)
    with closing(sidecar), remembered(map(detailed, range(sizes.runs))) as path:
        sidecar.copy(path, WORK)
        sidecar.start()
        wait_for("readiness", sidecar.ready)
        for name, query in queries.items():
            assert len(sidecar.runs(limit=PAGE, **query)) == PAGE
            samples = [timed(partial(sidecar.runs, limit=PAGE, **query)) * 1000 for _ in range(PAGES)]
            usual = median(samples)
            note = f"worst {max(samples):.1f} ms; of {sizes.runs} runs"
            yield Figure("pages", f"page of {PAGE}, {name}", 20.0, "ms", usual, note, samples)


def decided(runs: Iterable[Report], now: datetime) -> list[Verdict]:
    return decide(POLICY, runs, now, ZONE, safety=timedelta(days=7), trusted=True)


@contextmanager
def remembered(reports: Iterable[Report]) -> Iterator[Path]:
    """A catalog's file with these reports, in memory where there is such a place."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        path = Path(folder) / CATALOG
        with closing(Catalog(path)) as catalog:
            for one in reports:
                catalog.put(one)
        yield path


def gone(one: Report) -> Report:
    """The same run, pruned."""
    return one.model_copy(update={"pruned": BEGIN})


def detailed(number: int) -> Report:
    """A pruned run as it is remembered: two databases of twenty tables; one of fifty has failed."""
    counts = {f"rows of public.table{table}": number for table in range(20)}
    artifacts = tuple(
        Artifact(
            name=f"{name}.pgdump.zst",
            format="pg_custom",
            compression="zstd",
            size=number,
            sha256="0" * 64,
            plain_size=number,
            plain_sha256="0" * 64,
            proof="full",
            counts=counts,
        )
        for name in ("shop", "ledger")
    )
    state = "failed" if number % PAGE == 0 else "succeeded"
    return gone(report(number)).model_copy(update={"artifacts": artifacts, "state": state})


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
