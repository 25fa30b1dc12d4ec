"""The steps from the lease to the comparison, in their order."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rehearsal.comeback import Comeback, Returned
from rehearsal.compare import Difference, Things, differences, first_difference, shown, unhexed
from rehearsal.containers import Container, Failed, Project, remove_copies
from rehearsal.kinds import KINDS, restore, unpack
from rehearsal.orchestrator import Orchestrator

WRITERS = ("bank-customers", "visitors")
SCHEDULER = 'MYSQL_PWD=$MARIADB_ROOT_PASSWORD exec mariadb --user=root --execute="SET GLOBAL event_scheduler = $0"'
LEASE = 60.0
"""Seconds within which the orchestrator has to know the sidecar with all its targets ready."""

RICHER = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 4711"
BREAKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "row": ("postgres", ("psql", "--quiet", "--username=bank", "--dbname=bank", f"--command={RICHER}")),
    "mode": ("app", ("chmod", "u-s", "/data/modes/4755")),
}
"""Differences to plant: a service, and a command for its restored copy."""
COMEBACK = "comeback"
"""The difference `mode` in what came back from the copies, and not before."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one target fared."""

    target: str
    report: Mapping[str, Any]
    """Of the run, as the sidecar tells it."""
    source: Things
    differences: list[Difference]
    told: list[str]
    """The differences in words."""
    drill: Mapping[str, Any]
    """How the sidecar's own rehearsal of the run ended, as it tells it."""

    @property
    def run(self) -> str:
        return str(self.report["id"])

    @property
    def proof(self) -> str:
        return str(self.report["proof"])

    @property
    def figures(self) -> tuple[str, str, str]:
        """Stored size, duration, and rate of what was read, for people."""
        size, seconds = self.report["size"], self.report["seconds"]
        return (
            f"{size / 2**20:.1f} MiB",
            f"{seconds:.1f} s",
            f"{self.report['bytes'] / 2**20 / max(seconds, 0.001):.0f} MiB/s",
        )

    @property
    def counts(self) -> list[int]:
        """The rows of each table; empty for files."""
        return [int(thing["count(*)"]) for thing in self.source.values() if "count(*)" in thing]

    @property
    def compared(self) -> str:
        """`9 tables, 1,004,120 rows` or `552 paths`."""
        return self.total([self])

    @staticmethod
    def total(rows: "Sequence[Row]") -> str:
        """The same of several targets."""
        counts = [count for row in rows for count in row.counts]
        paths = sum(len(row.source) for row in rows if not row.counts)
        tables = [f"{len(counts)} tables, {sum(counts):,} rows"] if counts else []
        return ", ".join([*tables, *([f"{paths:,} paths"] if paths else [])])

    @property
    def is_good(self) -> bool:
        """Whether it is proved, restored, compared and drilled."""
        return not self.differences and self.proof == "full" and self.drill["state"] == "passed"

    @property
    def drilled(self) -> str:
        """`passed: 14 counts`, or why it did not."""
        failure = self.drill["failure"]
        if failure:
            return f"{self.drill['state']}: {failure['code']}"
        return f"{self.drill['state']}: {len(self.drill['compared'])} counts"


class Rehearsal:
    """What the steps share."""

    def __init__(self, project: Project, folder: Path, broken: str, kit: str, say: Callable[[str], None]) -> None:
        """`kit` is the recovery kit's text."""
        self.project, self.folder, self.broken, self.say = project, folder, broken, say
        self.comeback = Comeback(project, kit, say)
        self.sources = {service: project.container(service) for service in KINDS}
        token = project.compose("exec", "-T", "orchestrator", "cat", "/backups/state/token").decode().strip()
        self.orchestrator = Orchestrator(f"http://{project.address('orchestrator', 5550)}", token)

    def key(self, service: str) -> str:
        return f"{self.project.name}/{service}"

    def run(self) -> tuple[list[Row], Returned | None]:
        """Back up, restore and compare each target, and let the sidecar drill it; then lose the host.

        What has failed until then is told without a comeback, which would remove what there is to look at.
        """
        self.comeback.prepare()
        with self.fresh_containers() as copies:
            self.say("waiting for the sidecar's lease at the orchestrator, with every target ready")
            self.orchestrator.wait_for([self.key(service) for service in KINDS], LEASE)
            with self.writers_stand_still():
                reports = {service: self.backup(service) for service in KINDS}
                self.say("restoring each into a fresh container with plain tools, and comparing it with its source")
                with ThreadPoolExecutor(2) as beside:
                    copied = beside.submit(self.comeback.copied)
                    drilled = beside.submit(lambda: {self.key(each): self.drill(each, reports) for each in reports})
                    rows = self.rows(reports, copies)
                    rows = [replace(row, drill=drilled.result()[row.target]) for row in rows]
                    copied.result()
                returned = self.return_from_copies(rows) if all(row.is_good for row in rows) else None
        return rows, returned

    def return_from_copies(self, rows: Sequence[Row]) -> Returned:
        """While the writers still stand still, so that what comes back can be compared with what was there."""
        self.say(
            "the host is lost: containers, databases, files and the store are removed; the copy is all that is left"
        )
        self.comeback.lose_host(WRITERS)
        self.say("a bare host: up, `adopt` with the recovery kit, `restore --all`")
        sources = {row.target.removeprefix(f"{self.project.name}/"): row.source for row in rows}
        returned = self.comeback.come_back(sources, lambda: self.schedule("OFF"), self.spoil_comeback)
        self.comeback.prepare()  # The old sidecar is gone for good.
        return returned

    def spoil_comeback(self) -> None:
        if self.broken == COMEBACK:
            service, command = BREAKS["mode"]
            self.say(f"BREAK={self.broken}: planting a difference in what came back of {self.key(service)}")
            self.project.container(service).run(*command)

    def schedule(self, state: str) -> None:
        """The events of the shop, which write by themselves."""
        self.project.container("mariadb").run("sh", "-c", SCHEDULER, state)

    def rows(self, reports: Mapping[str, Mapping[str, Any]], copies: Mapping[str, Container]) -> list[Row]:
        """All targets at a time, while the sources are looked at as well."""
        with ThreadPoolExecutor(2 * len(KINDS)) as pool:
            looks = {service: pool.submit(kind.look, self.sources[service]) for service, kind in KINDS.items()}
            rows = [
                pool.submit(self.row, service, reports[service], copies[service], looks[service]) for service in KINDS
            ]
            return [row.result() for row in rows]

    @contextmanager
    def fresh_containers(self) -> Iterator[Mapping[str, Container]]:
        """A throw-away container of each source's own image; gone at the end, whatever happens."""
        try:
            yield {service: KINDS[service].start(source.image()) for service, source in self.sources.items()}
        finally:
            remove_copies()

    @contextmanager
    def writers_stand_still(self) -> Iterator[None]:
        """No write to any source; afterwards everybody writes on."""
        self.say("the app's writers stand still from here on")
        self.project.compose("stop", *WRITERS)
        self.schedule("OFF")
        try:
            yield
        finally:
            self.schedule("ON")
            self.project.compose("up", "--detach", "--no-recreate", "--no-deps", *WRITERS)

    def backup(self, service: str) -> Mapping[str, Any]:
        """Let the orchestrator pull a backup, and put its artifacts into the service's folder; gives the report."""
        self.say(f"the orchestrator pulls a backup of {self.key(service)}")
        pulled = self.orchestrator.pull(self.key(service))
        download, folder = self.folder / f"{service}.download", self.folder / service
        self.project.compose("cp", f"orchestrator:{pulled.path}", str(download))
        listed = json.loads(self.project.compose("exec", "-T", "sidecar", "backup-sidecar", "runs", "--json"))
        report: Mapping[str, Any] = next(report for report in listed if report["id"] == pulled.run)
        folder.mkdir()
        unpack(download, report["artifacts"], folder)
        return report

    def row(self, service: str, report: Mapping[str, Any], copy: Container, look: "Future[Things]") -> Row:
        """Restore a run into a fresh container and compare."""
        kind = KINDS[service]
        copy.wait(*kind.ready, seconds=60)
        restore(report["artifacts"], self.folder / service, copy)
        if self.broken in BREAKS and BREAKS[self.broken][0] == service:
            self.say(f"BREAK={self.broken}: planting a difference in the copy of {self.key(service)}")
            copy.run(*BREAKS[self.broken][1])
        source = look.result()
        if not source:
            raise Failed(f"there is nothing to compare in {self.key(service)}")
        found = differences(source, kind.look(copy))
        told = [
            line for difference in found for line in (str(difference), *self.rows_behind(service, difference, copy))
        ]
        return Row(self.key(service), report, source, found, told, {})

    def drill(self, service: str, reports: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Let the sidecar restore the run into a throw-away container of its own, and compare."""
        self.say(f"meanwhile the sidecar drills {self.key(service)}")
        argv = ("backup-sidecar", "drill", self.key(service), "--run", reports[service]["id"], "--json", "||", "true")
        said = self.project.compose("exec", "-T", "sidecar", "sh", "-c", " ".join(argv))
        found: Mapping[str, Any] = json.loads(said)
        return found

    def rows_behind(self, service: str, difference: Difference, copy: Container) -> Iterator[str]:
        """The first rows, or lines of a definition, that are not the same."""
        if not difference.property.startswith("md5"):
            return
        paths = self.folder / f"{service}.source", self.folder / f"{service}.copy"
        for path, container in zip(paths, (self.sources[service], copy), strict=True):
            KINDS[service].rows(container, difference.name, path)
        with paths[0].open(errors="replace") as source, paths[1].open(errors="replace") as restored:
            pair = first_difference(source, restored)
        for side, line in zip(("source", "copy"), pair or (), strict=False):
            yield f"    the {side} has: {'nothing more' if line is None else shown(unhexed(line.rstrip()))[:200]}"
