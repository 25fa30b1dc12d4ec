"""The table of faults: what breaks, what has to happen, what was seen; a pytest plugin that gathers it from the tests.

A test carries `@pytest.mark.fault(22, "fsync answers EIO", "fails store-error; not listed")`: the statement's number,
the fault and what is expected. It says what it saw by `record_property("seen", "...")` and, where they are more than
one, how many cases by `record_property("cases", 42)`. Several tests may share a row. `--fault-table FILE` writes the
table as Markdown.
"""

import re
from collections import defaultdict
from pathlib import Path

import pytest

TITLE = """# What it survives

Made by `make faults`, from tests that break the real engine, the real disk and the real network on purpose. Each row is
a statement that tests are named after; what was seen is what they measured, or what a user is told.

"""
FAULTS = """## Faults

| # | fault | expected | seen | cases |
| --- | --- | --- | --- | --- |
"""
INPUTS = """
## Bad inputs

| input | expected | seen | cases |
| --- | --- | --- | --- |
"""
Row = tuple[int, str, str]
"""Number, fault and expectation; the number is 0 for a bad input."""
LONGEST = 240
RUN = re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{8}\b")
LATER: dict[Row, str] = {
    (28, "command repeated, replayed, expired; clocks apart", "one run; refusal names the reason"): "commands",
}
"""Rows without a test, and what has to be there first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="Write the table of faults to this file.")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Table(config.getoption("--fault-table")), "fault-table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("fault"):
            item.add_marker("faults")


class Table:
    """Rows by number, fault and expectation, as the tests end, in this process or in one of several."""

    def __init__(self, target: Path | None) -> None:
        self._target = target
        self._rows: defaultdict[Row, list[pytest.TestReport]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):
        report = yield
        report.faults = [marker.args for marker in item.iter_markers("fault")]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or (report.when == "setup" and not report.passed):
            for number, fault, expected in report.faults:
                self._rows[number, fault, expected].append(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._rows or not (self._target or terminalreporter.config.getoption("markexpr") == "faults or slow"):
            return
        text = self.markdown()
        terminalreporter.section("faults")
        terminalreporter.write(text)
        if self._target:
            self._target.parent.mkdir(exist_ok=True)
            self._target.write_text(TITLE + text)

    def markdown(self) -> str:
        """The numbered statements first, then the bad inputs."""
        rows = sorted({*self._rows, *LATER})
        faults = "".join(f"| {row[0]} {self._row(row)}" for row in rows if row[0])
        inputs = "".join(self._row(row) for row in rows if not row[0])
        return f"{FAULTS}{faults}{INPUTS}{inputs}"

    def _row(self, row: Row) -> str:
        _, fault, expected = row
        if needed := LATER.get(row):
            return f"| {fault} | {expected} | later, with {needed} | 0 |\n"
        reports = self._rows[row]
        told = [dict(report.user_properties) for report in reports]
        cases = sum(int(facts.get("cases", 1)) for facts in told)
        seen = dict.fromkeys(_plain(facts["seen"]) for facts in told if facts.get("seen"))
        bad = sum(not report.passed for report in reports)
        verdict = f"**{bad} of {len(reports)} tests failed**" if bad else "; ".join(seen) or "as expected"
        return f"| {fault} | {expected} | {verdict} | {cases} |\n"


def _plain(seen: object) -> str:
    """A cell: on one line, of bearable length, and without what differs from one time to the next."""
    told = RUN.sub("<run>", " ".join(str(seen).split()))
    shown = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in told).replace("|", "\\|")
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "..."
