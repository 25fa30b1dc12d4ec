"""When targets are due: in real zones of both hemispheres, after outages, and under a clock that is wrong."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from config.target import CommonSettings
from controller.core.key import Key
from controller.upkeep.schedule import GRACE, MISSED_LIMIT, Rule, Standing, decide, rule_of

ZONES = (
    *("UTC", "Europe/Madrid", "Europe/London", "America/New_York", "Asia/Kolkata", "Asia/Beirut", "Africa/Cairo"),
    *("America/Havana", "America/Santiago", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland"),
)
"""Changes at 01, 02 and 03 o'clock and at midnight, by an hour and by half an hour, in both hemispheres; and none."""
KEY = Key(project="shop", service="db")
zones = some.sampled_from(ZONES)
moments = some.integers(0, 9 * 365 * 86_400).map(
    lambda later: datetime(2021, 1, 1, tzinfo=UTC) + timedelta(seconds=later)
)
clock_times = some.tuples(some.integers(0, 59), some.integers(0, 23))
crons = some.one_of(
    clock_times.map(lambda at: f"{at[0]} {at[1]} * * *"),
    some.sampled_from(("*/5 * * * *", "0 * * * *", "*/30 2 * * *", "7 1,2,3 * * *", "0 0 * * 0", "30 2 1 * *")),
)
EVERY_DAY, EVERY_MINUTE = Rule("0 3 * * *", "UTC"), Rule("* * * * *", "UTC")


def at(text: str) -> datetime:
    """`2026-03-29T03:00` in UTC, unless it names another offset."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def local(rule: Rule, since: str, count: int) -> list[str]:
    """The next due times as a clock on the wall there shows them, with its offset."""
    zone = ZoneInfo(rule.zone)
    return [f"{due.astimezone(zone):%d %H:%M %z}" for due in islice(rule.after(at(since)), count)]


# --- due times


@given(crons, zones, moments)
def test_due_times_strictly_increase_and_are_later_than_asked(cron: str, zone: str, moment: datetime) -> None:
    found = [moment, *islice(Rule(cron, zone).after(moment), 12)]
    assert all(earlier < later for earlier, later in pairwise(found))


@given(crons, zones, moments, some.timedeltas(timedelta(0), timedelta(hours=3)))
def test_due_times_do_not_depend_on_when_one_asks(cron: str, zone: str, moment: datetime, wait: timedelta) -> None:
    rule = Rule(cron, zone)
    seen_before = [due for due in islice(rule.after(moment), 40) if due > moment + wait]
    assert list(islice(rule.after(moment + wait), len(seen_before))) == seen_before


@given(clock_times, zones, some.integers(2021, 2029))
def test_a_daily_schedule_is_due_exactly_once_on_every_local_day(clock: tuple[int, int], zone: str, year: int) -> None:
    minute, hour = clock
    begin, end = (datetime(one, 1, 1, tzinfo=ZoneInfo(zone)) for one in (year, year + 1))
    rule = Rule(f"{minute} {hour} * * *", zone)

    due = takewhile(lambda moment: moment < end, rule.after(begin - timedelta(seconds=1)))

    days = [moment.astimezone(ZoneInfo(zone)).date() for moment in due]
    assert days == [date(year, 1, 1) + timedelta(days=n) for n in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)]


@pytest.mark.parametrize(
    ("zone", "since", "nights"),
    [
        ("Europe/Madrid", "2026-03-27T12:00", ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]),
        ("Europe/Madrid", "2026-10-23T12:00", ["24 02:30 +0200", "25 02:30 +0200", "26 02:30 +0100"]),
        ("Australia/Sydney", "2026-10-02T06:00", ["03 02:30 +1000", "04 03:00 +1100", "05 02:30 +1100"]),
        ("Australia/Sydney", "2026-04-03T06:00", ["04 02:30 +1100", "05 02:30 +1100", "06 02:30 +1000"]),
    ],
)
def test_a_night_is_neither_doubled_nor_skipped_when_the_clocks_change(
    zone: str, since: str, nights: list[str]
) -> None:
    assert local(Rule("30 2 * * *", zone), since, 3) == nights


def test_what_repeats_by_the_hour_follows_the_time_that_passes() -> None:
    hourly = Rule("0 * * * *", "Europe/Madrid")
    assert local(hourly, "2026-10-25T00:30+02:00", 4) == [
        *("25 01:00 +0200", "25 02:00 +0200"),
        *("25 02:00 +0100", "25 03:00 +0100"),
    ]


def test_in_the_doubled_hour_the_next_night_is_that_of_the_next_day() -> None:
    assert local(Rule("30 2 * * *", "Europe/Madrid"), "2026-10-25T02:10+01:00", 1) == ["26 02:30 +0100"]


# --- what a schedule means for a target


def rule(schedule: str | None, key: Key = KEY, *, orchestrated: bool = False) -> Rule | None:
    return rule_of(key, CommonSettings(schedule=schedule, timezone="Europe/Madrid"), orchestrated=orchestrated)


@pytest.mark.parametrize(
    ("schedule", "cron"),
    [
        ("@daily", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("*/5 1-3 * * MON", "*/5 1-3 * * MON"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_a_schedule_is_meant_in_the_zone_of_its_target(schedule: str, cron: str) -> None:
    assert rule(schedule) == Rule(cron, "Europe/Madrid")


def test_none_is_never_due() -> None:
    assert rule("none") is None


def test_unset_is_once_a_night_and_never_where_an_orchestrator_says_when() -> None:
    found = rule(None)
    assert found is not None
    minute, hour = map(int, found.cron.split()[:2])
    assert 0 <= minute < 60
    assert 0 <= hour < 5
    assert rule(None, orchestrated=True) is None
    assert rule("@daily", orchestrated=True) is not None


def keys(count: int) -> list[Key]:
    return [Key(project="shop", service=f"service-{number}") for number in range(count)]


def test_h_spreads_targets_over_the_minutes_and_always_the_same_way() -> None:
    found = [rule("H 3 * * *", key) for key in keys(200)]
    assert found == [rule("H 3 * * *", key) for key in keys(200)]
    minutes = {one.cron.split()[0] for one in found if one}
    assert len(minutes) > 40
    assert {one.cron.split()[1] for one in found if one} == {"3"}


def test_h_in_both_places_spreads_over_the_whole_day() -> None:
    found = [rule("H H * * *", key) for key in keys(300)]
    hours = {one.cron.split()[1] for one in found if one}
    assert hours == {str(hour) for hour in range(24)}


def test_the_spread_is_the_same_in_every_release() -> None:
    """Whoever changes it moves everybody's nights."""
    key = Key(project="shop", service="files")
    assert (str(rule(None, key)), str(rule("H H * * *", key))) == (
        "37 1 * * * Europe/Madrid",
        "37 2 * * * Europe/Madrid",
    )


# --- what went by


def standing(decided: str, rule: Rule = EVERY_DAY) -> Standing:
    return Standing(str(rule), at(decided))


def test_a_new_target_is_first_due_at_the_next_time() -> None:
    seen = at("2026-05-01T03:00:30")
    decision = decide(EVERY_DAY, None, seen, catch_up=True)
    assert (decision.due, decision.missed, decision.standing.owed) == (None, (), None)
    assert decide(EVERY_DAY, decision.standing, at("2026-05-02T03:00"), catch_up=True).due == at("2026-05-02T03:00")


def test_a_changed_schedule_owes_nothing_for_the_past() -> None:
    decision = decide(EVERY_MINUTE, standing("2026-05-01T03:00"), at("2026-05-01T12:00"), catch_up=True)
    assert (decision.due, decision.missed, decision.standing.owed) == (None, (), None)


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=1), GRACE])
def test_a_due_time_is_due_once(late: timedelta) -> None:
    due = at("2026-05-02T03:00")
    decision = decide(EVERY_DAY, standing("2026-05-01T03:00"), due + late, catch_up=True)
    assert (decision.due, decision.missed) == (due, ())
    assert decide(EVERY_DAY, decision.standing, due + late, catch_up=True).due is None


@pytest.mark.parametrize("catch_up", [True, False])
def test_nights_of_an_outage_are_missed_each_and_the_last_is_owed_once(*, catch_up: bool) -> None:
    back = at("2026-05-04T09:00")
    decision = decide(EVERY_DAY, standing("2026-05-01T03:00"), back, catch_up=catch_up)
    assert decision.missed == (at("2026-05-02T03:00"), at("2026-05-03T03:00"), at("2026-05-04T03:00"))
    assert (decision.due, decision.more) == (None, False)
    assert decision.standing.owed == (at("2026-05-04T03:00") if catch_up else None)
    again = decide(EVERY_DAY, decision.standing, back + timedelta(hours=1), catch_up=catch_up)
    assert (again.missed, again.standing) == ((), decision.standing)


def test_the_next_run_on_time_pays_what_is_owed() -> None:
    owing = Standing(str(EVERY_DAY), at("2026-05-01T03:00"), owed=at("2026-05-01T03:00"))
    decision = decide(EVERY_DAY, owing, at("2026-05-02T03:00"), catch_up=True)
    assert (decision.due, decision.standing.owed) == (at("2026-05-02T03:00"), None)


def test_a_long_outage_of_a_busy_schedule_is_bounded_and_says_that_there_was_more() -> None:
    decision = decide(EVERY_MINUTE, standing("2025-05-01T03:00", EVERY_MINUTE), at("2026-05-01T03:00"), catch_up=True)
    assert (len(decision.missed), decision.more) == (MISSED_LIMIT, True)
    assert decision.due == at("2026-05-01T03:00")
    assert decision.missed[-1] == at("2026-05-01T02:59")


def test_missed_nights_of_a_rare_schedule_are_found_after_a_year() -> None:
    monthly = Rule("0 3 1 * *", "UTC")
    decision = decide(monthly, standing("2025-05-02T03:00", monthly), at("2026-05-02T03:00"), catch_up=True)
    assert len(decision.missed) == 12


@given(crons, zones, moments, some.lists(some.timedeltas(timedelta(0), timedelta(days=3)), max_size=12))
def test_whoever_looks_whenever_decides_each_due_time_exactly_once(
    cron: str, zone: str, moment: datetime, pauses: list[timedelta]
) -> None:
    rule, known, now = Rule(cron, zone), None, moment
    decided: list[datetime] = []
    bounded = False
    for pause in (timedelta(0), *pauses):
        now += pause
        decision = decide(rule, known, now, catch_up=True)
        known, bounded = decision.standing, bounded or decision.more
        decided += [*decision.missed, *([decision.due] if decision.due else [])]
    expected = list(takewhile(lambda due: due <= now, rule.after(moment)))
    assert decided == sorted(set(decided))
    assert set(decided) <= set(expected)
    assert bounded or decided == expected


# --- a wrong clock


def test_a_clock_set_back_a_little_repeats_no_night() -> None:
    ran = standing("2026-05-01T03:00")
    decision = decide(EVERY_DAY, ran, at("2026-05-01T02:58"), catch_up=True)
    assert decision.standing == ran
    assert decide(EVERY_DAY, ran, at("2026-05-01T03:00"), catch_up=True).due is None


def test_a_clock_set_back_a_month_does_not_stop_the_nights_for_a_month() -> None:
    decision = decide(EVERY_DAY, standing("2026-06-01T03:00"), at("2026-05-01T12:00"), catch_up=True)
    assert (decision.due, decision.missed) == (None, ())
    assert decide(EVERY_DAY, decision.standing, at("2026-05-02T03:00"), catch_up=True).due == at("2026-05-02T03:00")


def test_a_jump_of_a_month_and_back_starts_one_run_each_way_at_most() -> None:
    known, started = standing("2026-05-01T03:00"), 0
    for now in ("2026-06-01T12:00", "2026-06-01T12:01", "2026-05-01T12:02", "2026-05-01T12:03"):
        decision = decide(EVERY_DAY, known, at(now), catch_up=True)
        known = decision.standing
        started += known.owed is not None
        known = replace(known, owed=None)
    assert started == 1
    assert known.decided == at("2026-05-01T12:02")


def test_nights_that_were_decided_before_the_clock_went_back_are_not_missed_afterwards() -> None:
    known = standing("2026-06-01T03:00")
    known = decide(EVERY_DAY, known, at("2026-05-01T12:00"), catch_up=True).standing
    decision = decide(EVERY_DAY, known, at("2026-06-03T12:00"), catch_up=True)
    assert decision.missed == (at("2026-06-02T03:00"), at("2026-06-03T03:00"))
    assert decision.standing == Standing(str(EVERY_DAY), at("2026-06-03T03:00"), owed=at("2026-06-03T03:00"))
