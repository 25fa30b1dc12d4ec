"""What the worker of one destination remembers: which slice lies there in which object, read back when.

A file of its own in the work folder, which only that worker writes. It can be lost: then everything is sent again.
"""

import sqlite3
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.core.errors import StoreError
from controller.core.key import Key
from controller.storage.copies.layout import OBJECT, Piece, Previous
from controller.storage.destinations import StoredObject
from controller.storage.files import store_error

TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    slice TEXT NOT NULL,
    recipients TEXT NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    proved TEXT NOT NULL,
    PRIMARY KEY (slice, recipients)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_name ON objects (name);
CREATE TABLE IF NOT EXISTS epochs (epoch TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS tombs (name TEXT PRIMARY KEY, since TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS newest (target TEXT PRIMARY KEY, run TEXT NOT NULL, sha256 TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS locks (name TEXT PRIMARY KEY, until TEXT NOT NULL) STRICT;
CREATE TEMP TABLE listed (name TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Held:
    """An object that lies at the destination."""

    piece: Piece
    proved: str
    """When it was last read back, RFC 3339."""


class Ledger:
    """Each change is durable when its method returns. Raises `StoreError`."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Used by one thread; but what collects it, and so closes it, may run in any.
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            weakref.finalize(self, self._connection.close)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(TABLES)
        except OSError as error:
            raise store_error(error, path) from error
        except sqlite3.Error as error:
            raise ledger_error(error) from error

    def close(self) -> None:
        self._connection.close()

    def take_listing(self, objects: Iterable[StoredObject]) -> None:
        """Remember what the destination lists now; on the disk, since it may be long."""
        with self._using() as connection:
            connection.execute("BEGIN")
            connection.execute("DELETE FROM listed")
            for found in objects:
                if match := OBJECT.fullmatch(found.name):
                    connection.execute("INSERT OR REPLACE INTO listed VALUES (?, ?)", (match[2], found.size))
            connection.execute("COMMIT")

    def lacking(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Those that the destination did not list with their size."""
        with self._using() as connection:
            for piece in pieces:
                query = "SELECT 1 FROM listed WHERE name = ? AND size = ?"
                if connection.execute(query, (piece.name, piece.size)).fetchone() is None:
                    yield piece

    def held(self, digest: str, recipients: str) -> Held | None:
        """The object with a slice for these recipients, if the destination listed it with its size."""
        query = (
            "SELECT name, size, proved FROM objects JOIN listed USING (name, size) WHERE slice = ? AND recipients = ?"
        )
        with self._using() as connection:
            row = connection.execute(query, (digest, recipients)).fetchone()
        return Held(Piece(name=row[0], size=row[1]), row[2]) if row else None

    def enter(self, digest: str, recipients: str, held: Held) -> None:
        """An object was read back, and is listed."""
        piece = held.piece
        row = (digest, recipients, piece.name, piece.size, held.proved)
        with self._using() as connection:
            connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", row)
            connection.execute("INSERT OR REPLACE INTO listed VALUES (?, ?)", (piece.name, piece.size))

    def forget(self, name: str) -> None:
        """An object is not what it was, or gone."""
        with self._using() as connection:
            connection.execute("DELETE FROM objects WHERE name = ?", (name,))

    def proved(self, name: str, time: str) -> None:
        """An object was read again."""
        with self._using() as connection:
            connection.execute("UPDATE objects SET proved = ? WHERE name = ?", (time, name))

    def unlisted(self) -> list[str]:
        """Objects that should be there and were not listed with their size."""
        query = "SELECT DISTINCT name FROM objects WHERE (name, size) NOT IN (SELECT name, size FROM listed)"
        with self._using() as connection:
            return [name for (name,) in connection.execute(query)]

    def longest_unread(self, before: str) -> Iterator[Piece]:
        """Objects that were last read before a time, the longest unread first."""
        query = "SELECT name, size, min(proved) AS read FROM objects WHERE proved < ? GROUP BY name ORDER BY read"
        with self._using() as connection:
            rows = connection.execute(query, (before,)).fetchall()
        yield from (Piece(name=name, size=size) for name, size, _ in rows)

    def oldest(self, names: Iterable[str]) -> str | None:
        """When the one of these was read that has been unread the longest; None where one is not known, or for none."""
        times = set[str]()
        with self._using() as connection:
            for name in names:
                row = connection.execute("SELECT min(proved) FROM objects WHERE name = ?", (name,)).fetchone()
                if row[0] is None:
                    return None
                times.add(row[0])
        return min(times, default=None)

    def previous(self, key: Key) -> Previous | None:
        """The last copy of a target."""
        with self._using() as connection:
            row = connection.execute("SELECT run, sha256 FROM newest WHERE target = ?", (str(key),)).fetchone()
        return Previous(run=row[0], sha256=row[1]) if row else None

    def committed(self, key: Key, previous: Previous) -> None:
        """From now on this is the last copy of a target."""
        with self._using() as connection:
            row = (str(key), previous.run, previous.sha256)
            connection.execute("INSERT OR REPLACE INTO newest VALUES (?, ?, ?)", row)

    def knows(self, name: str) -> bool:
        """Whether an object holds a slice that may be named again."""
        with self._using() as connection:
            return connection.execute("SELECT 1 FROM objects WHERE name = ?", (name,)).fetchone() is not None

    def entomb(self, names: Collection[str], now: str) -> None:
        """These copies are to go, from now on unless they were before, and no others."""
        with self._using() as connection:
            connection.execute("BEGIN")
            for (name,) in connection.execute("SELECT name FROM tombs").fetchall():
                if name not in names:
                    connection.execute("DELETE FROM tombs WHERE name = ?", (name,))
            for name in names:
                connection.execute("INSERT OR IGNORE INTO tombs VALUES (?, ?)", (name, now))
            connection.execute("COMMIT")

    def entombed(self, until: str) -> set[str]:
        """Copies that were to go already then."""
        with self._using() as connection:
            return {name for (name,) in connection.execute("SELECT name FROM tombs WHERE since <= ?", (until,))}

    def lock(self, name: str, until: str) -> None:
        """What has this name at the destination is kept there until a time, whoever wants it gone."""
        with self._using() as connection:
            connection.execute("INSERT OR REPLACE INTO locks VALUES (?, ?)", (name, until))

    def unlock(self, now: str) -> None:
        """Forget the locks that have ended."""
        with self._using() as connection:
            connection.execute("DELETE FROM locks WHERE until < ?", (now,))

    def is_locked(self, name: str, until: str) -> bool:
        """Whether it is kept at least as long."""
        query = "SELECT 1 FROM locks WHERE name = ? AND until >= ?"
        with self._using() as connection:
            return connection.execute(query, (name, until)).fetchone() is not None

    def knows_epoch(self, epoch: str) -> bool:
        with self._using() as connection:
            return connection.execute("SELECT 1 FROM epochs WHERE epoch = ?", (epoch,)).fetchone() is not None

    def add_epoch(self, epoch: str) -> None:
        with self._using() as connection:
            connection.execute("INSERT OR IGNORE INTO epochs VALUES (?)", (epoch,))

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise ledger_error(error) from error


def ledger_error(error: sqlite3.Error) -> StoreError:
    hint = "Look at the work folder's disk. The file may be removed: then everything is sent again."
    return StoreError(f"cannot use the ledger of copies: {error}", hint=hint)
