#!/usr/bin/env python3
"""Updates the reference tables in docs/ from the models; `--check` only says whether they are up to date."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from config.reference import config_table, label_table
from config.resolve import COMMAND
from controller.api.problems import status_of
from controller.core.errors import SidecarError
from strategies import discover

DOCS = Path(__file__).parents[1] / "docs"
PLACE = re.compile(r"(<!-- table: [^\n]*\n).*?(<!-- /table -->)", re.DOTALL)


def pages() -> Mapping[Path, str]:
    """The text that each page with a table should have."""
    options = {strategy.names[0]: strategy.options for strategy in discover().values()}
    del options[COMMAND]  # Its only option is the label commands.backup.
    tables = {"labels": label_table(options), "configuration": config_table(), "errors": error_table()}
    return {(page := DOCS / f"{name}.md"): with_table(page, table) for name, table in tables.items()}


def error_table() -> str:
    rows = ["| code | what happened | what to do | retried | HTTP |", "| --- | --- | --- | --- | --- |"]
    for error in sorted(errors(SidecarError), key=lambda error: error.code):
        retried = "yes" if error.transient else ""
        rows.append(f"| `{error.code}` | {error.__doc__} | {error.remedy} | {retried} | {status_of(error)} |")
    return "\n".join((*rows, ""))


def errors(parent: type[SidecarError]) -> Iterator[type[SidecarError]]:
    """Those that have a code of their own."""
    for error in parent.__subclasses__():
        if "code" in vars(error):
            yield error
        yield from errors(error)


def with_table(page: Path, table: str) -> str:
    text, places = PLACE.subn(lambda place: place[1] + table + place[2], page.read_text())
    if places != 1:
        sys.exit(f"{page.name} needs one place for its table, and has {places}")
    return text


def main() -> int:
    stale = {page: text for page, text in pages().items() if text != page.read_text()}
    if stale and "--check" in sys.argv:
        names = " and ".join(page.name for page in stale)
        sys.exit(f"the table in {names} is out of date; run scripts/reference.py in the virtual environment")
    for page, text in stale.items():
        page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
