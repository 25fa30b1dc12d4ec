"""Which runs stay: the policy's words by example, and the laws that hold for every policy and every history."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from config.target import Retention
from controller.core.key import Key
from controller.core.run import Report
from controller.upkeep.retention import BESIDE_FUTURE, FUTURE, UNLIMITED, UNTRUSTED, Verdict, decide, series_of

KEY = Key(project="shop", service="db")
MADRID = ZoneInfo("Europe/Madrid")
NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
NOTHING = Retention(keep_daily=None, keep_weekly=None)
WEEK = timedelta(days=7)


def policy(**rules: int | str | None) -> Retention:
    """These rules alone."""
    none = {"keep-within": "0s", "keep-daily": None, "keep-weekly": None}
    return Retention.model_validate(none | {k.replace("_", "-"): v for k, v in rules.items()})


def run(when: datetime, number: int = 0, **marks: object) -> Report:
    identity = f"{when.astimezone(UTC):%Y%m%dT%H%M%SZ}-{number:08x}"
    return Report(id=identity, target=KEY, state="succeeded", trigger="schedule", created=when).model_copy(update=marks)


def at(text: str, **marks: object) -> Report:
    return run(datetime.fromisoformat(text).replace(tzinfo=MADRID), **marks)


def nightly(days: int, *, hour: int = 3) -> list[Report]:
    """One good run each night up to the last of June."""
    return [run(NOW.replace(hour=hour) - timedelta(days=back)) for back in range(days)]


def decided(rules: Retention, runs: list[Report], *, trusted: bool = True) -> list[Verdict]:
    return decide(rules, runs, NOW, MADRID, safety=WEEK, trusted=trusted)


def staying(rules: Retention, runs: list[Report], *, trusted: bool = True) -> list[str]:
    """Local times of the runs that stay, newest first."""
    found = decided(rules, runs, trusted=trusted)
    return [f"{one.run.time.astimezone(MADRID):%m-%d %H:%M}" for one in found if one.stays]


# --- the policy's words


def test_the_newest_run_of_each_day_stays_for_so_many_days() -> None:
    twice = [*nightly(10, hour=1), *nightly(10, hour=4)]
    assert staying(policy(keep_daily=3), twice) == ["06-30 06:00", "06-29 06:00", "06-28 06:00"]


def test_days_without_a_run_do_not_count() -> None:
    runs = [at("2026-06-28 03:00"), at("2026-05-02 03:00"), at("2026-05-01 23:00"), at("2026-05-01 03:00")]
    assert staying(policy(keep_daily=3), runs) == ["06-28 03:00", "05-02 03:00", "05-01 23:00"]


def test_days_are_those_of_the_targets_zone() -> None:
    runs = [at("2026-06-29 00:30"), at("2026-06-28 23:30")]
    assert staying(policy(keep_daily=2), runs) == ["06-29 00:30", "06-28 23:30"]
    in_utc = decide(policy(keep_daily=2), runs, NOW, ZoneInfo("UTC"), safety=WEEK, trusted=True)
    assert [one.stays for one in in_utc] == [True, False]


def test_weeks_begin_on_monday() -> None:
    runs = [at("2026-06-29 03:00"), at("2026-06-28 03:00"), at("2026-06-22 03:00"), at("2026-06-21 03:00")]
    assert staying(policy(keep_weekly=3), runs) == ["06-29 03:00", "06-28 03:00", "06-21 03:00"]


def test_a_week_across_the_new_year_is_one_week() -> None:
    runs = [at("2026-01-04 03:00"), at("2025-12-29 03:00"), at("2025-12-28 03:00")]
    assert staying(policy(keep_weekly=2), runs) == ["01-04 03:00", "12-28 03:00"]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (policy(keep_last=2), ["06-30 03:00", "06-30 02:30"]),
        (policy(keep_hourly=2), ["06-30 03:00", "06-30 02:30"]),
        (policy(keep_hourly=3), ["06-30 03:00", "06-30 02:30", "05-31 03:00"]),
        (policy(keep_monthly=2), ["06-30 03:00", "05-31 03:00"]),
        (policy(keep_yearly=5), ["06-30 03:00", "12-31 03:00"]),
        (policy(keep_last=1, keep_monthly=2, keep_yearly=2), ["06-30 03:00", "05-31 03:00", "12-31 03:00"]),
    ],
)
def test_each_rule_counts_periods_of_its_own(rules: Retention, kept: list[str]) -> None:
    times = ("2026-06-30 03:00", "2026-06-30 02:30", "2026-06-30 02:00", "2026-05-31 03:00", "2025-12-31 03:00")
    assert staying(rules, [at(time) for time in times]) == kept


def test_the_doubled_hour_is_two_hours() -> None:
    runs = [run(datetime(2025, 10, 26, hour, 30, tzinfo=UTC)) for hour in (0, 1)]  # 02:30 and 02:30 in Madrid.
    assert len(staying(policy(keep_hourly=2), runs)) == 2


def test_each_run_names_the_rules_that_keep_it() -> None:
    first, *_, last = decided(policy(keep_last=1, keep_daily=2), nightly(3))
    assert first.rules == ("keep-last", "keep-daily", "newest good run")
    assert (last.rules, last.cause) == ((), "none of keep-last 1, keep-daily 2 keeps it")


def test_without_any_rule_everything_stays() -> None:
    assert all(UNLIMITED in one.rules for one in decided(NOTHING, nightly(40)))


def test_a_run_by_hand_takes_the_place_of_no_run_of_the_last_two_days() -> None:
    by_hand = [run(NOW - timedelta(minutes=back), trigger="cli") for back in range(9)]
    runs = [*by_hand, *nightly(4)]
    assert [one.run for one in decided(Retention(), runs) if one.stays] == runs
    counted = decided(Retention.model_validate({"keep-within": "0s"}), runs)
    assert [one.run for one in counted if one.stays] == [by_hand[0], *nightly(4)]


@pytest.mark.parametrize("rules", [policy(keep_daily=2), policy(keep_weekly=1), policy(keep_monthly=1)])
def test_a_run_of_the_schedule_stands_for_its_period_before_a_younger_one_by_somebody(rules: Retention) -> None:
    night = at("2026-06-26 03:00")
    others = [at(f"2026-06-26 {hour}:00", trigger=who) for hour, who in ((13, "cli"), (12, "export"), (11, "api"))]
    newest = at("2026-06-27 03:00", trigger="cli")
    kept = [one.run for one in decided(rules, [night, *others, newest]) if one.stays]
    assert kept == [newest, night]


def test_where_the_schedule_made_none_the_newest_stands_for_its_period() -> None:
    exports = [at(f"2026-06-{day} {hour}:00", trigger="export") for day in (28, 27) for hour in ("03", "04")]
    assert staying(policy(keep_daily=2), exports) == ["06-28 04:00", "06-27 04:00"]


def test_keep_within_counts_from_the_newest_good_run_and_for_younger_ones_of_another_series_from_theirs() -> None:
    good = [at("2026-06-05 03:00"), at("2026-06-03 03:00"), at("2026-06-03 02:59")]
    rotten = [at(f"2026-06-{day:02} 04:00", damaged="rot") for day in (4, 2)]
    strange = [at(f"2026-06-{day} 04:00", suspicious=("small",)) for day in (20, 18, 17)]
    kept = ["06-20 04:00", "06-18 04:00", "06-05 03:00", "06-04 04:00", "06-03 03:00"]
    assert staying(policy(keep_within="2d", keep_yearly=1), [*good, *rotten, *strange]) == kept


def test_keep_within_alone_is_a_rule_where_somebody_has_set_it() -> None:
    assert len(staying(policy(keep_within="2d"), nightly(9))) == 3
    assert len(staying(NOTHING, nightly(9))) == len(staying(policy(), nightly(9))) == 9


def test_max_age_takes_nothing_that_keep_within_keeps() -> None:
    found = decided(policy(keep_daily=30, keep_within="5d", max_age="1d"), nightly(20))
    assert [one.rules for one in found if one.stays][1:] == [("keep-within", "keep-daily")] * 5


def test_max_age_caps_what_the_other_rules_keep() -> None:
    found = decided(policy(keep_daily=30, max_age="10d"), nightly(20))
    assert sum(one.stays for one in found) == 10
    assert found[-1].cause == "max-age 10d"


def test_the_newest_good_run_stays_however_old_it_is() -> None:
    old = [at("2020-01-02 03:00"), at("2020-01-01 03:00")]
    assert staying(policy(keep_daily=7, max_age="10d"), old) == ["01-02 03:00"]


def test_where_there_is_no_good_run_the_newest_of_the_others_stays() -> None:
    old = [at("2020-01-02 03:00", damaged="rot"), at("2020-01-01 03:00", suspicious=("half its size",))]
    assert staying(policy(max_age="10d"), old) == ["01-01 03:00"]


@pytest.mark.parametrize("trigger", ["schedule", "restore"])
def test_what_is_pinned_stays_beyond_max_age_and_a_safety_backups_time(trigger: str) -> None:
    pinned = at("2025-01-01 03:00", pinned=NOW, trigger=trigger)
    found = decided(policy(keep_yearly=9, max_age="10d"), [*nightly(1), pinned])
    assert "pinned" in found[-1].rules


# --- what does not count


@pytest.mark.parametrize("marks", [{"suspicious": ("half its size",)}, {"damaged": "rot"}])
def test_runs_that_are_not_good_push_no_good_one_out(marks: dict[str, object]) -> None:
    bad = [run(one.time + timedelta(hours=1), **marks) for one in nightly(6)]
    good = nightly(12)[6:]
    found = decided(policy(keep_daily=4), [*bad, *good])
    assert [one.run for one in found if one.stays and one.run.good] == good[:4]


def test_a_backup_of_what_a_restore_replaced_pushes_out_no_good_run_of_its_day() -> None:
    saved = [run(one.time + timedelta(hours=1), trigger="restore") for one in nightly(3)]
    good = nightly(6)
    found = decided(policy(keep_daily=4), [*saved, *good])
    assert [one.run for one in found if one.stays and one.run.trigger != "restore"] == good[:4]


@pytest.mark.parametrize("marks", [{}, {"suspicious": ("empty",)}, {"damaged": "rot"}])
def test_backups_of_what_restores_replaced_stay_for_a_time_of_their_own(marks: dict[str, object]) -> None:
    saved = [run(NOW - WEEK + timedelta(seconds=s), s + 9, trigger="restore", **marks) for s in (9, 3, 0, -1)]
    for rules in (policy(keep_last=1, max_age="1d"), policy(keep_daily=99), NOTHING):
        found = {one.run.id: one for one in decided(rules, [*saved, *nightly(1)])}
        assert [found[one.id].rules for one in saved] == [("safety 7d",)] * 3 + [()]
        assert found[saved[3].id].cause == "safety 7d"


def test_a_backup_of_what_a_restore_replaced_does_not_go_while_it_is_the_best_there_is() -> None:
    old = [at("2020-01-02 03:00", trigger="restore"), at("2020-01-01 03:00", trigger="restore")]
    assert [one.rules for one in decided(policy(keep_last=9), old)] == [("newest safety run",), ()]


def test_suspicious_runs_are_counted_among_themselves_until_somebody_accepts_one() -> None:
    bad = [run(one.time + timedelta(hours=1), suspicious=("small",)) for one in nightly(6)]
    assert len(staying(policy(keep_daily=4), [*bad, *nightly(6)])) == 8
    accepted = [one.model_copy(update={"accepted": True}) for one in bad]
    assert len(staying(policy(keep_daily=4), [*accepted, *nightly(6)])) == 4


@pytest.mark.parametrize("state", ["failed", "cancelled", "interrupted", "missed", "running", "queued"])
def test_what_stored_nothing_is_not_spoken_of(state: str) -> None:
    failing = [one.model_copy(update={"state": state}) for one in nightly(9)]
    good = at("2026-01-01 03:00")
    assert [one.run for one in decided(policy(keep_daily=1), [*failing, good])] == [good]


def test_what_was_pruned_counts_no_more() -> None:
    newest, second = nightly(2)
    gone = newest.model_copy(update={"pruned": NOW})
    assert [one.run for one in decided(policy(keep_last=1), [gone, second])] == [second]


# --- a wrong clock


def test_a_run_of_the_future_stays_and_counts_for_nothing() -> None:
    ahead, nights = run(NOW + timedelta(minutes=2)), nightly(400)
    rules = policy(keep_last=2, keep_within="1d")
    assert decided(rules, [ahead, *nights]) == [Verdict(ahead, (FUTURE,)), *decided(rules, nights)]
    assert decided(rules, [ahead]) == [Verdict(ahead, (FUTURE,))]


def test_beside_a_run_of_the_future_nothing_goes_until_the_clock_has_settled() -> None:
    runs = [run(NOW + timedelta(minutes=2)), *nightly(400)]
    found = decided(policy(keep_last=1, max_age="1d"), runs, trusted=False)
    assert [one.rules for one in found] == [(FUTURE,), *[(BESIDE_FUTURE,)] * 400]


def test_a_clock_that_is_set_a_little_makes_no_run_of_the_future() -> None:
    assert [one.rules for one in decided(policy(keep_last=1), [run(NOW + timedelta(seconds=59))])] == [
        ("keep-last", "newest good run")
    ]


def test_a_clock_that_goes_ahead_takes_none_of_the_young_runs_from_keep_within() -> None:
    ahead, today = run(NOW), [run(NOW - timedelta(days=31, hours=hour)) for hour in range(5)]
    rules = policy(keep_within="2d", keep_last=1)
    assert all(one.stays for one in decided(rules, [ahead, *today], trusted=False))
    assert [one.stays for one in decided(rules, [ahead, *today])] == [True, *[False] * 5]


def test_a_clock_that_jumped_lets_nothing_go_by_its_age() -> None:
    rules, runs = policy(keep_daily=5, max_age="3d"), nightly(7)
    later = NOW + timedelta(days=31)
    saved = run(NOW - timedelta(days=1), trigger="restore")
    sure, unsure = (
        decide(rules, [*runs, saved], later, MADRID, safety=WEEK, trusted=trusted) for trusted in (True, False)
    )
    assert sum(one.stays for one in sure) == 1
    assert sum(one.stays for one in unsure) == 6
    assert [one.rules for one in unsure[1:3]] == [(UNTRUSTED,), ("keep-daily", UNTRUSTED)]


# --- laws

counts = some.none() | some.integers(1, 5)
times = some.timedeltas(timedelta(hours=1), timedelta(days=900))
policies = some.builds(
    lambda within, last, hourly, daily, weekly, monthly, yearly, age: Retention(
        **within,
        keep_last=last,
        keep_hourly=hourly,
        keep_daily=daily,
        keep_weekly=weekly,
        keep_monthly=monthly,
        keep_yearly=yearly,
        max_age=age,
    ),
    some.fixed_dictionaries({}, optional={"keep_within": some.just(timedelta(0)) | times}),
    *[counts] * 6,
    some.none() | times,
)
marks = some.fixed_dictionaries(
    {},
    optional={
        "suspicious": some.just(("small",)),
        "trigger": some.sampled_from(["schedule", "restore", "cli", "export"]),
        "pinned": some.sampled_from((None, NOW)),
        "accepted": some.booleans(),
        "damaged": some.sampled_from(("", "rot")),
        "state": some.sampled_from(("succeeded", "failed", "missed")),
    },
)
ages = some.one_of(some.integers(0, 3 * 86_400), some.integers(0, 3 * 365 * 86_400))
histories = some.lists(some.tuples(ages, marks), max_size=40).map(
    lambda rows: [run(NOW - timedelta(seconds=age), number, **mark) for number, (age, mark) in enumerate(rows)]
)
zones = some.sampled_from([ZoneInfo(name) for name in ("UTC", "Europe/Madrid", "Pacific/Auckland", "America/Havana")])


def kept(rules: Retention, runs: list[Report], zone: ZoneInfo, *, trusted: bool = True) -> list[Report]:
    return [one.run for one in decide(rules, runs, NOW, zone, safety=WEEK, trusted=trusted) if one.stays]


@given(policies, histories, zones)
def test_the_newest_good_run_never_goes(rules: Retention, runs: list[Report], zone: ZoneInfo) -> None:
    good = sorted((one for one in runs if series_of(one) == "good"), key=lambda one: one.id)
    assert not good or good[-1] in kept(rules, runs, zone)


@given(policies, histories, zones, some.booleans())
def test_no_run_within_keep_within_of_the_newest_ever_goes(
    rules: Retention, runs: list[Report], zone: ZoneInfo, trusted: bool
) -> None:
    stored = [one for one in runs if one.stored]
    if stored and rules.keep_within:
        begin = max(one.time for one in stored) - rules.keep_within
        assert {one for one in stored if one.time >= begin} <= set(kept(rules, runs, zone, trusted=trusted))


@given(policies, histories, zones)
def test_what_a_restore_replaced_stays_a_week_and_no_count_keeps_it_longer(
    rules: Retention, runs: list[Report], zone: ZoneInfo
) -> None:
    stayed = kept(rules, runs, zone)
    saved = [one for one in runs if one.stored and one.trigger == "restore"]
    assert {one for one in saved if one.time >= NOW - WEEK} <= set(stayed)
    if not rules.keep_within and any(series_of(one) == "good" for one in runs):
        assert all(one.time >= NOW - WEEK or one.pinned for one in saved if one in stayed)


@given(policies, histories, zones)
def test_what_a_restore_replaced_decides_nothing_about_other_good_runs(
    rules: Retention, runs: list[Report], zone: ZoneInfo
) -> None:
    good = [one for one in runs if series_of(one) == "good"]
    assert [one for one in kept(rules, runs, zone) if one in good] == kept(rules, good, zone)


@given(policies, histories, zones)
def test_to_decide_again_about_what_stayed_lets_nothing_go(
    rules: Retention, runs: list[Report], zone: ZoneInfo
) -> None:
    stayed = kept(rules, runs, zone)
    assert kept(rules, stayed, zone) == stayed


@given(policies, histories, zones, some.randoms())
def test_the_order_of_the_runs_does_not_matter(
    rules: Retention, runs: list[Report], zone: ZoneInfo, chance: some.DataObject
) -> None:
    shuffled = list(runs)
    chance.shuffle(shuffled)
    assert kept(rules, shuffled, zone) == kept(rules, runs, zone)


@given(policies, histories, zones)
def test_what_is_not_good_decides_nothing_about_what_is(rules: Retention, runs: list[Report], zone: ZoneInfo) -> None:
    alone = kept(rules, [one for one in runs if one.good], zone)
    assert [one for one in kept(rules, runs, zone) if one.good] == alone


@given(policies, histories, zones)
def test_every_stored_run_has_one_verdict_with_a_reason(rules: Retention, runs: list[Report], zone: ZoneInfo) -> None:
    found = decide(rules, runs, NOW, zone, safety=WEEK, trusted=True)
    assert [one.run for one in found] == sorted((one for one in runs if one.stored), key=lambda one: one.id)[::-1]
    assert all(bool(one.rules) != bool(one.cause) for one in found)


@given(policies, histories, zones)
def test_a_clock_that_is_not_trusted_keeps_at_least_as_much(
    rules: Retention, runs: list[Report], zone: ZoneInfo
) -> None:
    assert set(kept(rules, runs, zone)) <= set(kept(rules, runs, zone, trusted=False))


@given(policies, histories, zones, some.integers(120, 10**6))
def test_a_clock_that_was_set_back_lets_nothing_go_at_first_and_later_nothing_that_would_not_have_gone(
    rules: Retention, runs: list[Report], zone: ZoneInfo, seconds: int
) -> None:
    stored = {one.id: one for one in runs if one.stored}
    if stored:
        before = max(one.time for one in stored.values()) - timedelta(seconds=seconds)
        assert all(one.stays for one in decide(rules, runs, before, zone, safety=WEEK, trusted=False))
        later = {one.run.id for one in decide(rules, runs, before, zone, safety=WEEK, trusted=True) if one.stays}
        assert later >= {one.id for one in kept(rules, runs, zone)}


@given(histories, zones, some.integers(1, 6))
def test_each_period_that_counts_keeps_its_newest_run_of_the_schedule_or_else_its_newest(
    runs: list[Report], zone: ZoneInfo, count: int
) -> None:
    newest: dict[tuple[str, date], Report] = {}
    for one in runs:
        if one.stored and one.trigger != "restore":
            slot = (series_of(one), one.time.astimezone(zone).date())
            newest[slot] = max(newest.get(slot, one), one, key=lambda item: (item.trigger == "schedule", item.id))
    wanted = {
        newest[slot].id
        for series in ("good", "suspicious", "damaged")
        for slot in sorted((slot for slot in newest if slot[0] == series), key=lambda slot: slot[1])[-count:]
    }
    ours = [one for one in runs if one.stored and one.trigger != "restore"]
    of_series = {
        series: [one.id for one in ours if series_of(one) == series] for series in ("good", "suspicious", "damaged")
    }
    wanted |= {max(next(filter(None, of_series.values())))} if ours else set()
    wanted |= {one.id for one in ours if one.pinned}
    assert {one.id for one in kept(policy(keep_daily=count), ours, zone)} == wanted


@given(policies, histories, zones)
def test_what_is_pinned_never_goes_and_a_pin_decides_nothing_about_the_others(
    rules: Retention, runs: list[Report], zone: ZoneInfo
) -> None:
    stayed = kept(rules, runs, zone)
    assert {one.id for one in runs if one.stored and one.pinned} <= {one.id for one in stayed}
    without = kept(rules, [one.model_copy(update={"pinned": None}) for one in runs], zone)
    assert {one.id for one in stayed if not one.pinned} <= {one.id for one in without} <= {one.id for one in stayed}
