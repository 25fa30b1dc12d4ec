"""`status` for people: one line a target at 80 columns, ids whole, times as they are said."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.app import program
from controller.cli import runs, terminal
from controller.cli.status import status
from controller.cli.times import dated, said, spoken
from controller.core.failure import Failure
from controller.core.key import Key
from tests.kit.world import POSTGRES, World, serving

KEY = Key(project="shop", service="db")
NOW = datetime(2026, 3, 10, 19, 0, tzinfo=UTC)
"""20:00 in Madrid."""
MADRID = "Europe/Madrid"


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(0), "0 s ago"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(minutes=3, seconds=50), "3 min ago"),
        (timedelta(hours=1), "1 h ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=2, hours=23), "2 days ago"),
        (timedelta(days=400), "400 days ago"),
    ],
)
def test_what_has_been_is_told_by_its_age(ago: timedelta, text: str) -> None:
    assert said(NOW - ago, NOW, MADRID) == text


@pytest.mark.parametrize(
    ("now", "due", "text"),
    [
        ("03-10 19:00", "2026-03-11 03:59", "tonight 04:59"),
        ("03-10 09:00", "2026-03-11 03:59", "tonight 04:59"),
        ("03-11 01:00", "2026-03-11 03:59", "tonight 04:59"),
        ("03-11 04:30", "2026-03-12 03:59", "tomorrow 04:59"),
        ("03-10 09:00", "2026-03-10 13:00", "today 14:00"),
        ("03-10 09:00", "2026-03-10 20:00", "tonight 21:00"),
        ("03-10 09:00", "2026-03-11 13:00", "tomorrow 14:00"),
        ("03-10 09:00", "2026-03-16 03:59", "Mon 04:59"),
        ("03-10 09:00", "2026-04-01 02:59", "1 Apr 04:59"),
        ("03-10 09:00", "2027-01-01 03:59", "2027-01-01 04:59"),
    ],
)
def test_what_is_to_come_is_told_by_the_clock_of_the_target(now: str, due: str, text: str) -> None:
    moments = [datetime.fromisoformat(f"{one}Z") for one in (due, f"2026-{now}")]
    assert said(*moments, MADRID) == text


def test_times_within_a_text_are_said_and_ids_stay() -> None:
    text = "run 20260310T185500Z-0a1b2c3d since 2026-03-10T18:55:00.123Z, next 2026-03-11T03:59:00.000Z"
    assert spoken(text, NOW, MADRID) == "run 20260310T185500Z-0a1b2c3d since 4 min ago, next tonight 04:59"


def test_what_tells_of_the_clock_is_not_told_by_the_clock() -> None:
    text = "showed 2026-01-30T18:55:00.123Z when it should have shown 2026-03-10T19:00:00.000Z"
    assert dated(text) == "showed 2026-01-30 18:55 UTC when it should have shown 2026-03-10 19:00 UTC"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("SIDECAR_PATHS_WORKDIR", str(tmp_path))
    monkeypatch.setattr(terminal.out, "width", 80)
    timed = POSTGRES | {"backup.schedule": "0 3 * * *", "backup.timezone": MADRID}
    found = World(tmp_path, services={"db": timed, "a-service-with-a-long-name-of-its-own": timed})
    with serving(found):
        yield found


def test_a_line_for_each_target_that_fits_and_breaks_no_id(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.start(KEY, "api").future.result(timeout=20)
    world.failure = Failure(code="store-full", message="no room", hint="Make some.")
    failed = world.start(KEY, "api").future.result(timeout=20)

    assert status() == program.SOME

    lines = capsys.readouterr().out.splitlines()
    head, long, short = lines[:3]
    assert head.split("  ")[0] == "TARGET"
    assert max(map(len, lines[:3])) <= 80
    assert long.split() == ["shop/a-service-with-a-long-name-of-its-own", "never", "never", *long.split()[3:]]
    assert re.fullmatch(r"shop/db +failed +\d+ s ago +(tonight|tomorrow) 03:00( .*)?", short)
    assert f"- the last run of shop/db, {failed.id}, failed: store-full: no room. Make some." in lines
    assert lines[-1] == "not safe: 1 never, 1 fresh, 1 failed"


def test_utc_and_json_are_exact(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    good = world.start(KEY, "api").future.result(timeout=20)
    terminal.out.width = 200

    status(utc=True)
    told = capsys.readouterr().out
    status(as_json=True)
    target = next(one for one in json.loads(capsys.readouterr().out)["targets"] if one["key"] == "shop/db")

    assert target["last_good"]["time"] == f"{good.time:%Y-%m-%dT%H:%M:%S}.000Z"
    assert target["timezone"] == MADRID
    assert target["last_good"]["time"] in told
    assert target["next_due"] in told


def test_what_promises_nothing_is_named_and_is_no_failure(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.services = {"db": POSTGRES | {"backup.schedule": "none"}}
    assert status() == program.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["shop/db", "unpromised", "never"]
    assert lines[-1] == "safe: 1 unpromised"
    assert any(line.startswith("- shop/db is unpromised: `schedule: none` without `expect.max-age`") for line in lines)


def test_targets_exits_3_with_a_problem(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.targets() == program.OK
    world.services["db"] |= {"backup.timeout": "10"}
    assert runs.targets() == program.SOME
    assert "backup.timeout" in capsys.readouterr().err


def test_runs_tell_who_asked_over_the_network(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    key = world.targets()[0].key
    for trigger, by in (("export", "api@10.0.0.9"), ("cli", "socket"), ("schedule", "")):
        world.start(key, trigger, by).future.result(10)
    assert runs.runs() == program.OK
    shown = capsys.readouterr().out
    assert "export by api@10.0.0.9 " in shown
    assert "by socket" not in shown
