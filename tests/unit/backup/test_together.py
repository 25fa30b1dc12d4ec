"""What is asked of several dumps at once: of small neighbours, in their order, as many as there is room for."""

import shlex

import pytest

from controller.backup.measuring import SMALL_BYTES, TOGETHER_BYTES, measured_together
from controller.backup.proving import SMALL_BYTES as SMALL_STREAM
from controller.backup.proving import TOGETHER_BYTES as TOGETHER_STREAMS
from controller.backup.proving import CapturedDump, checked_together
from controller.engine.ask import SCRIPT_BYTES, scripts
from controller.storage.capture import Captured
from strategies.plan import Dump, Exec, ExecCheck

ASKED = ("du", "-s")
CHECK = ExecCheck(("pg_restore",))


def dump(disk=None, check=None):
    return Dump("d", "raw", Exec(("cat",)), "cat", check, disk=disk)


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([], []),
        ([0, 1, SMALL_BYTES], [3]),
        ([1, SMALL_BYTES + 1, 1], [1, 1, 1]),
        ([1, None, 0, 1], [1, 1, 2]),
        ([1, ASKED, 1, 1], [1, 1, 2]),
        ([SMALL_BYTES] * 9, [TOGETHER_BYTES // SMALL_BYTES] * 2 + [1]),
    ],
)
def test_what_is_known_to_be_small_is_measured_together(sizes, groups):
    dumps = [dump(size) for size in sizes]
    found = list(measured_together(dumps))
    assert [len(group) for group in found] == groups
    assert [one for group in found for one in group] == dumps


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([], []),
        ([1, 2, SMALL_STREAM], [3]),
        ([1, SMALL_STREAM + 1, 1, 1], [1, 1, 2]),
        ([SMALL_STREAM] * 17, [TOGETHER_STREAMS // SMALL_STREAM, 1]),
    ],
)
def test_what_is_small_is_checked_together(sizes, groups):
    captured = [CapturedDump(dump(check=CHECK), "d", Captured(size, "", size, ""), True, {}, 0) for size in sizes]
    found = list(checked_together(captured))
    assert [len(group) for group in found] == groups
    assert [one for group in found for one in group] == captured


def test_only_the_same_command_checks_together():
    checks = [None, CHECK, CHECK, ExecCheck(("other",)), lambda stream, witnesses: (), None]
    captured = [CapturedDump(dump(check=check), "d", Captured(1, "", 1, ""), True, {}, 0) for check in checks]
    assert [len(group) for group in checked_together(captured)] == [1, 2, 1, 1, 1]


def test_questions_are_asked_in_one_exec_as_far_as_they_fit():
    half = SCRIPT_BYTES // 2
    questions = {
        "a": ["x" * 10],
        "b": ["\xf1" * (half - 200)],
        "c": ["x" * 300],
        "d": ["x" * 2 * SCRIPT_BYTES],
        "e": ["x"],
    }
    asked = list(scripts(questions, "mark"))
    assert [names for names, _ in asked] == [("a", "b"), ("c",), ("d",), ("e",)]
    assert all(shlex.join(questions[name]) in script for names, script in asked for name in names)
    assert list(scripts({}, "mark")) == []
