"""What the year should have come to, from the policies' words alone; shares no code with what it judges.

Due times are found by walking through the year in half hours and reading the clock on the wall; what stays is found by
turning the pages of a calendar. It is slow, and plain enough to be believed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

HALF_HOUR = timedelta(minutes=30)
SAFETY = timedelta(days=7)
"""How long what a restore has replaced stays."""
UNDELETE = timedelta(hours=48)
"""How long what is deleted can be brought back."""
KINDS = ("good", "safety", "suspicious", "damaged")
"""The best first."""


@dataclass
class Row:
    """One line of a target's history."""

    when: datetime
    state: str
    mark: str = ""
    stored: bool = False
    by: str = "schedule"
    pinned: bool = False
    deleted: datetime | None = None
    """Since when, while it can be brought back."""
    by_rule: bool = False
    """Whether it was a rule that deleted it."""

    def told(self) -> tuple[str, str, str, str]:
        place = "stored" if self.stored else "deleted" if self.deleted else ""
        return (f"{self.when:%Y-%m-%d %H:%M}", self.state, self.mark, f"{place}{' pinned' if self.pinned else ''}")

    def delete(self, now: datetime, *, by_rule: bool) -> None:
        self.stored, self.deleted, self.by_rule = False, now, by_rule

    def undelete(self) -> None:
        self.stored, self.deleted, self.pinned = True, None, self.by_rule


@dataclass
class Plan:
    """One target of the year, in words that need no parser."""

    zone: ZoneInfo
    clocks: tuple[time, ...]
    weekday: int | None = None
    """Monday is 0; None for every day."""
    catch_up: bool = True
    within: timedelta = timedelta(days=2)
    last: int = 0
    days: int = 0
    weeks: int = 0
    months: int = 0
    years: int = 0
    max_age: timedelta | None = None
    rows: list[Row] = field(default_factory=list)

    def due(self, since: datetime, until: datetime) -> list[datetime]:
        """The first half hour at which the wall clock shows the time or, since it skipped it, a later one."""
        found, seen = [], set()
        moment = since - timedelta(days=2)
        while moment <= until:
            wall = moment.astimezone(self.zone)
            for clock in self.clocks:
                if wall.time() >= clock and (wall.date(), clock) not in seen:
                    seen.add((wall.date(), clock))
                    wanted = self.weekday is None or wall.weekday() == self.weekday
                    if wanted and since < moment:
                        found.append(moment)
            moment += HALF_HOUR
        return found

    # --- retention

    def prune(self, now: datetime, *, trusted: bool) -> None:
        """Delete what no word of the policy keeps."""
        everything = [row for row in self.rows if row.stored]
        stored = [row for row in everything if row.when <= now]
        if not stored or (len(stored) < len(everything) and not trusted):
            return
        of_kind = {name: rows for name in KINDS if (rows := [row for row in stored if kind(row) == name])}
        anchor = newest(next(iter(of_kind.values())))
        counted = [row for name, rows in of_kind.items() if name != "safety" for row in self._kept(rows)]
        for row in stored:
            alike = of_kind[kind(row)]
            end = max(anchor.when, newest(alike).when)
            before = [] if trusted else [one.when for one in alike if one.when < end - self.within]
            ends = [end, *([max(before)] if before else [])]
            spared = row is anchor or (self.within and any(one - self.within <= row.when <= one for one in ends))
            limit = SAFETY if kind(row) == "safety" else self.max_age
            too_old = limit is not None and now - row.when > limit and trusted
            wanted = kind(row) == "safety" or any(row is one for one in counted)
            if not (spared or row.pinned or (wanted and not too_old)):
                row.delete(now, by_rule=True)

    def purge(self, now: datetime) -> None:
        """What was deleted long enough ago cannot be brought back any more."""
        for row in self.rows:
            if row.deleted and now - row.deleted >= UNDELETE:
                row.deleted = None

    def _kept(self, rows: list[Row]) -> list[Row]:
        if not rows:
            return []
        kept = sorted(rows, key=lambda row: row.when)[-self.last :] if self.last else []
        for count, page in ((self.days, by_day), (self.weeks, by_week), (self.months, by_month), (self.years, by_year)):
            kept += self._of_calendar(rows, count, page)
        return kept

    def _of_calendar(self, rows: list[Row], count: int, page: Callable[[date], date]) -> Iterable[Row]:
        """Turn the pages back from the newest run to the oldest; take one run of each until there are enough."""
        days = {row.when: row.when.astimezone(self.zone).date() for row in rows}
        current, first, taken = page(max(days.values())), page(min(days.values())), []
        while current >= first and len(taken) < count:
            on_page = [row for row in rows if page(days[row.when]) == current]
            if on_page:
                taken.append(newest([row for row in on_page if row.by == "schedule"] or on_page))
            current = page(current - timedelta(days=1))
        return taken


def newest(rows: Iterable[Row]) -> Row:
    return max(rows, key=lambda row: row.when)


def kind(row: Row) -> str:
    return row.mark if row.mark in KINDS else "good"


def by_day(day: date) -> date:
    return day


def by_week(day: date) -> date:
    """Its Monday."""
    while day.weekday() != 0:
        day -= timedelta(days=1)
    return day


def by_month(day: date) -> date:
    return day.replace(day=1)


def by_year(day: date) -> date:
    return day.replace(month=1, day=1)
