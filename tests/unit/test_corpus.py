"""docs/corpus.md says what the corpus holds, and docs/strategies.md names every warning that a row is told by."""

import re
from pathlib import Path

import pytest

from tests.corpus import table
from tests.corpus.rows import Row

DOCS = Path(__file__).parents[2] / "docs"
ROWS = [row for _, _, rows in table.ENGINES for row in rows]


def test_the_page_is_that_of_the_rows():
    assert table.PAGE.read_text() == table.page(), "run python -m tests.corpus.table"


def test_no_row_of_an_engine_has_the_name_of_another():
    for _, _, rows in table.ENGINES:
        names = [row.name for row in rows]
        assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("row", [row for row in ROWS if row.told or row.told_by], ids=lambda row: row.name)
def test_what_a_row_is_told_by_is_explained(row: Row):
    explained = set(re.findall(r"^\| `([a-z-]+)`", (DOCS / "strategies.md").read_text(), re.MULTILINE))
    assert {told.partition(":")[0] for told in (row.told, *row.told_by.values()) if told} <= explained
