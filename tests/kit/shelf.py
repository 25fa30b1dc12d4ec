"""A SQLite database that needs what no client has."""

import sqlite3
from contextlib import closing
from pathlib import Path

PAGE_SIZE = 4096
COUNTS = {"movie": 500, "odd \" 'name": 2, "made": 1, "usual": 2}
"""Of what can be counted without it."""


def shelf(path: Path) -> None:
    """As media servers have it: titles are compared, and one kind of notes is kept, by the application's own order."""
    with closing(sqlite3.connect(path)) as made:
        made.create_collation("naturalsort", lambda left, right: (left > right) - (left < right))
        made.create_function("plain", 1, lambda text: text, deterministic=True)
        made.executescript("""
            CREATE TABLE movie (id INTEGER PRIMARY KEY, title TEXT COLLATE naturalsort, story TEXT);
            CREATE INDEX by_title ON movie (title);
            CREATE TABLE note (word TEXT COLLATE naturalsort PRIMARY KEY, text) WITHOUT ROWID;
            CREATE TABLE "odd "" 'name" (word, CHECK (plain(word) <> ''));
            CREATE INDEX "by plain" ON "odd "" 'name" (plain(word));
            CREATE TABLE made (x, y AS (plain(x)), z AS (plain(x)) STORED);
            CREATE TABLE usual (x UNIQUE);
            CREATE VIEW shown AS SELECT plain(title) FROM movie ORDER BY title;
            INSERT INTO usual VALUES (1), (2);
            INSERT INTO note VALUES ('a', 1);
            INSERT INTO made (x) VALUES (1);
            INSERT INTO "odd "" 'name" VALUES ('a'), ('b');
        """)
        rows = [(f"title {number}", f"story {number} " * 200) for number in range(500)]
        made.executemany("INSERT INTO movie (title, story) VALUES (?, ?)", rows)
        made.commit()


def spoilt(path: Path, what: str) -> bytes:
    """The content of the database with a page of a table or an index spoilt."""
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT max(pageno) FROM dbstat WHERE name = ?", [what]).fetchone()
    content = path.read_bytes()
    start = (page - 1) * PAGE_SIZE
    return content[:start] + b"\x0d\xff\xff\xff" * (PAGE_SIZE // 4) + content[start + PAGE_SIZE :]
