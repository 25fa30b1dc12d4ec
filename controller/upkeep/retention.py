"""Decides which runs stay, and why; pure, so that its laws can be tested.

The words are restic's: each `keep-` rule walks from the newest run to the oldest and wants the newest of each of its
periods until it has had its number of them; a run stays if any rule wants it. Periods are those of the target's zone,
and a run's time is that of its id, which no rebuilt catalog changes. What is ours:

- Within a period a run of the schedule is preferred to a younger one by hand, of an export or of a restore: what
  somebody does after an accident must not push out the night before it.
- What somebody has pinned stays. It is counted like any other run, so that a pin changes nothing for the others.
- Good, suspicious and damaged runs are series, and the rules count in each of them alone. So no suspicious run pushes a
  good one out, and what a person should look at stays for as long as a good run of that day would.
- Safety backups, made of what a restore was about to replace, are not counted: what was broken must not push out what
  repaired it. They have a time of their own, and go when it is over.
- `keep-within` counts from the newest run of the best series, and for younger ones of another series from the newest of
  those. So it needs no clock, no bad run moves it on for the good ones, and it holds for whatever is so young. While
  `now` is not trusted, the newest may be of a clock that went ahead: then it counts from the one before that as well.
- `max-age` caps what is merely counted. The newest run of the best series stays in any case.
- A wrong clock deletes nothing: runs of the future stay and count for nothing, so they push none of the others out.
  While `now` is not trusted nothing goes at all beside such a run, and without one nothing goes by its age, which only
  `max-age` and the time of safety backups ask for.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby, islice
from typing import Literal
from zoneinfo import ZoneInfo

from config.fields import written
from config.target import Retention
from controller.core.run import SAFETY, SCHEDULE, Report

Series = Literal["good", "safety", "suspicious", "damaged"]
PERIODS: Mapping[str, Callable[[datetime], object]] = {
    "keep-last": lambda time: object(),  # Each run is a period of its own.
    "keep-hourly": lambda time: (time.toordinal(), time.hour, time.fold),
    "keep-daily": lambda time: time.toordinal(),
    "keep-weekly": lambda time: (time.toordinal() - 1) // 7,  # From Monday on: the first day of all was one.
    "keep-monthly": lambda time: (time.year, time.month),
    "keep-yearly": lambda time: time.year,
}
"""By rule, what names the period that a local time lies in."""
UNLIMITED = "no keep- rule is set"
FUTURE = "clock: it lies in the future"
BESIDE_FUTURE = "clock: a run lies in the future"
UNTRUSTED = "clock: it has jumped, so nothing goes by its age yet"
WITHIN = "keep-within"
PINNED = "pinned"
NEWEST = 3
"""How many of the newest runs are never given up for room."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one stored run."""

    run: Report
    rules: tuple[str, ...] = ()
    """What keeps it; empty when it goes."""
    cause: str = ""
    """Why it goes."""

    @property
    def stays(self) -> bool:
        return bool(self.rules)


def decide(
    policy: Retention, runs: Iterable[Report], now: datetime, zone: ZoneInfo, *, safety: timedelta, trusted: bool
) -> list[Verdict]:
    """A verdict for each of a target's runs that is stored, the newest first; other runs are left out.

    `safety` is how long safety backups stay, and `trusted` tells whether `now` may be believed.
    """
    everything = sorted((run for run in runs if run.stored), key=lambda run: run.id, reverse=True)
    future = [Verdict(run, (FUTURE,)) for run in everything if run.is_future(now)]
    stored = everything[len(future) :]
    if not stored or (future and not trusted):
        return [*future, *(Verdict(run, (BESIDE_FUTURE,)) for run in stored)]
    keeping: dict[str, list[str]] = {run.id: [] for run in stored}
    series: dict[Series, list[Report]] = {"good": [], "safety": [], "suspicious": [], "damaged": []}
    for run in stored:
        series[series_of(run)].append(run)
    best = next(runs[0] for runs in series.values() if runs)
    for members in filter(None, series.values()):
        for rule, run in claims(policy, members, best, zone, trusted=trusted):
            keeping[run.id].append(rule)
    keeping[best.id].append(f"newest {series_of(best)} run")
    unwanted = f"none of {', '.join(words(policy))} keeps it"

    def verdict(run: Report) -> Verdict:
        rules, age, limit = tuple(keeping[run.id]), now - run.time, policy.max_age
        if run.trigger == SAFETY:
            own = f"safety {written(safety)}"
            rules = (own, *rules) if age <= safety else rules
            return Verdict(run, rules) if rules else expired(run, own)
        if not rules:
            return Verdict(run, cause=unwanted)
        if limit is None or age <= limit or not {WITHIN, PINNED}.isdisjoint(rules) or run is best:
            return Verdict(run, rules)
        return expired(run, f"max-age {written(limit)}", rules)

    def expired(run: Report, cause: str, rules: tuple[str, ...] = ()) -> Verdict:
        return Verdict(run, cause=cause) if trusted else Verdict(run, (*rules, UNTRUSTED))

    return [*future, *(verdict(run) for run in stored)]


def spare(verdicts: Sequence[Verdict], zone: ZoneInfo) -> list[Report]:
    """What a target may lose where its next run would not fit, the oldest first; of verdicts that are the newest first.

    It is what `keep-within` alone keeps, but neither a safety backup nor, in any series, the newest run of a day or one
    of the newest three.
    """
    spared, days = list[Report](), set[tuple[Series, date]]()
    counts = Counter[Series]()
    for run, rules in ((verdict.run, verdict.rules) for verdict in verdicts):
        if FUTURE in rules:
            continue
        series = series_of(run)
        day = series, run.time.astimezone(zone).date()
        counts[series] += 1
        if rules == (WITHIN,) and counts[series] > NEWEST and day in days and run.trigger != SAFETY:
            spared.append(run)
        days.add(day)
    return spared[::-1]


def series_of(run: Report) -> Series:
    """Where a stored run is counted."""
    if run.good:
        return "safety" if run.trigger == SAFETY else "good"
    return "damaged" if run.damaged else "suspicious"


def claims(
    policy: Retention, runs: Sequence[Report], best: Report, zone: ZoneInfo, *, trusted: bool
) -> Iterator[tuple[str, Report]]:
    """Which rule wants which of the runs, that are of one series and the newest first; `best` is that of all series."""
    yield from ((PINNED, run) for run in runs if run.pinned)
    if within := policy.keep_within:
        ends = [max(runs[0].time, best.time)]
        if not trusted:
            ends += [run.time for run in runs if run.time < ends[0] - within][:1]
        yield from ((WITHIN, run) for run in runs if any(end - within <= run.time <= end for end in ends))
    counted = [run for run in runs if run.trigger != SAFETY]
    counts = {rule: getattr(policy, rule.replace("-", "_")) for rule in PERIODS}
    if not policy.keeps_within and not any(counts.values()):
        yield from ((UNLIMITED, run) for run in counted)
    times = [run.time.astimezone(zone) for run in counted]
    for rule, count in counts.items():
        if count:
            yield from ((rule, run) for run in islice(one_of_each(PERIODS[rule], counted, times), count))


def one_of_each(
    period: Callable[[datetime], object], runs: Sequence[Report], times: Sequence[datetime]
) -> Iterator[Report]:
    """The run of each period that stands for it, of runs that are the newest first."""
    for _, members in groupby(zip(runs, times, strict=True), key=lambda member: period(member[1])):
        of_period = [run for run, _ in members]
        yield next((run for run in of_period if run.trigger == SCHEDULE), of_period[0])


def words(policy: Retention) -> Iterator[str]:
    """The rules that keep runs, as they are written."""
    if policy.keep_within:
        yield f"{WITHIN} {written(policy.keep_within)}"
    for rule in PERIODS:
        if count := getattr(policy, rule.replace("-", "_")):
            yield f"{rule} {count}"
