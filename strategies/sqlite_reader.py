"""Reads a SQLite database where no client is: run as a program in a helper container, which can write nothing there.

`python -m strategies.sqlite_reader copy PATH` writes a checked copy to standard output, `count PATH` the rows of each
table; in a drill `load PATH` takes a copy back.
"""

import fcntl
import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from strategies.sqlite_check import COUNTING, PARTLY

LOCK_TIMEOUT_SECONDS = 10.0
"""How long another connection's lock, or a moment in which nothing can be read here, may last."""
SHARED_FIRST, SHARED_SIZE = 0x40000002, 510
"""The bytes that whoever reads a database locks (SQLite's os.h)."""
LACKING = re.compile(
    "no such (collation sequence|function|module|tokenizer)|unknown (function|tokenizer)|no query solution"
)
"""What SQLite says where the application brings along what is not here."""
DAMAGED = "SELECT coalesce(group_concat(DISTINCT name), 'ok') FROM dbstat WHERE pagetype = 'corrupted'"
TREES = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"


class Unreadable(Exception):
    """The database cannot be read right by somebody who may only read."""


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The database as it is at one moment. Raises `sqlite3.Error`, `OSError` and `Unreadable`."""
    if path.resolve() != path:
        raise Unreadable("it is reached by a symbolic link; name the file that it leads to")
    with ExitStack() as stack:
        yield connected(path, stack)


def connected(path: Path, stack: ExitStack) -> sqlite3.Connection:
    """A connection by SQLite's own locks, else at rest: whichever is possible may change as others come and go."""
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            return stack.enter_context(begun(path, "mode=ro"))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
        try:
            return stack.enter_context(at_rest(path))
        except Unreadable:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


@contextmanager
def begun(path: Path, how: str) -> Iterator[sqlite3.Connection]:
    """A connection inside a read transaction."""
    address = f"file:{quote(os.fsencode(path))}?{how}"
    with closing(sqlite3.connect(address, uri=True, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master")
        yield connection


@contextmanager
def at_rest(path: Path) -> Iterator[sqlite3.Connection]:
    """A database whose write-ahead log went away with its last connection: all of it is in the file.

    SQLite itself refuses it, because it cannot make the log's index here. Our shared lock keeps whoever opens it
    meanwhile from moving a new log into the file when he closes it; if a long log is moved nevertheless, the file's
    times tell. They are trusted once they are older than the clock's step.
    """
    with path.open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
        except BlockingIOError:
            raise Unreadable("database is locked") from None
        before = last_change(file.fileno())
        while 0 <= time.time_ns() - max(before) < 100_000_000:
            time.sleep(0.02)
            before = last_change(file.fileno())
        logs = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
        if any(log.exists() and log.stat().st_size for log in logs):
            raise Unreadable("its log has to be recovered first: let the application open the database")
        with begun(path, "immutable=1") as connection:
            yield connection
            if last_change(file.fileno()) != before:  # Before anything is closed, which would give up our lock.
                raise Unreadable("it was changed while it was read")


def last_change(file: int) -> tuple[int, int]:
    """Times of the last change of content, and of anything, in nanoseconds of the system's clock."""
    status = os.fstat(file)
    return status.st_mtime_ns, status.st_ctime_ns


def copy(path: Path) -> int:
    """A checked copy to standard output; gives `PARTLY` where not all of it could be checked, and tells what."""
    with TemporaryDirectory() as folder:
        with reading(path) as source, closing(sqlite3.connect(copied := Path(folder, "copy"))) as target:
            source.backup(target)
        with closing(sqlite3.connect(copied)) as target:
            lacking = unchecked(target)
        with copied.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
    if lacking:
        sys.stderr.write(f"{path}: {', '.join(lacking)}\n")
    return PARTLY if lacking else 0


def unchecked(database: sqlite3.Connection) -> list[str]:
    """The tables that could only be read, since they need what is not here; the words of the strategy's `CHECK`.

    Raises `Unreadable` and `sqlite3.Error` for a database that is not sound.
    """
    try:
        demand_sound(database.execute("PRAGMA integrity_check(5)"))
    except sqlite3.OperationalError as error:
        if not LACKING.search(str(error)):
            raise
    else:
        return []
    lacking = list(lacking_tables(database))
    with suppress(sqlite3.OperationalError):  # Not every SQLite knows it.
        demand_sound(database.execute(DAMAGED))
    return lacking


def lacking_tables(database: sqlite3.Connection) -> Iterator[str]:
    """Each with what it needs; all others are checked, and of these every row is read that can be."""
    for (table,) in database.execute(TREES).fetchall():
        try:
            demand_sound(database.execute("SELECT integrity_check FROM pragma_integrity_check(?)", (table,)))
        except sqlite3.OperationalError as error:
            if not LACKING.search(str(error)):
                raise
            yield f"{table} ({error})"
            name = table.replace('"', '""')
            try:
                for _ in database.execute(f'SELECT * FROM "{name}"'):  # noqa: S608  # no placeholder fits
                    pass
            except sqlite3.OperationalError as unread:
                if not LACKING.search(str(unread)):
                    raise


def demand_sound(report: sqlite3.Cursor) -> None:
    if (lines := [line for (line,) in report]) != ["ok"]:
        raise Unreadable(f"integrity check: {'; '.join(lines)}")


def load(path: Path) -> int:
    """A new database from standard input, in a helper that has a place of its own for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    return 0


def count(path: Path) -> int:
    """Rows of each table, in the words of the strategy's `COUNT`."""
    with reading(path) as source:
        for (statement,) in source.execute(COUNTING).fetchall():
            ((line,),) = source.execute(statement)
            sys.stdout.write(f"{line}\n")
    return 0


def main(arguments: Sequence[str]) -> int:
    """`copy PATH`, `load PATH` or `count PATH`; gives the exit code."""
    command, path = arguments
    try:
        return {"copy": copy, "load": load, "count": count}[command](Path(path))
    except (sqlite3.Error, OSError, Unreadable) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
