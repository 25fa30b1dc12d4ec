"""Whatever a container said, it acts on no terminal and looks like no line of ours, in commands and in logs."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loguru import logger

from config.wording import as_json, is_unsafe
from controller.app import log
from controller.cli.terminal import Terminal, show

FORGED = "\x1b]0;T\x07\x1b[2J\x9b2J\u202e\r\n\u2028\x85\tall backups are fine"
words = st.one_of(st.text(), st.lists(st.sampled_from(FORGED)).map("".join))
each_text = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def demand_lines(shown: str, count: int) -> None:
    """So many lines, of which none acts on a terminal."""
    lines = shown.split("\n")
    assert (len(lines), lines[-1]) == (count + 1, "")
    assert not any(is_unsafe(line, "") for line in lines)


@each_text
@given(words)
@example(FORGED)
def test_a_text_is_one_line_that_acts_on_no_terminal(capsys: pytest.CaptureFixture[str], text: str) -> None:
    Terminal().print(text, style="red")
    demand_lines(capsys.readouterr().out, 1)
    Terminal(stderr=True).print(text)
    demand_lines(capsys.readouterr().err, 1)


@each_text
@given(words)
@example(FORGED)
def test_a_cell_of_a_table_breaks_no_row(capsys: pytest.CaptureFixture[str], text: str) -> None:
    show([[text, "x"], [1, None]], "A", "B")
    demand_lines(capsys.readouterr().out, 3)


@each_text
@given(words)
@example(FORGED)
def test_lines_of_somebody_else_are_marked(capsys: pytest.CaptureFixture[str], text: str) -> None:
    Terminal().block(text)
    shown = capsys.readouterr().out
    demand_lines(shown, len(text.splitlines()))
    assert all(line.startswith("| ") for line in shown.splitlines())


def test_columns_stay_in_line_beside_what_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    show([["\x1b" * 4, "x"], ["y", "x"]], "A", "B")
    head, *rows = capsys.readouterr().out.splitlines()
    assert {row.index("x", head.index("B")) for row in rows} == {head.index("B")}


def test_a_live_line_acts_on_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # Else nothing is live, and nothing shown.
    with Terminal().live() as write:
        write(FORGED)
    shown = capsys.readouterr().out
    assert "\\x1b]0;T" in shown
    assert not any(act in shown for act in ("\x1b]0", "\u202e", "\x07", "\x9b"))


@given(st.recursive(words, lambda inner: st.lists(inner) | st.dictionaries(words, inner)))
@example(FORGED)
def test_json_says_the_same_and_acts_on_no_terminal(value: object) -> None:
    assert json.loads(as_json(value)) == value
    assert not is_unsafe(as_json(value), "")
    assert not is_unsafe(as_json(value, indent=2), "\n")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(log.plain(message, str)), format="", backtrace=False)
    yield lines
    logger.remove(number)


def test_a_line_of_the_log_is_one_that_acts_on_no_terminal(logged: list[str]) -> None:
    logger.bind(target=FORGED).error("run failed: {}", FORGED)
    (line,) = logged
    demand_lines(line, 1)
    assert line.count("all backups are fine") == 2


def test_a_traceback_is_shown_line_by_line_and_acts_on_no_terminal(logged: list[str]) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        logger.opt(exception=error).error("a defect")
    head, *rest = logged[0].splitlines()
    assert head.endswith("a defect")
    assert all(line.startswith("  ") for line in rest)
    assert any("ValueError" in line for line in rest)
    assert not is_unsafe(logged[0], "\n")
