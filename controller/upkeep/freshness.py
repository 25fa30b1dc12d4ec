"""Judges how old a target's last good run is against what was promised; pure.

It says nothing of liveness, nor liveness of it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal

from config.fields import written
from config.target import TargetSettings
from controller.core.key import Key
from controller.core.records import rfc3339
from controller.core.run import CLOCK_TOLERANCE, Report
from controller.upkeep.schedule import GRACE, Rule, rule_of

FreshnessState = Literal["fresh", "late", "stale", "never", "unknown", "unpromised"]
"""`late`: a due time has passed without a good run; `stale`: two have, or the last good run is older than `max-age`;
`never`: there is no good run; `unknown`: the settings cannot be read, or the clock is wrong; `unpromised`: by its own
words nothing was promised. Only `fresh` is good; `unpromised` is nobody's trouble."""
ORCHESTRATED_MAX_AGE = timedelta(hours=36)
"""Promised where an orchestrator says when: a night, and time for a late one."""
NEVER: tuple[FreshnessState, str] = ("never", "there is no good run")
NO_PROMISE = "`schedule: none` without `expect.max-age` promises nothing"


@dataclass(frozen=True, slots=True)
class Promise:
    """What may be expected of a target; outlives its container."""

    rule: Rule | None = None
    """When it is backed up; None for never by itself."""
    max_age: timedelta | None = None
    timeout: timedelta = timedelta(hours=1)
    """How long a run may take, so that one under way is no delay."""

    @classmethod
    def of(cls, key: Key, settings: TargetSettings, *, orchestrated: timedelta | None) -> "Promise":
        """`orchestrated`: the promise where an orchestrator says when; None where none does."""
        rule = rule_of(key, settings, orchestrated=orchestrated is not None)
        usual = orchestrated if settings.schedule is None else None
        return cls(rule, settings.expect.max_age or usual, settings.timeout)

    @property
    def is_empty(self) -> bool:
        """`schedule: none`, and nothing beside it."""
        return self.rule is None and self.max_age is None


@dataclass(frozen=True, slots=True)
class Freshness:
    """The verdict on one target, and why, in plain words."""

    key: Key
    state: FreshnessState
    reason: str
    good: Report | None = None
    present: bool = True
    """Whether its container is there."""
    promise: Promise | None = None
    """None: its settings are not known."""


def judge(
    promise: Promise | None, good: Report | None, now: datetime, *, under_way: bool
) -> tuple[FreshnessState, str]:
    """State and reason of a target; `promise` is None where its settings are not known."""
    if good is None:
        return ("unpromised", f"{NO_PROMISE}; there is no good run") if promise and promise.is_empty else NEVER
    age = now - good.time
    if age < -CLOCK_TOLERANCE:
        return "unknown", f"the last good run is of {rfc3339(good.time)}, which is to come: a clock is wrong"
    old = f"the last good run is {ago(age)} old"
    if promise is None:
        return "unknown", f"{old}, and its settings cannot be read, which say how old it may be"
    if promise.is_empty:
        return "unpromised", f"{NO_PROMISE}; {old}"
    return kept(promise, good, now, old, under_way=under_way)


def kept(promise: Promise, good: Report, now: datetime, old: str, *, under_way: bool) -> tuple[FreshnessState, str]:
    """Whether a promise is kept by the last good run, of which `old` tells the age."""
    if promise.max_age is not None and now - good.time > promise.max_age:
        return "stale", f"{old}, at most {written(promise.max_age)} is allowed"
    patience = max(promise.timeout, GRACE) if under_way else GRACE
    dues = list(islice(promise.rule.after(good.time), 2)) if promise.rule else []
    passed = [due for due in dues if now > due + patience]
    if passed:
        since = f"{old}, and none has been good since one was due {rfc3339(passed[0])}"
        return ("late" if len(passed) == 1 else "stale"), since
    return "fresh", f"{old}, the next is due {rfc3339(dues[0])}" if dues else old


def ago(age: timedelta) -> str:
    """`3d4h`, `5h12m`, `0s`: an age in its two largest units."""
    seconds = max(int(age.total_seconds()), 0)
    unit = next((length for length in (86_400, 3_600, 60) if seconds >= length), 1)
    smaller = {86_400: 3_600, 3_600: 60}.get(unit, unit)
    return written(timedelta(seconds=seconds - seconds % smaller))
