import io
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from strategies.base import CommaList, Incomplete, Options, counted, file_name

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80)


class Sample(Options):
    two_words: CommaList = ()


@given(TEXT)
def test_a_file_name_is_safe_whatever_the_text(text):
    assert re.fullmatch(r"[A-Za-z0-9_%][A-Za-z0-9._%-]{0,254}", file_name(text, ".pgdump"))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=16))
def test_a_short_file_name_says_the_text_again(text):
    assert unquote(file_name(text, "")) == text


@given(TEXT, TEXT)
def test_different_texts_have_different_file_names(one, other):
    assert (file_name(one, ".sql") == file_name(other, ".sql")) == (one == other)


def test_long_texts_with_the_same_beginning_have_different_file_names():
    assert file_name("ñ" * 64 + "a", ".sql") != file_name("ñ" * 64 + "b", ".sql")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a, b,c ", ("a", "b", "c")),
        ('["a,b", "c"]', ("a,b", "c")),
        (["a,b", "c"], ("a,b", "c")),
        ("", ()),
        ("one", ("one",)),
    ],
)
def test_lists_are_commas_or_an_array(written, read):
    assert Sample.model_validate({"two-words": written}).two_words == read


@pytest.mark.parametrize("written", ['["a"', "[1]", 7])
def test_a_broken_list_is_refused(written):
    with pytest.raises(ValidationError):
        Sample.model_validate({"two-words": written})


def test_numbers_are_read_line_by_line_and_the_same_name_is_added_up():
    assert counted(io.BytesIO(b"8000\tpublic.account\n0\ta\tb\n\n1\tpublic.account\n")) == {
        "public.account": 8001,
        "a\tb": 0,
    }


@pytest.mark.parametrize("line", [b"account", b"\taccount", b"-1\taccount", b"ERROR: relation\t1"])
def test_an_answer_that_is_no_number_is_refused(line):
    with pytest.raises(Incomplete, match="question for numbers"):
        counted(io.BytesIO(b"1\tx\n" + line + b"\n"))
