"""What of the numbers beside a dump belongs to the structure of the data."""

from controller.backup.counts import shapes

COUNTED = {"rows of item": 3, "definition of table item": 7}


def test_more_rows_are_the_same_structure():
    assert shapes({**COUNTED, "rows of item": 4}) == shapes(COUNTED)


def test_another_definition_or_another_name_is_another_structure():
    changed = [{**COUNTED, "definition of table item": 8}, {**COUNTED, "rows of log": 0}, {"rows of item": 3}]
    assert len({shapes(COUNTED), *map(shapes, changed)}) == 4
