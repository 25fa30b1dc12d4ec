import io
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.base import MOST_DUMPS, Unsuitable
from strategies.checks import read_counts
from strategies.plan import Incomplete, file_name
from strategies.servers import choose

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80)


@given(TEXT)
def test_a_file_name_is_safe_whatever_the_text(text):
    assert re.fullmatch(r"[A-Za-z0-9_%][A-Za-z0-9._%-]{0,254}", file_name(text, ".pgdump"))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=16))
def test_a_short_file_name_says_the_text_again(text):
    assert unquote(file_name(text, "")) == text


@given(TEXT, TEXT)
def test_different_texts_have_different_file_names(text, other):
    assert (file_name(text, ".sql") == file_name(other, ".sql")) == (text == other)


def test_long_texts_with_the_same_beginning_have_different_file_names():
    assert file_name("ñ" * 64 + "a", ".sql") != file_name("ñ" * 64 + "b", ".sql")


def test_numbers_are_read_line_by_line_and_the_same_name_is_added_up():
    assert read_counts(io.BytesIO(b"8000\tpublic.account\n0\ta\tb\n\n1\tpublic.account\n")) == {
        "public.account": 8001,
        "a\tb": 0,
    }


@pytest.mark.parametrize("line", [b"account", b"\taccount", b"-1\taccount", b"ERROR: relation\t1", b"9" * 99 + b"\tx"])
def test_an_answer_that_is_no_number_is_refused(line):
    with pytest.raises(Incomplete, match="question for numbers"):
        read_counts(io.BytesIO(b"1\tx\n" + line + b"\n"))


def test_more_databases_than_one_run_can_hold_in_mind_are_refused():
    names = [f"db{number:05}" for number in range(MOST_DUMPS + 1)]
    assert len(choose((), names[1:])) == 2000
    with pytest.raises(Unsuitable) as error:
        choose((), names)
    assert error.value.code == "too-many"
