"""Says when a target is due, and what becomes of due times that went by; pure, the moment is always given.

Cron expressions are read as Debian's cron does (cronsim): when the clocks change, a job at a fixed time runs once, for
one in the gap at the gap's end, for one in the doubled hour the first time; what repeats by `*` follows real time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim

from config.cron import MACROS
from config.target import CommonSettings
from controller.core.key import Key
from controller.core.records import Time

NIGHT_MINUTES = 5 * 60
"""Minutes after midnight over which targets without a schedule are spread."""
GRACE = timedelta(minutes=1)
"""How late a run may begin and still be on time: a restart across its due time is no outage."""
CORRECTED = timedelta(hours=1)
"""How far a clock may be set back and not count as one that was wrong; its due times do not come again then."""
MISSED_LIMIT = 31
"""Due times of one outage that are recorded, the newest."""
SEARCH_SPANS = (timedelta(days=1), timedelta(days=31), timedelta(days=3650))
"""Spans that are searched for them, the shortest first, so that `* * * * *` costs no half a million steps."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A schedule with nothing left open: five fields without `H`, and the zone in which they are meant."""

    cron: str
    zone: str

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Every due time later than `moment`, in UTC and in order; none where there is none within 50 years."""
        for due in CronSim(self.cron, moment.astimezone(ZoneInfo(self.zone))):
            if (due := due.astimezone(UTC)) > moment:  # In a doubled hour cronsim starts from its first time.
                yield due

    def next(self, moment: datetime) -> datetime | None:
        """The first due time later than `moment`."""
        return next(self.after(moment), None)

    def __str__(self) -> str:
        return f"{self.cron} {self.zone}"


def rule_of(key: Key, settings: CommonSettings, *, orchestrated: bool) -> Rule | None:
    """What holds for a target, None for never; where `orchestrated` and unset, the orchestrator says when."""
    spread = int.from_bytes(sha256(str(key).encode()).digest()[:8])
    if settings.schedule is None:
        at = spread % NIGHT_MINUTES
        return None if orchestrated else Rule(f"{at % 60} {at // 60} * * *", settings.timezone)
    if settings.schedule == "none":
        return None
    minute, hour, *days = MACROS.get(settings.schedule, settings.schedule).split()
    minute = str(spread % 60) if minute == "H" else minute
    hour = str(spread // 60 % 24) if hour == "H" else hour
    return Rule(" ".join((minute, hour, *days)), settings.timezone)


@dataclass(frozen=True, slots=True)
class Standing:
    """Up to when a target's due times have been decided; outlives the process."""

    rule: str
    decided: Time
    owed: Time | None = None
    """A missed due time that is to be caught up; until the next one comes due, whose run does as well."""
    before: Time | None = None
    """Up to when they had been decided once already, before the clock went back: those are not missed again."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from the time that went by."""

    standing: Standing
    due: datetime | None = None
    """To be started now, on time."""
    missed: tuple[datetime, ...] = ()
    """Due times that passed while nobody was there, the newest of them."""
    more: bool = False
    """There were earlier ones beside `missed`."""


def decide(rule: Rule, known: Standing | None, now: datetime, *, catch_up: bool) -> Decision:
    """What to do about the due times since `known` was written.

    A target that is new, or whose rule is, is first due at the next time. A `known` from beyond the next due time, or
    from far ahead, was written by a clock that is or was wrong: its due times are decided anew from then on, since a
    night that is skipped is worse than one that comes twice. One a little ahead only keeps a run from being repeated
    when the clock is set back.
    """
    if known is None or known.rule != str(rule):
        return Decision(Standing(str(rule), now))
    upcoming = rule.next(now)
    if known.decided > now + CORRECTED or (upcoming is not None and known.decided > upcoming):
        return Decision(replace(known, decided=now, before=max(known.decided, known.before or known.decided)))
    if not (passed := between(rule, known.decided, now)):
        return Decision(known)
    newest = passed[-1]
    standing = Standing(str(rule), newest, before=known.before if known.before and known.before > newest else None)
    if now - newest <= GRACE:
        missed, due = passed[:-1], newest
    else:
        missed, due = passed, None
        standing = replace(standing, owed=newest if catch_up else None)
    missed = [due for due in missed if known.before is None or due > known.before]
    return Decision(standing, due, tuple(missed[-MISSED_LIMIT:]), len(missed) > MISSED_LIMIT)


def between(rule: Rule, since: datetime, now: datetime) -> list[datetime]:
    """Due times later than `since` and not later than `now`; after a long time only the last of them."""
    dues: list[datetime] = []
    for span in SEARCH_SPANS:
        dues = list(takewhile(lambda due: due <= now, rule.after(max(since, now - span))))
        if len(dues) > MISSED_LIMIT + 1 or now - span <= since:
            break
    return dues
