"""What people may write for a duration, a size, a schedule, a command, and what they are told when it is none."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from config.commands import CommandList
from config.cron import Cron, Timezone
from config.fields import (
    CommaList,
    Compression,
    CompressionField,
    Count,
    Duration,
    Share,
    Size,
    Span,
    User,
    Workdir,
    written,
)
from config.validation import problems_from


def accepted(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


def refused(kind: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind, config=ConfigDict(hide_input_in_errors=True)).validate_python(value)
    (problem,) = problems_from(caught.value, lambda path: "here")
    assert problem.hint
    return problem.message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), (" 1h ", 3600)],
)
def test_durations_carry_a_unit(text: str, seconds: int) -> None:
    assert accepted(Duration, text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("10", "bare number"),
        (10, "bare number"),
        (1.5, "bare number"),
        ("-5m", "negative"),
        ("1y", "no fixed length"),
        ("08:00", "clock time"),
        ("1.5h", "whole numbers"),
        ("", "empty"),
        ("30m1h", "not a duration"),
        ("0s", "above zero"),
        ("99999999999w", "36500 days"),
        (True, "not a duration"),
        ("soon", "not a duration"),
    ],
)
def test_a_bad_duration_says_why(value: Any, reason: str) -> None:
    assert reason in refused(Duration, value)


def test_a_duration_is_written_as_it_is_read() -> None:
    assert accepted(Duration, written(timedelta(days=1, seconds=3661))) == timedelta(days=1, seconds=3661)
    assert accepted(Span, written(timedelta(0))) == timedelta(0)


@pytest.mark.parametrize(
    ("text", "size"), [("10MiB", 10 << 20), ("10MB", 10_000_000), ("512B", 512), ("1.5 KiB", 1536), ("1kB", 1000)]
)
def test_sizes_carry_a_unit(text: str, size: int) -> None:
    assert accepted(Size, text) == size


@pytest.mark.parametrize("value", ["10", 10, "10iB", "ten", "", "-1B", "10Mb"])
def test_a_bad_size_is_refused(value: Any) -> None:
    assert "size" in refused(Size, value)


@pytest.mark.parametrize("text", ["0 3 * * *", "H 3 * * *", "H H * * 1-5", "*/15 * * * *", "@daily", "none"])
def test_schedules_are_kept_as_text(text: str) -> None:
    assert accepted(Cron, text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 3 * *", "has 4"),
        ("61 3 * * *", "minute (0-59)"),
        ("0 24 * * *", "hour (0-23)"),
        ("0 3 * 13 *", "month (1-12)"),
        ("0 3 30 2 *", "never comes due"),
        ("0 3 H * *", "day of the month"),
        ("08:00", "clock time"),
        ("@reboot", "has 1"),
        ("", "has 0"),
    ],
)
def test_a_bad_schedule_says_which_field(text: str, reason: str) -> None:
    assert reason in refused(Cron, text)


@pytest.mark.parametrize("text", ["Mars/Olympus", "", "/etc/passwd", "../../etc/passwd", "Europe/\x00"])
def test_only_iana_zones_are_zones(text: str) -> None:
    assert accepted(Timezone, "Europe/Madrid") == "Europe/Madrid"
    assert "time zone" in refused(Timezone, text)


@pytest.mark.parametrize(
    ("text", "compression"),
    [("zstd", ("zstd", 3)), ("zstd:19", ("zstd", 19)), ("gzip", ("gzip", 6)), ("none", ("none", 0))],
)
def test_compression_is_codec_and_level(text: str, compression: tuple[str, int]) -> None:
    assert accepted(CompressionField, text) == Compression(*compression)


@pytest.mark.parametrize("text", ["zstd:0", "zstd:20", "gzip:10", "none:1", "xz", "no", 3])
def test_unknown_compression_is_refused(text: Any) -> None:
    assert refused(CompressionField, text)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("pg_dump shop", ("pg_dump shop",)),
        ('["pg_dump","shop"]', (("pg_dump", "shop"),)),
        ('[["a"],["b","c"]]', (("a",), ("b", "c"))),
        ("[ -f /x ] && cat /x", ("[ -f /x ] && cat /x",)),
        ("[[ -f /x ]] && cat /x", ("[[ -f /x ]] && cat /x",)),
        ('[ "$A" = b ] || exit', ('[ "$A" = b ] || exit',)),
        ("[]", ()),
        ("a\nb", ("a\nb",)),
    ],
)
def test_one_text_is_one_command_or_a_json_array(text: str, commands: tuple[Any, ...]) -> None:
    assert accepted(CommandList, text) == commands


def test_a_list_in_the_file_holds_one_command_each() -> None:
    assert accepted(CommandList, ["echo a", ["echo", "b"]]) == ("echo a", ("echo", "b"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ('[""]', "empty"),
        ("[[]]", "empty"),
        ([[]], "empty"),
        ('["a",', "broken JSON array, at line 1 column 6"),
        ("['a']", "broken JSON"),
        ('["a",["b"]]', "mixes"),
        ('["a",1]', "mixes"),
        ("a\x00b", "control characters"),
        ("a\x1b[31m", "control characters"),
        ("a\u202eb", "control characters"),
        ([["a", 1]], "not text"),
        (7, "not a list"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_a_bad_command_says_why(value: Any, reason: str) -> None:
    assert reason in refused(CommandList, value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a, b,c ", ("a", "b", "c")),
        ('["a,b", "c"]', ("a,b", "c")),
        (["a,b", "c"], ("a,b", "c")),
        ("", ()),
        ("one,", ("one",)),
        ("{", ("{",)),
    ],
)
def test_lists_are_commas_or_json(value: Any, words: tuple[str, ...]) -> None:
    assert accepted(CommaList, value) == words


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (7, "list of words"),
        ([1], "list of words"),
        ("[1]", "list of words"),
        ("[NaN]", "list of words"),
        ('["a"', "line 1 column 5"),
        ('["a",\n x]', "line 2 column 2"),
        ("[" * 10_000, "nested too deeply"),
        (f"[{'1' * 5_000}]", "number that is too long"),
        (r'["\u0000"]', "control characters"),
        (r'["\ud800"]', "control characters"),
    ],
)
def test_a_bad_list_says_why_and_where(value: Any, reason: str) -> None:
    assert reason in refused(CommaList, value)


@pytest.mark.parametrize("value", ["0", 0, -1, "7d", True, ""])
def test_a_count_of_runs_is_at_least_one(value: Any) -> None:
    assert accepted(Count, "7") == 7
    assert accepted(Count, "none") is None
    assert "from 1 on" in refused(Count, value)


@pytest.mark.parametrize("value", ["0%", "100%", "50", 0.5])
def test_a_share_is_in_per_cent(value: Any) -> None:
    assert accepted(Share, "50%") == 0.5
    assert accepted(Share, " none ") is None
    assert "share" in refused(Share, value)


@pytest.mark.parametrize("value", ["data", "../x", "/proc/1", "//proc", "/./sys", "/a/../proc", "/dev/shm", ""])
def test_a_workdir_is_absolute_and_no_kernel_folder(value: str) -> None:
    assert accepted(Workdir, "/var/lib") == "/var/lib"
    assert refused(Workdir, value)


@pytest.mark.parametrize("value", ["a b", "-x", "a:b:c", "$(id)", "", "a\n"])
def test_a_user_is_a_name_or_a_number(value: str) -> None:
    assert accepted(User, "999:999") == "999:999"
    assert "not a user" in refused(User, value)


def test_an_error_of_a_strategys_own_options_gets_place_and_suggestion() -> None:
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
        databases: list[str] = []

    with pytest.raises(ValidationError) as caught:
        Options.model_validate({"database": "hunter2"})
    (problem,) = problems_from(caught.value, lambda path: f"label {path[0]}", Options)
    assert problem.code == "unknown-key"
    assert problem.place == "label database"
    assert problem.hint == "Did you mean `databases`?"
