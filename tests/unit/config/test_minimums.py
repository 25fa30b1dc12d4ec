"""The operator's minimums: how dense a schedule may be, how thin a retention."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as some

from config.cron import shortest_interval
from config.minimums import most_kept, shortfalls
from config.settings import Policy
from config.target import Retention, TargetSettings


@pytest.mark.parametrize(
    ("schedule", "interval"),
    [
        ("* * * * *", timedelta(minutes=1)),
        ("*/5 * * * *", timedelta(minutes=5)),
        ("0,59 0,23 * * *", timedelta(minutes=1)),
        ("59 23 * * *", timedelta(days=1)),
        ("0 3 1,2 * *", timedelta(days=1)),
        ("H H * * 0", timedelta(days=7)),
        ("0 3 29 2 *", timedelta.max),
        ("@hourly", timedelta(hours=1)),
        ("@weekly", timedelta(days=7)),
        ("@monthly", timedelta.max),
        ("none", timedelta.max),
    ],
)
def test_the_shortest_interval_of_a_schedule(schedule: str, interval: timedelta) -> None:
    assert shortest_interval(schedule) == interval


@given(some.integers(0, 59), some.integers(1, 59), some.integers(0, 23), some.sampled_from(["*", "1", "1-5"]))
def test_no_two_runs_are_closer_than_the_shortest_interval(minute: int, step: int, hour: int, weekday: str) -> None:
    schedule = f"{minute}-59/{step} {hour},23 * * {weekday}"
    due = CronSim(schedule, datetime(2025, 2, 3, tzinfo=UTC))
    times = [next(due) for _ in range(60)]
    assert all(later - earlier >= shortest_interval(schedule) for earlier, later in pairwise(times))


@pytest.mark.parametrize(
    ("settings", "policy", "path"),
    [
        ({"schedule": "*/4 * * * *"}, {}, ("schedule",)),
        ({"drill": {"schedule": "* * * * *"}}, {}, ("drill", "schedule")),
        ({"schedule": "0 * * * *"}, {"min-interval": "1d"}, ("schedule",)),
        ({"retention": {"keep-daily": "none", "keep-weekly": "none"}}, {}, ("retention",)),
        ({"retention": {"keep-daily": 2, "keep-weekly": 2}}, {"min-keep": 3}, ("retention",)),
        ({"retention": {"max-age": "6d"}}, {"min-max-age": "1w"}, ("retention", "max-age")),
    ],
)
def test_what_is_below_the_policy_is_named(settings: dict, policy: dict, path: tuple[str, ...]) -> None:  # type: ignore[type-arg]
    (shortfall,) = shortfalls(TargetSettings.model_validate(settings), Policy.model_validate(policy))
    assert shortfall.path == path
    assert shortfall.hint


def test_the_defaults_are_above_the_minimums() -> None:
    assert list(shortfalls(TargetSettings(), Policy())) == []


@pytest.mark.parametrize("settings", [{"schedule": "*/5 * * * *"}, {"retention": {"max-age": "1s"}}])
def test_what_is_just_enough_is_no_problem(settings: dict[str, object]) -> None:
    assert list(shortfalls(TargetSettings.model_validate(settings), Policy())) == []


def test_the_largest_rule_counts() -> None:
    assert most_kept(Retention(keep_daily=7, keep_last=30)) == 30


def test_keep_within_alone_keeps_one_run_at_least_where_somebody_has_set_it() -> None:
    none = {"keep-daily": "none", "keep-weekly": "none"}
    kept = [
        most_kept(Retention.model_validate(none | more)) for more in ({"keep-within": "1h"}, {"keep-within": "0s"}, {})
    ]
    assert kept == [1, 0, 0]
