"""What an archive is loaded as, what is tried again, and which differences a server makes by itself."""

from typing import Any

import pytest

from strategies.mysql_counts import made_anew as made_anew_by_maria
from strategies.postgres_archive import Renamed
from strategies.postgres_client import PostgresOptions
from strategies.postgres_counts import made_anew
from strategies.postgres_load import IGNORES, MOST_AGAIN, OWN_PATH, Belated, Elsewhere, Late, Load
from strategies.postgres_restore import Remade
from strategies.postgres_sql import NO_TABLESPACE, Afterwards, Beforehand

MAKES = b'CREATE DATABASE shop WITH TEMPLATE = template0 TABLESPACE = "fa""st" ENCODING = \'UTF8\';\n'
EMPTY_PATH = b"SELECT pg_catalog.set_config('search_path', '', false);\n"


def number(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def text(value: bytes | None) -> bytes:
    return number(-1) if value is None else number(len(value)) + value


def entry(tag: bytes, kind: bytes, definition: bytes, tablespace: bytes | None = None) -> bytes:
    names = text(b"1259") + text(b"7") + text(tag) + text(kind)
    made = text(definition) + text(b"DROP x;\n") + text(b"") + text(b"public") + text(tablespace) + text(b"heap")
    owner = text(b"postgres") + text(b"false") + text(b"3") + text(None)
    return number(1) + number(0) + names + number(2) + made + owner + b"\x01" + bytes(8)


ENTRIES = (
    entry(b"SEARCHPATH", b"SEARCHPATH", EMPTY_PATH),
    entry(b"shop", b"DATABASE", MAKES),
    entry(b"t", b"TABLE", b"CREATE TABLE public.t ();\n", b'fa"st'),
    entry(b"u", b"TABLE", b"CREATE TABLE public.u ();\n", b"other"),
)


def archive(*entries: bytes) -> bytes:
    head = b"PGDMP\x01\x0e\x00\x04\x08\x01" + number(0) + 7 * number(1) + text(b"shop") + text(b"17") + text(b"17")
    return head + number(len(entries)) + b"".join(entries) + b"rows"


def rewritten(rewrite: Renamed) -> bytes:
    whole = archive(*ENTRIES)
    return b"".join(rewrite(iter([whole[:100], whole[100:]])))


def test_only_what_lies_in_a_missing_tablespace_goes_into_the_default_one() -> None:
    made = rewritten(Renamed("restore-1", {'fa"st'}))
    assert b"TABLESPACE" not in made
    assert b'CREATE DATABASE "restore-1" WITH' in made
    assert made.endswith(b"rows")
    assert text(b'fa"st') not in made
    assert text(b"other") in made
    assert text(b'fa"st') in rewritten(Renamed("restore-1"))
    assert b'TABLESPACE = "fa""st"' in rewritten(Renamed("restore-1", {"other"}))


def test_a_search_path_takes_the_place_of_the_empty_one() -> None:
    assert text(EMPTY_PATH) in rewritten(Renamed("x"))
    made = rewritten(Renamed("x", search_path=OWN_PATH))
    assert text(OWN_PATH.encode()) in made
    assert EMPTY_PATH not in made


def load(**more: Any) -> Load:
    return Load("shop.pgdump", "restore-1", ("drop",), PostgresOptions(), Elsewhere(), Belated(), **more)


def test_what_has_failed_is_tried_again_by_itself_with_its_own_path_as_long_as_less_fails() -> None:
    feed = load().feed()
    assert feed.again
    assert "--create" in feed.argv
    second = feed.again("pg_restore: error: x\nfailed: 7 8\n")
    assert second
    assert "7;\n8;" in second.argv
    assert "--create" not in second.argv
    assert second.rewrite == Renamed("restore-1", set(), OWN_PATH)
    assert second.again
    assert second.again("failed: 8 9") is None
    third = second.again("failed: 8")
    assert third
    assert third.again
    assert third.again("failed: 8") is None


def test_what_is_tried_again_does_without_event_triggers_where_the_account_may() -> None:
    for may, there in ((True, [False, True]), (False, [False, False])):
        first = load(silences=may).feed()
        assert first.again
        second = first.again("failed: 7")
        assert second
        assert ["event_triggers=off" in " ".join(feed.argv) for feed in (first, second)] == there


@pytest.mark.parametrize(
    "printed",
    [
        "pg_restore: error: no such file",
        "failed: 1\nFATAL:  database x does not exist",
        "failed:" + " 1" * MOST_AGAIN * 2,
    ],
)
def test_nothing_is_tried_again_where_that_would_not_help(printed: str) -> None:
    feed = load().feed()
    assert feed.again
    assert feed.again(printed) is None


BY_NAME = "ERROR:  can only create extension in database shop\nfailed: 7 8\n"


def test_what_can_only_be_made_under_the_databases_name_is_loaded_once_it_has_it() -> None:
    loaded = load()
    late, remade = Late(loaded, "shop"), Remade("shop.pgdump", loaded.belated)
    fewer = {"extensions": 1}
    assert late() is None
    assert remade("extensions", 2, fewer) == ""
    first = loaded.feed().again
    assert first
    second = first(BY_NAME)
    assert second
    assert second.again
    rest = second.again(BY_NAME)
    assert rest
    assert (rest.argv, rest.again) == (IGNORES, None)
    feed = late()
    assert feed
    assert "7;\n8;" in feed.argv
    assert feed.argv[-1] == "--dbname=dbname='shop'"
    assert feed.rewrite == Renamed("shop", set(), OWN_PATH)
    assert feed.again is None
    assert "follows" in remade("extensions", 2, fewer)
    assert remade("extensions", 2, {"extensions": 2}) == ""
    assert remade("rows of t", 2, {}) == ""


def test_a_path_that_is_given_is_used_from_the_beginning() -> None:
    feed = load(search_path="app,public").feed()
    path = "SET search_path = app,public;\n"
    assert feed.rewrite == Renamed("restore-1", set(), path)
    assert feed.again
    second = feed.again("failed: 3")
    assert second
    assert second.rewrite == Renamed("restore-1", set(), path)


def globals_by(rewrite: Beforehand | Afterwards) -> str:
    sql = b'CREATE TABLESPACE "fa st" OWNER postgres LOCATION \'/x\';\nGRANT ALL ON TABLESPACE "fa st" TO app;\n'
    return b"".join(rewrite(iter([sql]))).decode()


def test_a_tablespace_that_cannot_be_made_is_told_and_nothing_is_granted_on_it() -> None:
    before = globals_by(Beforehand("mark")).splitlines()
    made = before.index("CREATE TABLESPACE \"fa st\" OWNER postgres LOCATION '/x';")
    assert (before[made - 1], before[made + 1]) == (r"\set ON_ERROR_STOP off", r"\set ON_ERROR_STOP on")
    (told,) = [line for line in before if NO_TABLESPACE in line]
    elsewhere = Elsewhere()
    elsewhere(told.removeprefix("select E'").removesuffix("';").replace("''", "'"))
    assert elsewhere.names == {"fa st"}
    after = globals_by(Afterwards((), "mark", passwords=False))
    assert "do E'begin if not (not exists (select from pg_catalog.pg_tablespace" in after
    assert "GRANT ALL ON TABLESPACE" in after


def test_a_difference_that_the_server_makes_itself_is_known() -> None:
    there = {
        "rows of m": 500,
        "definition of materialized view m": 1,
        "partition p": 1,
        "rows of p": 3,
        "extensions": 2,
    }
    there |= {"value of sequence s": 9, "definition of view v": 7}
    assert made_anew("rows of m", 0, there) == "it is filled anew"
    assert "spreads" in made_anew("rows of p", 5, there)
    assert "went on" in made_anew("value of sequence s", 8, there)
    assert made_anew("value of sequence s", 10, there) == "", "behind what was dumped numbers would come twice"
    assert "template" in made_anew("extensions", 1, there)
    assert made_anew("extensions", 3, there) == ""
    assert made_anew("definition of view v", 6, there) != ""
    assert made_anew("definition of view w", 6, there) == "", "it is missing"
    assert made_anew("rows of t", 6, there | {"rows of t": 5}) == ""


def test_a_sequence_of_mariadb_may_go_on_and_not_back() -> None:
    assert made_anew_by_maria("value of sequence s", 8, {"value of sequence s": 9}) != ""
    assert made_anew_by_maria("value of sequence s", 9, {"value of sequence s": 8}) == ""
    assert made_anew_by_maria("history of t", 9, {"history of t": 8}) == ""
