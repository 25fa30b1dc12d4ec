"""The figures of `make bench`: medians, ratios and what counts as met."""

import pytest
from rich.console import Console

from benchmarks.figures import Figure, of_median, of_ratio, table


def test_one_slow_sample_does_not_count() -> None:
    figure = of_median("start", "ready", 1.5, [1.0, 1.1, 9.0, 1.2, 1.1], "warm cache")
    assert figure.measured == pytest.approx(1.1)
    assert figure.met
    assert "worst 9.00 s" in figure.note


def test_a_ratio_is_of_both_medians() -> None:
    figure = of_ratio("stream", "captured", 0.9, [1.0, 3.0, 2.0], [4.0, 1.0, 5.0], size=8_000_000)
    assert figure.measured == pytest.approx(0.5)
    assert "4 and 2 MB/s" in figure.note


@pytest.mark.parametrize(("measured", "met"), [(0.9, True), (1.0, True), (1.001, False)])
def test_a_limit_may_be_reached_but_not_passed(measured: float, *, met: bool) -> None:
    assert Figure("postgres", "captured", 1.0, "x", measured).met is met


def test_what_is_missed_is_seen_in_the_table() -> None:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(table([Figure("idle", "memory", 75, "MiB", 80.25), Figure("idle", "cpu", 0.5, "%", 0.2)]))
    rows = shown.get().splitlines()
    assert ("80.25 MiB" in rows[1], "NO" in rows[1]) == (True, True)
    assert "yes" in rows[2]
