"""Writes docs/corpus.md: each row of the corpus, and by which ways it comes back; `python -m tests.corpus.table`."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.corpus import mariadb_plugin_rows, mariadb_rows, postgres_extension_rows, postgres_rows
from tests.corpus.rows import BY_HAND, DRILLED, FRESH, REPLACED, Row

PAGE = Path(__file__).parents[2] / "docs/corpus.md"
HEAD = """# What comes back, row by row

Each row is a kind of object that `make corpus` makes in a real server, backs up, and brings back: in place of what is
there, beside a writer; on a fresh server; in a drill; by hand with the lines of the manifest; and in the server's next
version, where Debian has one. The server's own tools say what was there before and after: `pg_dump` and ordered
checksums, `mariadb-dump` and checksums, `DUMP` of each key, `.dump`, and what the system says of a file.
`python -m tests.corpus.table` writes this page from the rows in `tests/corpus/`; [strategies.md](strategies.md) says
it in short.

**all** is the object with its rows; a dash is what does not come back by this way, with the reason beside. A kind of
which something is not in the dump is told at the backup.
"""
WAYS = (REPLACED, FRESH, DRILLED, BY_HAND)
ENGINES = (
    ("PostgreSQL", "PostgreSQL 17, and from 15 into 17", postgres_rows.ROWS),
    ("Extensions of PostgreSQL", "those that come with the server, and Debian's", postgres_extension_rows.ROWS),
    ("MariaDB", "MariaDB 11.8, and from 10.11 into 11.8", mariadb_rows.ROWS),
    ("Engines and plugins of MariaDB", "Debian's", mariadb_plugin_rows.ROWS),
)
SCRIPT = r"(?m)^# row (\w+)(?: since (.*))?$"
PLAIN = (
    ("SQLite", "SQLite 3.46", "sqlite.sql", r"(?m)^-- row (\w+)(?: since (.*))?$", {}),
    (
        "Redis and Valkey",
        "Redis 8.0, Valkey 8.1, and from Redis 7.0 into 8.0",
        "redis.sh",
        SCRIPT,
        {},
    ),
    ("OpenLDAP", "OpenLDAP 2.6, and from 2.5 into 2.6", "openldap.sh", SCRIPT, {}),
    ("etcd", "etcd 3.5, and from 3.4 into 3.5", "etcd.sh", SCRIPT, {}),
    ("InfluxDB", "InfluxDB 1.6, which is the one of Debian 12 as well as of 13", "influxdb.sh", SCRIPT, {}),
    (
        "RabbitMQ",
        "RabbitMQ 4.0, and from 3.10 into 4.0, which takes no policy of mirrored queues: told as `not-mirrored`",
        "rabbitmq.sh",
        SCRIPT,
        {},
    ),
    (
        "Files",
        "GNU tar on ext4 or overlay",
        "files.py",
        r"(?m)^def (\w+)\(at: Path\)()",
        {"sockets": "they hold no data"},
    ),
)
"""What is a script; with the rows that do not come back, and why."""


def page() -> str:
    return HEAD + "".join(f"\n## {name}\n\n{about}.\n\n{table}" for name, about, table in tables())


def tables() -> Iterator[tuple[str, str, str]]:
    for name, about, rows in ENGINES:
        yield name, about, _table(map(_cells, rows))
    for name, about, script, pattern, without in PLAIN:
        found = re.findall(pattern, (Path(__file__).parent / script).read_text())
        yield (
            name,
            about,
            _table((_words(row), since, *_ways(row, without), without.get(row, "")) for row, since in found),
        )


def _ways(row: str, without: Iterable[str]) -> tuple[str, ...]:
    return ("—" if row in without else "all",) * len(WAYS)


def _cells(row: Row) -> tuple[str, ...]:
    return (_words(row.name), row.since, *(_how(row, way) for way in WAYS), _note(row))


def _how(row: Row, way: str) -> str:
    if row.is_left_out(way):
        return "—"
    if way in row.without or "schema" in row.without:
        return "rows"
    return "object" if "rows" in row.without else "all"


def _note(row: Row) -> str:
    told = [f"told: `{row.told.partition(':')[0]}`"] if row.told else []
    return "; ".join([*dict.fromkeys(row.without.values()), *told])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    head = ("kind", "since", *WAYS, "what is not, or is told")
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
