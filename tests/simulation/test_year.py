"""A sidecar that is left alone for a year: real schedule, catalog, store and retention, a clock of the test's own.

Only the stream is played: each run writes a few bytes through the real store. The year has both changes of the clocks
in three zones, outages, a lost catalog, a target that is stopped at night, a failing week, suspicious runs of which one
is accepted, a rotten artifact, a clock that jumps a month ahead and a month back, and people: restores, runs by hand
and exports after accidents, runs that are deleted by mistake and brought back, or not, and such as are pinned. What it
comes to equals, to the run, what `oracle` computes from the policies' words.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from loguru import logger

from config.loading import load
from controller.core.errors import StoreError, TargetGone
from controller.core.events import RunEnded
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.core.run import SAFETY, Report
from controller.storage import marks
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.storage.rebuild import everything
from controller.storage.store import Store
from controller.targets.discovery import find
from controller.targets.scope import Scope
from controller.targets.target import Target
from controller.upkeep.clock_watch import ClockWatch
from controller.upkeep.pruner import Pruner
from controller.upkeep.scheduler import Scheduler
from strategies import discover
from tests.kit.world import listed
from tests.simulation.oracle import HALF_HOUR, Plan, Row

pytestmark = pytest.mark.thorough

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
MONTH = timedelta(days=31)


def at(text: str) -> datetime:
    """`02-10 01:00` of the year, in UTC."""
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


# --- what happens in the year

OUTAGES = ((at("02-10 01:00"), at("02-13 09:30")), (at("11-27 00:00"), at("12-01 07:00")))
BOOTS = tuple(end for _, end in OUTAGES)
CATALOG_LOST = BOOTS[0]
STOPPED = (at("04-20 00:00"), at("04-20 08:00"))  # shop/db
ROTTEN = (at("05-20 12:00"), datetime(2026, 5, 17, tzinfo=UTC).date())  # when it is found, which night of shop/db
FAILING = (at("06-01 00:00"), at("06-08 00:00"))  # shop/db
SUSPICIOUS = (at("07-10 00:00"), at("07-17 00:00"))  # shop/db
ACCEPTED = (at("07-18 12:00"), datetime(2026, 7, 14, tzinfo=UTC).date())
RESTORES = {at(text): name for text, name in (("03-10 10:00", "db"), ("03-10 15:30", "db"), ("08-05 11:00", "web"))}
"""Each stores first what it replaces."""
PEOPLE = {
    at(text): deed
    for text, *deed in (
        *((f"04-02 {hour}:00", "cli", "db") for hour in ("08", "09", "10", "11", "12")),
        ("04-03 09:00", "export", "db"),
        ("04-03 10:00", "cli", "files"),
        ("02-13 15:00", "cli", "db"),
        ("06-20 13:00", "export", "web"),
        ("09-07 09:00", "cli", "log"),
        ("11-26 22:00", "cli", "web"),
        ("12-30 09:00", "export", "db"),
        ("02-09 12:00", "delete", "db", at("02-08 01:30")),  # When it is brought back, the catalog is another one.
        ("02-13 10:30", "undelete", "db", at("02-08 01:30")),
        ("04-11 12:00", "delete", "db", at("04-10 00:30")),
        ("04-12 09:00", "undelete", "db", at("04-10 00:30")),
        ("04-16 12:00", "delete", "db", at("04-15 00:30")),  # Nobody wants it back.
        ("04-30 12:00", "pin", "db", at("04-30 00:30")),
        ("05-04 20:00", "undelete", "files", at("05-03 04:00")),  # A rule had deleted it.
        ("05-20 13:00", "unpin", "files", at("05-03 04:00")),
        ("08-14 12:00", "delete", "web", at("08-12 16:30")),  # Just before the clock is wrong.
        ("12-31 12:00", "unpin", "db", at("04-30 00:30")),
    )
}
"""By when: what somebody does to a target, and to which of its runs."""
AHEAD = (at("08-15 12:00"), at("08-15 14:00"))
BACK = (at("10-20 12:00"), at("10-20 15:00"))
CHECKED = [at(f"{month:02}-28 18:00") for month in range(1, 12)] + [
    *(at("02-13 12:00"), at("05-21 12:00"), at("07-12 12:00"), at("08-15 13:00"), at("08-15 15:00")),
    *(at("03-11 12:00"), at("03-17 12:00"), at("03-18 12:00"), at("08-13 12:00")),
    *(at("04-02 13:00"), at("04-04 12:00"), at("04-06 12:00"), at("04-11 13:00"), at("04-12 12:00"), at("04-17 12:00")),
    *(at("04-19 12:00"), at("05-04 21:00"), at("05-20 14:00"), at("06-21 12:00"), at("09-08 12:00"), at("12-31 18:00")),
    *(at("09-10 12:00"), at("09-20 12:00"), at("10-20 14:00"), at("10-20 16:00"), at("12-01 12:00")),
]

LABELS = {
    "db": {
        "schedule": "30 2 * * *",
        "timezone": "Europe/Madrid",
        "retention.keep-daily": "7",
        "retention.keep-weekly": "5",
        "retention.keep-monthly": "12",
    },
    "web": {
        "schedule": "30 2 * * *",
        "timezone": "Australia/Sydney",
        "retention.keep-daily": "60",
        "retention.keep-weekly": "none",
        "retention.max-age": "20d",
    },
    "files": {
        "schedule": "0 0,12 * * *",
        "timezone": "America/New_York",
        "retention.keep-within": "0s",
        "retention.keep-last": "3",
        "retention.keep-daily": "4",
        "retention.keep-weekly": "none",
    },
    "log": {
        "schedule": "30 4 * * SUN",
        "catch-up": "false",
        "retention.keep-daily": "none",
        "retention.keep-within": "20d",
        "retention.keep-weekly": "6",
        "retention.keep-yearly": "2",
    },
}


def plans() -> dict[str, Plan]:
    """The same, for the oracle."""
    night = (time(2, 30),)
    return {
        "db": Plan(ZoneInfo("Europe/Madrid"), night, days=7, weeks=5, months=12),
        "files": Plan(ZoneInfo("America/New_York"), (time(0), time(12)), within=timedelta(0), last=3, days=4),
        "log": Plan(
            ZoneInfo("UTC"), (time(4, 30),), weekday=6, catch_up=False, within=timedelta(days=20), weeks=6, years=2
        ),
        "web": Plan(ZoneInfo("Australia/Sydney"), night, days=60, max_age=timedelta(days=20)),
    }


def clock(true: datetime) -> datetime:
    """What the sidecar's clock shows."""
    if AHEAD[0] <= true < AHEAD[1]:
        return true + MONTH
    return true - MONTH if BACK[0] <= true < BACK[1] else true


def is_down(true: datetime) -> bool:
    return any(begin <= true < end for begin, end in OUTAGES)


def fate(service: str, true: datetime) -> str:
    """How a run ends that starts now."""
    if service == "db" and FAILING[0] <= true < FAILING[1]:
        return "failed"
    return "suspicious" if service == "db" and SUSPICIOUS[0] <= true < SUSPICIOUS[1] else "good"


def ticks() -> Iterator[datetime]:
    moment = BEGIN
    while moment < END:
        yield moment
        moment += HALF_HOUR


# --- the sidecar


class Sidecar:
    """The parts that matter by night, as `app` puts them together, at a clock that is set from outside."""

    def __init__(self, folder: Path) -> None:
        (folder / "config").mkdir()
        self.loaded = load(folder / "config", {"BACKUP_API_TOKEN": "0123456789abcdef"}, discover().keys())
        self.folder, self.true, self.count = folder, BEGIN, 0
        self.known = list(self.found())
        self.boot()

    def boot(self) -> None:
        work = self.folder / "work"
        self.store, self.catalog = Store(self.folder / "artifacts"), Catalog(work / "catalog.sqlite", self.now)
        self.store.acquire()
        self.pruner = Pruner(
            self.store,
            self.catalog,
            Leases(),
            self.targets,
            ClockWatch(work, self.now, self.steady),
            policy=lambda: self.loaded.settings.policy,
            clock=self.now,
        )
        for deleted, found in everything(self.store):
            assert isinstance(found, Manifest)
            self.catalog.adopt(marks.report(self.store, found, deleted=deleted))
        self.scheduler = Scheduler(
            self.targets, self.start, self.catalog.put, work, orchestrated=lambda: False, clock=self.now
        )

    def halt(self) -> None:
        self.catalog.close()
        self.store.release()

    def live(self, true: datetime) -> None:
        """Everything that the sidecar does at this moment, and what others do to it."""
        self.true = true
        if true in BOOTS:
            self.halt()
            if true == CATALOG_LOST:
                for file in (self.folder / "work").glob("catalog.sqlite*"):
                    file.unlink()
            self.boot()
        if true == ROTTEN[0]:
            self.mark(ROTTEN[1], damaged="its digest is another")
        if true == ACCEPTED[0]:
            self.mark(ACCEPTED[1], accepted=True)
        self.scheduler.look()
        if true in RESTORES:
            self.start(Key(project="shop", service=RESTORES[true]), SAFETY)
        if true in PEOPLE:
            self.obey(*PEOPLE[true])
        self.pruner.look()

    def obey(self, deed: str, service: str, when: datetime | None = None) -> None:
        key = Key(project="shop", service=service)
        if when is None:
            return self.start(key, deed)
        (report,) = (one for one in self.catalog.runs(key, limit=100_000) if one.time == when)
        deeds: dict[str, Callable[[Report], object]] = {
            "delete": self.pruner.delete,
            "undelete": self.pruner.undelete,
            "pin": lambda report: self.pruner.pin(report, "the year's end"),
            "unpin": self.pruner.unpin,
        }
        deeds[deed](report)
        return None

    def now(self) -> datetime:
        return clock(self.true)

    def steady(self) -> float:
        """By a clock that nobody sets."""
        return self.true.timestamp()

    def found(self) -> Iterator[Target]:
        for service, labels in LABELS.items():
            told = {"backup.enable": "true", "backup.commands.backup": "true"}
            told |= {f"backup.{key}": value for key, value in labels.items()}
            yield from find(
                self.loaded, Scope(frozenset({"n1"}), None, None), [listed(service, told)], discover()
            ).values()

    def targets(self) -> list[Target]:
        return self.known

    def start(self, key: Key, trigger: str) -> None:
        """A whole run, in no time."""
        if key.service == "db" and STOPPED[0] <= self.true < STOPPED[1]:
            raise TargetGone("shop/db has no running container", hint="Start it.")
        self.count += 1
        created, end = self.now(), fate(key.service, self.true)
        report = Report(
            id=f"{created:%Y%m%dT%H%M%SZ}-{self.count:08x}",
            target=key,
            state="failed",
            trigger=trigger,
            created=created,
        )
        if end == "failed":
            failed = report.model_copy(update={"failure": Failure(code="command-failed", message="no")})
            self.catalog.put(failed)
            self.pruner.run_ended(RunEnded(failed))
            return
        data = f"run {self.count}".encode()
        with self.store.draft(key, report.id) as draft:
            with draft.open("backup") as file:
                file.write(data)
            manifest = manifest_of(report, data)
            draft.publish(manifest)
        done = {"state": "succeeded", "artifacts": manifest.artifacts, "size": manifest.size}
        report = report.model_copy(update=done | ({"suspicious": ("small",)} if end == "suspicious" else {}))
        marks.keep(self.store, report)
        self.catalog.put(report)
        self.pruner.run_ended(RunEnded(report))

    def mark(self, night: object, **marks: object) -> None:
        """What somebody else finds out about the run of shop/db of a night."""
        zone = ZoneInfo("Europe/Madrid")
        stored = self.catalog.stored(Key(project="shop", service="db"))
        (report,) = (one for one in stored if one.time.astimezone(zone).date() == night)
        self.catalog.put(report.model_copy(update=marks))

    def table(self, service: str) -> list[tuple[str, str, str, str]]:
        """As the oracle's."""
        key = Key(project="shop", service=service)
        return sorted(
            (f"{report.time:%Y-%m-%d %H:%M}", report.state, mark_of(report), place_of(report))
            for report in self.catalog.runs(key, limit=100_000)
        )

    def on_disk(self, *, deleted: bool) -> set[str]:
        found = list(self.store.deleted() if deleted else self.store.manifests())
        assert not [one for one in found if isinstance(one, StoreError)]
        return {one.run for one in found if isinstance(one, Manifest)}


def mark_of(report: Report) -> str:
    if report.state == "missed":
        return report.failure.code if report.failure else ""
    if report.damaged:
        return "damaged"
    if report.trigger == SAFETY:
        return "safety"
    return "accepted" if report.accepted else "suspicious" if report.suspicious else ""


def place_of(report: Report) -> str:
    place = "stored" if report.stored else "deleted" if report.recoverable else ""
    return f"{place}{' pinned' if report.pinned else ''}"


def manifest_of(report: Report, data: bytes) -> Manifest:
    digest = hashlib.sha256(data).hexdigest()
    artifact = Artifact(
        name="backup",
        format="raw",
        compression="none",
        size=len(data),
        sha256=digest,
        plain_size=len(data),
        plain_sha256=digest,
        proof="sealed",
    )
    names = dict.fromkeys(("container", "container_id", "image", "image_id", "engine", "sidecar"), "simulated")
    return Manifest(
        run=report.id,
        target=report.target,
        strategy="command",
        started=report.created,
        finished=report.created,
        proof="sealed",
        artifacts=(artifact,),
        **names,
    )


# --- what should come of it


@dataclass
class Expected:
    """Lives through the same year by the oracle's words."""

    plans: dict[str, Plan]

    def __post_init__(self) -> None:
        # The first due time is the first after the first look; the clock shows nothing beyond a month after the end.
        self.due = {name: set(plan.due(BEGIN, END + MONTH)) for name, plan in self.plans.items()}
        self.steady = self.swept = BEGIN
        """Since when the clock has gone on and somebody has looked; when all targets were pruned last, by the clock."""

    def run(self, name: str, true: datetime, mark: str = "", by: str = "schedule") -> None:
        end = fate(name, true)
        row = Row(clock(true), "failed" if end == "failed" else "succeeded", stored=end != "failed", by=by)
        row.mark = end if end == "suspicious" else mark
        self.plans[name].rows.append(row)
        if row.stored:
            self.prune(name, true)

    def prune(self, name: str, true: datetime) -> None:
        self.plans[name].prune(clock(true), trusted=self.trusts(true))

    def trusts(self, true: datetime) -> bool:
        return true - self.steady >= timedelta(days=1)

    def miss(self, name: str, moments: list[datetime], code: str) -> None:
        self.plans[name].rows += [Row(moment, "missed", code) for moment in moments]

    def tick(self, true: datetime) -> None:
        if true in (*AHEAD, *BACK, *BOOTS):
            self.steady = true
        if true == CATALOG_LOST:
            for plan in self.plans.values():
                plan.rows = [row for row in plan.rows if row.stored or row.deleted]
        for name, plan in self.plans.items():
            self.of_target(name, plan, true)
        if true in PEOPLE:
            self.obey(true, *PEOPLE[true])
        if self.trusts(true):
            for plan in self.plans.values():
                plan.purge(clock(true))
        if true in BOOTS or not timedelta(0) <= clock(true) - self.swept < timedelta(days=1):
            self.swept = clock(true)
            for name in self.plans:
                self.prune(name, true)

    def of_target(self, name: str, plan: Plan, true: datetime) -> None:
        self.after_outage(name, plan, true)
        self.after_jump(name, plan, true)
        is_stopped = name == "db" and STOPPED[0] <= true < STOPPED[1]
        if is_stopped and true in self.due[name]:
            self.miss(name, [true], "target-gone")
        elif not is_stopped and (clock(true) in self.due[name] or (name == "db" and true == STOPPED[1])):
            self.run(name, true)
        if RESTORES.get(true) == name:
            self.run(name, true, "safety", by="restore")
        if name == "db":
            self.marks(plan, true)

    def obey(self, true: datetime, deed: str, name: str, when: datetime | None = None) -> None:
        if when is None:
            self.run(name, true, by=deed)
            return
        (row,) = (one for one in self.plans[name].rows if one.when == when)
        if deed in {"pin", "unpin"}:
            row.pinned = deed == "pin"
        elif deed == "delete":
            row.delete(clock(true), by_rule=False)
        else:
            row.undelete()

    def after_outage(self, name: str, plan: Plan, true: datetime) -> None:
        if true not in BOOTS:
            return
        begin = next(begin for begin, end in OUTAGES if end == true)
        if passed := sorted(one for one in self.due[name] if begin <= one < true):
            self.miss(name, passed, "missed")
            if plan.catch_up and true not in self.due[name]:
                self.run(name, true)

    def after_jump(self, name: str, plan: Plan, true: datetime) -> None:
        if true == AHEAD[0]:
            # A month seems to have passed; the newest 31 of its due times are told, and one run makes up for it.
            self.miss(name, sorted(one for one in self.due[name] if true < one <= clock(true))[-31:], "missed")
            if plan.catch_up:
                self.run(name, true)
        if true == BACK[1] and plan.catch_up:
            # It was lived through before, so nothing is missed; that there was a run today is not sure any more.
            self.run(name, true)

    def marks(self, plan: Plan, true: datetime) -> None:
        for (moment, night), mark in ((ROTTEN, "damaged"), (ACCEPTED, "accepted")):
            if true == moment:
                (row,) = (one for one in plan.rows if one.stored and one.when.astimezone(plan.zone).date() == night)
                row.mark = mark

    def table(self, name: str) -> list[tuple[str, str, str, str]]:
        return sorted(row.told() for row in self.plans[name].rows)


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """In memory where there is such a folder: a year of fsyncs says nothing here."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        logger.disable("controller")
        running = Sidecar(Path(folder))
        yield running
        running.halt()
        logger.enable("controller")


def test_a_year_alone_comes_to_what_the_policies_say(sidecar: Sidecar) -> None:
    expected = Expected(plans())
    for true in ticks():
        if is_down(true):
            continue
        sidecar.live(true)
        expected.tick(true)
        if true in CHECKED:
            compare(sidecar, expected)
    compare(sidecar, expected)


def compare(sidecar: Sidecar, expected: Expected) -> None:
    """Both tables after a last pruning, and the disk."""
    for target in sidecar.targets():
        sidecar.pruner.prune(target)
    for name in LABELS:
        expected.prune(name, sidecar.true)
        assert sidecar.table(name) == expected.table(name), f"{name} at {sidecar.true}"
    stored = {one.id for name in LABELS for one in sidecar.catalog.stored(Key(project="shop", service=name))}
    assert sidecar.on_disk(deleted=False) == stored
    assert sidecar.on_disk(deleted=True) == {one.id for one in sidecar.catalog.deleted()}
