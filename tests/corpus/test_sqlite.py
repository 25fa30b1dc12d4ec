"""SQLite: every kind of object, pragma and value of its manual (sqlite.org/lang.html, pragma.html), a file for each."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.ways import WAYS, Corpus, backed_up, rows_in
from tests.kit.stage import App, Sidecar

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROWS = rows_in("sqlite.sql")
QUICK = ("values", "generated", "triggers", "names", "fts5", "utf16le", "page_65536", "wal")
DIGEST = """digest() {
    for fact in page_size encoding auto_vacuum user_version application_id freelist_count; do
        sqlite3 -init /dev/null "$1" "PRAGMA $fact"
    done
    sqlite3 -init /dev/null "$1" .dump "SELECT name, rootpage > 0, sql FROM sqlite_schema"
    od -A n -t u1 -j 18 -N 3 "$1"
} 2>&1
"""
"""With the bytes that tell of a log, and of what is reserved at the end of each page."""
NOTE = f"""{DIGEST}
for path in /data/row_*.db; do
    echo "INSERT INTO row VALUES ('${{path#/data/row_}}', '$(digest "$path" | sha256sum)');"
done | {{ echo 'CREATE TABLE row (name, digest);'; cat; }} | sqlite3 /data/noted.db
"""
DIFFERING = f"""{DIGEST}
sqlite3 -separator ' ' /data/noted.db 'SELECT * FROM row' | while read -r name digest; do
    [ "$(digest "/data/row_$name" | sha256sum)" = "$digest" ] || echo "${{name%.db}}"
done
"""
WRITE = "while sqlite3 /data/busy.db 'CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)'; do sleep 0.2; done"


def made(rows: dict[str, str]) -> str:
    return "\n".join(f"sqlite3 /data/row_{name}.db <<'END' >/dev/null\n{sql}END" for name, sql in rows.items())


ALL = Corpus(
    "lite",
    "SQLITE",
    {"strategy": "sqlite", "expect.ignore": "t"},
    fill=made(ROWS),
    note=NOTE,
    differing=DIFFERING,
    destroy="for path in /data/row_*; do sqlite3 $path 'CREATE TABLE spoilt (a); DELETE FROM t' || true; done",
    write=WRITE,
    options=("--volume", "/data"),
)
FEW = replace(ALL, fill=made({name: ROWS[name] for name in QUICK}))


@pytest.mark.slow
def test_a_few_of_each_are_replaced_beside_a_writer(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    assert WAYS["replace"](backed_up(FEW, *stand), tmp_path) == []


@pytest.mark.slow
def test_every_row_comes_back_by_each_way(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    there = backed_up(replace(ALL, service="lites"), *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == {name: [] for name in WAYS}
