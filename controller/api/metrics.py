"""What Prometheus may scrape, computed when it asks.

A metric is one function here: its decorator names it and its labels, its docstring is the help, and it yields samples.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from config.problems import Problem
from controller.core.drill import Drill
from controller.core.events import Bus, RunEnded
from controller.core.key import Key
from controller.core.run import Report
from controller.storage.catalog import Catalog
from controller.targets.target import Target
from controller.upkeep.expectations import Expectations
from controller.upkeep.freshness import Status

Samples = Iterator[tuple[tuple[str, ...], float]]
"""Values of the labels, and the value."""
Known = TypeVar("Known")


@dataclass(frozen=True, slots=True)
class Scrape:
    """What is known when Prometheus asks; the maps are by the target's key."""

    targets: Sequence[Target]
    good: Mapping[str, Report]
    """The last good runs."""
    drills: Mapping[str, Drill]
    """The last good drills."""
    due: Mapping[str, datetime]
    status: Status
    problems: Sequence[Problem]
    """What concerns no single target."""
    runs: Mapping[tuple[str, str], int]
    """How many have ended since the process began, by target and outcome."""
    pings: Mapping[tuple[str, str], int]
    reconnects: int


FAMILIES: list[Callable[[Scrape], Metric]] = []


def metric(
    family: type[GaugeMetricFamily | CounterMetricFamily], name: str, *labels: str
) -> Callable[[Callable[[Scrape], Samples]], None]:
    """Make a metric of a function that yields its samples."""

    def register(samples: Callable[[Scrape], Samples]) -> None:
        def filled(scrape: Scrape) -> Metric:
            made = family(name, samples.__doc__ or "", labels=labels)
            for values, value in samples(scrape):
                made.add_metric(values, value)
            return made

        FAMILIES.append(filled)

    return register


@metric(GaugeMetricFamily, "backup_last_success_timestamp_seconds", "target")
def last_success(scrape: Scrape) -> Samples:
    """When the last good run ended, in Unix time."""
    for key, run in scrape.good.items():
        yield (key,), run.finished.timestamp() if run.finished else 0


@metric(GaugeMetricFamily, "backup_run_duration_seconds", "target")
def duration(scrape: Scrape) -> Samples:
    """How long the last good run took."""
    for key, run in scrape.good.items():
        yield (key,), run.seconds or 0


@metric(GaugeMetricFamily, "backup_artifact_bytes", "target")
def size(scrape: Scrape) -> Samples:
    """Stored size of the last good run's artifacts."""
    for key, run in scrape.good.items():
        yield (key,), run.size or 0


@metric(GaugeMetricFamily, "backup_next_due_timestamp_seconds", "target")
def next_due(scrape: Scrape) -> Samples:
    """When the next run is due, in Unix time."""
    for key, due in scrape.due.items():
        yield (key,), due.timestamp()


@metric(GaugeMetricFamily, "backup_last_drill_timestamp_seconds", "target")
def last_drill(scrape: Scrape) -> Samples:
    """When the last good drill ended, in Unix time."""
    for key, drill in scrape.drills.items():
        if drill.finished:
            yield (key,), drill.finished.timestamp()


@metric(GaugeMetricFamily, "backup_target_problem", "target", "code")
def problems(scrape: Scrape) -> Samples:
    """1 for each problem; without a target it is the sidecar's own."""
    codes = {("", problem.code) for problem in scrape.problems}
    codes |= {(str(target.key), problem.code) for target in scrape.targets for problem in target.problems}
    for labels in sorted(codes):
        yield labels, 1


@metric(CounterMetricFamily, "backup_runs", "target", "outcome")
def runs(scrape: Scrape) -> Samples:
    """Runs that ended."""
    yield from sorted(scrape.runs.items())


@metric(CounterMetricFamily, "backup_engine_reconnects")
def reconnects(scrape: Scrape) -> Samples:
    """How often the engine was watched again after it had been away."""
    yield (), scrape.reconnects


@metric(GaugeMetricFamily, "backup_target_fresh", "target")
def fresh(scrape: Scrape) -> Samples:
    """1 for a target whose last good run is as young as was promised, else 0."""
    for verdict in scrape.status.targets:  # Also of targets that have vanished.
        yield (str(verdict.key),), verdict.state == "fresh"


@metric(GaugeMetricFamily, "backup_damaged_runs", "target")
def damaged(scrape: Scrape) -> Samples:
    """Stored runs whose bytes are not what was written."""
    for key, count in Counter(str(run.target) for run in scrape.status.damaged).items():
        yield (key,), count


@metric(CounterMetricFamily, "backup_pings", "target", "outcome")
def pings(scrape: Scrape) -> Samples:
    """Pings of dead man's switches; without a target it is the sidecar's own."""
    yield from sorted(scrape.pings.items())


class Metrics(Collector):
    """The metrics of one sidecar, in a registry of their own. `backup_runs_total` counts since the process began."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        catalog: Catalog,
        expectations: Expectations,
        events: Bus,
        *,
        next_due: Callable[[Key], datetime | None],
        problems: Callable[[], Sequence[Problem]],
        pings: Callable[[], Mapping[tuple[str, str], int]],
        reconnects: Callable[[], int],
    ) -> None:
        self._targets, self._catalog, self._expectations = targets, catalog, expectations
        self._next_due, self._problems, self._pings, self._reconnects = next_due, problems, pings, reconnects
        self._runs: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        events.subscribe(RunEnded, self._count)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        scrape = self._scrape()
        return (family(scrape) for family in FAMILIES)

    def _scrape(self) -> Scrape:
        targets = self._targets()
        keys = {str(target.key): target.key for target in targets}
        with self._lock:
            runs = dict(self._runs)
        return Scrape(
            targets=targets,
            good=of_each(keys, self._catalog.last_good),
            drills=of_each(keys, lambda key: self._catalog.last_drill(key, good=True)),
            due=of_each(keys, self._next_due),
            status=self._expectations.status(),
            problems=self._problems(),
            runs=runs,
            pings=self._pings(),
            reconnects=self._reconnects(),
        )

    def _count(self, event: RunEnded) -> None:
        with self._lock:
            self._runs[str(event.report.target), event.report.state] += 1


def of_each(keys: Mapping[str, Key], ask: Callable[[Key], Known | None]) -> dict[str, Known]:
    """The answers that there are, by key."""
    return {name: answer for name, key in keys.items() if (answer := ask(key)) is not None}
