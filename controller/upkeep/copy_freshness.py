"""Judges how old a target's newest copy at a destination is against what was promised; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from config.fields import written
from controller.core.copy import Copy
from controller.core.key import Key
from controller.core.run import Report
from controller.upkeep.freshness import FreshnessState, Promise, ago, judge

PATIENCE = timedelta(hours=24)
"""How much later than a run its copy may be, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class CopyFreshness:
    """The verdict on the copies of one target at one destination, and why."""

    key: Key
    destination: str
    state: FreshnessState
    reason: str
    copy: Copy | None = None
    """The newest that counts."""
    time: datetime | None = None
    """Of its run."""
    rehearsed: datetime | None = None
    """When somebody has last decrypted a copy of the target there."""


def judge_copies(
    promise: Promise | None,
    max_age: timedelta | None,
    copied: Report | None,
    good: Report | None,
    now: datetime,
) -> tuple[FreshnessState, str]:
    """State and reason; `copied` is the newest good run that the destination has, `good` the newest of all.

    `max_age` is the destination's; None for what the target promises, and a day more.
    """
    if copied is None:
        if good is None:
            is_promised = promise is not None and not promise.is_empty
            return ("never" if is_promised else "unpromised"), "there is no good run to copy"
        return "never", "no good run was ever copied there"
    age = now - copied.time
    old = f"the newest copied run is {ago(age)} old"
    if max_age is not None and age > max_age:
        return "stale", f"{old}, at most {written(max_age)} is allowed"
    if good and good.id > copied.id and now - good.ended > PATIENCE:
        return "late", f"{old}, and run {good.id} is not there yet"
    if max_age is None and promise is not None and age > PATIENCE:
        state, _ = judge(promise, copied, now - PATIENCE, under_way=False)
        if state in ("late", "stale"):
            return state, f"{old}, which is more than a day later than was promised for runs"
    return "fresh", old
