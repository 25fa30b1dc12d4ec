"""What Prometheus may scrape; apart, because it is computed when asked for, from what catalog and targets know."""

import threading
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from controller.core.events import RunEnded
from controller.views.facade import Sidecar


class Metrics(Collector):
    """The metrics of one sidecar, in a registry of their own. `backup_runs_total` counts since the process began."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._runs: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        sidecar.events.subscribe(RunEnded, self._count)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Gauges of each target's last good run, next one and problems, and the counter of runs."""
        success = gauge("backup_last_success_timestamp_seconds", "When the last good run ended, in Unix time.")
        duration = gauge("backup_run_duration_seconds", "How long the last good run took.")
        size = gauge("backup_artifact_bytes", "Stored size of the last good run's artifacts.")
        due = gauge("backup_next_due_timestamp_seconds", "When the next run is due, in Unix time.")
        drilled = gauge("backup_last_drill_timestamp_seconds", "When the last good drill ended, in Unix time.")
        for target in self._sidecar.targets():
            if (drill := self._sidecar.drills.last_good(target.key)) and drill.finished:
                drilled.add_metric([str(target.key)], drill.finished.timestamp())
            if good := self._sidecar.catalog.last_good(target.key):
                labels = [str(target.key)]
                success.add_metric(labels, good.finished.timestamp() if good.finished else 0)
                duration.add_metric(labels, good.seconds or 0)
                size.add_metric(labels, good.size or 0)
            if moment := self._sidecar.next_due(target.key):
                due.add_metric([str(target.key)], moment.timestamp())
        yield from (success, duration, size, due, drilled, self._problems(), self._counted(), self._reconnects())
        yield from (*self._freshness(), self._pinged())

    def _freshness(self) -> Iterator[Metric]:
        """Also of targets that have vanished."""
        status = self._sidecar.expectations.status()
        fresh = gauge("backup_target_fresh", "1 for a target whose last good run is as young as was promised, else 0.")
        for one in status.targets:
            fresh.add_metric([str(one.key)], one.state == "fresh")
        damaged = gauge("backup_damaged_runs", "Stored runs whose bytes are not what was written.")
        for key, count in Counter(str(run.target) for run in status.damaged).items():
            damaged.add_metric([key], count)
        yield from (fresh, damaged)

    def _problems(self) -> Metric:
        found = {("", problem.code) for problem in self._sidecar.problems}
        found |= {(str(target.key), problem.code) for target in self._sidecar.targets() for problem in target.problems}
        family = gauge("backup_target_problem", "1 for each problem; without a target it is the sidecar's own.", "code")
        for labels in sorted(found):
            family.add_metric(labels, 1)
        return family

    def _counted(self) -> Metric:
        family = CounterMetricFamily("backup_runs", "Runs that ended.", labels=["target", "outcome"])
        with self._lock:
            for labels, count in sorted(self._runs.items()):
                family.add_metric(labels, count)
        return family

    def _pinged(self) -> Metric:
        text = "Pings of dead man's switches; without a target it is the sidecar's own."
        family = CounterMetricFamily("backup_pings", text, labels=["target", "outcome"])
        for labels, count in sorted(self._sidecar.ping_counts().items()):
            family.add_metric(labels, count)
        return family

    def _reconnects(self) -> Metric:
        text = "How often the engine was watched again after it had been away."
        return CounterMetricFamily("backup_engine_reconnects", text, value=self._sidecar.reconnects)

    def _count(self, event: RunEnded) -> None:
        with self._lock:
            self._runs[str(event.report.target), event.report.state] += 1


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """With the label `target` before others."""
    return GaugeMetricFamily(name, text, labels=["target", *labels])
