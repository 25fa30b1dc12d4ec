"""Judges how old a target's last good run is against what was promised, and gives one answer for all; pure.

It says nothing of liveness, nor liveness of it.
"""

from collections import Counter
from collections.abc import Sequence
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

FreshnessState = Literal["fresh", "late", "stale", "never", "unknown"]
"""`late`: a due time has passed without a good run; `stale`: two have, or the last good run is older than `max-age`;
`never`: there is no good run; `unknown`: nothing was promised, or the clock is wrong. Only `fresh` is good."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What may be expected of a target; outlives its container."""

    rule: Rule | None = None
    """When it is backed up; None for never by itself."""
    max_age: timedelta | None = None
    timeout: timedelta = timedelta(hours=1)
    """How long a run may take, so that one under way is no delay."""

    @classmethod
    def of(cls, key: Key, settings: TargetSettings, *, orchestrated: bool) -> "Promise":
        rule = rule_of(key, settings, orchestrated=orchestrated)
        return cls(rule, settings.expect.max_age, settings.timeout)


@dataclass(frozen=True, slots=True)
class Freshness:
    """The verdict on one target, and why, in plain words."""

    key: Key
    state: FreshnessState
    reason: str
    good: Report | None = None
    present: bool = True
    """Whether its container is there."""


@dataclass(frozen=True, slots=True)
class Status:
    """The answer to "am I safe?"."""

    targets: tuple[Freshness, ...]
    damaged: tuple[Report, ...]

    @property
    def safe(self) -> bool:
        """Every target is fresh, there is at least one, and no stored run is damaged."""
        return bool(self.targets) and not self.damaged and all(verdict.state == "fresh" for verdict in self.targets)

    @property
    def verdict(self) -> str:
        if self.safe:
            return f"safe: every target is fresh ({len(self.targets)})"
        counts = Counter(verdict.state for verdict in self.targets)
        parts = [f"{counts[state]} {state}" for state in ORDER if counts[state]]
        parts += [f"{len(self.damaged)} damaged {'run' if len(self.damaged) == 1 else 'runs'}"] if self.damaged else []
        return f"not safe: {', '.join(parts) or 'there is nothing to back up'}"


ORDER: Sequence[FreshnessState] = ("stale", "never", "late", "unknown", "fresh")


def judge(
    promise: Promise | None, good: Report | None, now: datetime, *, under_way: bool
) -> tuple[FreshnessState, str]:
    """State and reason of a target; `promise` is None where its settings are not known."""
    if good is None:
        return "never", "there is no good run"
    age = now - good.time
    if age < -CLOCK_TOLERANCE:
        return "unknown", f"the last good run is of {rfc3339(good.time)}, which is to come: a clock is wrong"
    old = f"the last good run is {ago(age)} old"
    if promise is None or (promise.rule is None and promise.max_age is None):
        return "unknown", f"{old}, and neither a schedule nor expect.max-age says how old it may be"
    if promise.max_age is not None and age > promise.max_age:
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
