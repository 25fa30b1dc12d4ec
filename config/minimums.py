"""Compares settings with the least that the operator's policy asks: no schedule too dense, no retention too thin."""

from collections.abc import Iterator
from dataclasses import dataclass

from config.cron import shortest_interval
from config.fields import written
from config.layers import Path
from config.settings import Policy
from config.target import Retention, TargetSettings


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A setting that stays below the policy."""

    path: Path
    """Of the setting: `("retention", "max-age")`."""
    policy: str
    """Key of the policy: `min-max-age`."""
    message: str
    hint: str


def shortfalls(settings: TargetSettings, policy: Policy) -> Iterator[Shortfall]:
    """Everything in a target's settings that is below what the policy asks for."""
    least = written(policy.min_interval)
    for path, schedule in ((("schedule",), settings.schedule), (("drill", "schedule"), settings.drill.schedule)):
        gap = shortest_interval(schedule or "none")
        if gap < policy.min_interval:
            message = f"comes due every {written(gap)}, more often than every {least}"
            hint = f"Write one that is at least {least} apart, such as `H * * * *`."
            yield Shortfall(path, "min-interval", message, hint)
    kept = most_kept(settings.retention)
    if kept < policy.min_keep:
        message = f"keeps {kept or 'none'} of the runs, fewer than {policy.min_keep}"
        hint = f"Set one of the `keep-*` to {policy.min_keep} or more."
        yield Shortfall(("retention",), "min-keep", message, hint)
    age = settings.retention.max_age
    if age is not None and policy.min_max_age is not None and age < policy.min_max_age:
        least = written(policy.min_max_age)
        message = f"drops what is older than {written(age)}, sooner than {least}"
        yield Shortfall(("retention", "max-age"), "min-max-age", message, f"Write {least} or more.")


def most_kept(retention: Retention) -> int:
    """How many runs the largest rule keeps; together they may keep more, but need not, since rules overlap.

    `keep-within` is sure of one, the newest.
    """
    counts = retention.model_dump(exclude={"keep_within", "max_age"}, exclude_none=True).values()
    return max(counts, default=int(retention.keeps_within))
