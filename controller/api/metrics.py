"""What Prometheus may scrape, computed when it asks; a metric is one `yield`."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from config.problems import Problem
from controller.core.events import Bus, RunEnded
from controller.core.key import Key
from controller.storage.catalog import Catalog
from controller.targets.target import Target
from controller.upkeep.verdict import Status

Known = TypeVar("Known")
Labels = TypeVar("Labels", bound=tuple[str, ...])


class Metrics(Collector):
    """The metrics of one sidecar, in a registry of their own. `backup_runs_total` counts since the process began."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        catalog: Catalog,
        status: Callable[[], Status],
        events: Bus,
        *,
        next_due: Callable[[Target], datetime | None],
        problems: Callable[[], Sequence[Problem]],
        pings: Callable[[], Mapping[tuple[str, str], int]],
        reconnects: Callable[[], int],
        queued: Callable[[], Mapping[str, float]],
        refusals: Callable[[], Mapping[tuple[str], int]],
    ) -> None:
        self._targets, self._catalog, self._status = targets, catalog, status
        self._next_due, self._problems, self._pings, self._reconnects = next_due, problems, pings, reconnects
        self._queued, self._refusals = queued, refusals
        self._runs: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        events.subscribe(RunEnded, self._count)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield from self._of_targets(status)
        yield from self._of_the_sidecar(status)

    def _of_targets(self, status: Status) -> Iterator[Metric]:
        targets = self._targets()
        keys = {str(target.key): target.key for target in targets}
        good = answers(keys, self._catalog.last_good).items()
        drills = answers(keys, lambda key: self._catalog.last_drill(key, good=True)).items()
        yield gauge(
            "backup_last_success_timestamp_seconds",
            "When the last good run ended, in Unix time.",
            {key: run.finished.timestamp() for key, run in good if run.finished},
        )
        yield gauge(
            "backup_run_duration_seconds",
            "How long the last good run took.",
            {key: run.seconds or 0 for key, run in good},
        )
        yield gauge(
            "backup_artifact_bytes",
            "Stored size of the last good run's artifacts.",
            {key: run.size or 0 for key, run in good},
        )
        yield gauge(
            "backup_next_due_timestamp_seconds",
            "When the next run is due, in Unix time.",
            {str(target.key): due.timestamp() for target in targets if (due := self._next_due(target))},
        )
        yield gauge(
            "backup_last_drill_timestamp_seconds",
            "When the last good drill ended, in Unix time.",
            {key: drill.finished.timestamp() for key, drill in drills if drill.finished},
        )
        yield gauge(
            "backup_target_fresh",
            "1 for a target whose last good run is as young as was promised, else 0.",
            {str(verdict.key): verdict.state == "fresh" for verdict in status.targets},  # Also where it has vanished.
        )
        copies = {(str(copy.key), copy.destination): copy for copy in status.copies}
        labels = ["target", "destination"]
        text = "1 for copies of a target at a destination that are as young as was promised, else 0."
        fresh = {names: float(copy.state == "fresh") for names, copy in copies.items()}
        yield filled(GaugeMetricFamily("backup_copy_fresh", text, labels=labels), fresh)
        text = "When the newest run began that a destination has whole, in Unix time."
        times = {names: copy.time.timestamp() for names, copy in copies.items() if copy.time}
        yield filled(GaugeMetricFamily("backup_copy_timestamp_seconds", text, labels=labels), times)
        yield gauge("backup_run_queued_seconds", "How long a run of the target has been queued.", self._queued())
        yield gauge(
            "backup_damaged_runs",
            "Stored runs whose bytes are not what was written.",
            Counter(str(run.target) for run in status.damaged),
        )

    def _of_the_sidecar(self, status: Status) -> Iterator[Metric]:
        text = "1 when nothing is wrong, as `status` says, else 0."
        yield GaugeMetricFamily("backup_safe", text, value=float(status.safe))
        yield filled(
            GaugeMetricFamily(
                "backup_unsafe_reasons",
                "What is wrong, by kind; without a target it is the sidecar's own.",
                labels=["target", "code"],
            ),
            Counter((str(reason.key or ""), reason.code) for reason in status.reasons),
        )
        problems = {("", problem.code) for problem in self._problems()}
        problems |= {(str(target.key), problem.code) for target in self._targets() for problem in target.problems}
        with self._lock:
            runs = dict(self._runs)
        yield filled(
            GaugeMetricFamily(
                "backup_target_problem",
                "1 for each problem; without a target it is the sidecar's own.",
                labels=["target", "code"],
            ),
            dict.fromkeys(problems, 1),
        )
        yield filled(CounterMetricFamily("backup_runs", "Runs that ended.", labels=["target", "outcome"]), runs)
        text = "Pings of dead man's switches; without a target it is the sidecar's own."
        yield filled(CounterMetricFamily("backup_pings", text, labels=["target", "outcome"]), self._pings())
        text = "How often the engine was watched again after it had been away."
        yield CounterMetricFamily("backup_engine_reconnects", text, value=self._reconnects())
        text = "Connections and requests that were refused before anything was read of them, by why."
        yield filled(CounterMetricFamily("backup_api_refused", text, labels=["reason"]), self._refusals())

    def _count(self, event: RunEnded) -> None:
        with self._lock:
            self._runs[str(event.report.target), event.report.state] += 1


def answers(keys: Mapping[str, Key], ask: Callable[[Key], Known | None]) -> dict[str, Known]:
    """Those that there are, by key."""
    return {name: answer for name, key in keys.items() if (answer := ask(key)) is not None}


def gauge(name: str, text: str, values: Mapping[str, float]) -> Metric:
    """Of targets."""
    family = GaugeMetricFamily(name, text, labels=["target"])
    return filled(family, {(key,): value for key, value in values.items()})


def filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Labels, float]) -> Metric:
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family
