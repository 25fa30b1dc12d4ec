"""Another name for the database in a custom-format archive of PostgreSQL, while it passes by.

`pg_restore --create` makes the database that the archive names. So that it makes another one, the archive's table of
contents is written anew; what follows is passed on as it is. The format is what `ReadHead` and `ReadToc` read in
PostgreSQL's `pg_backup_archiver.c`: integers with a sign byte, texts behind their length, fields added over the years.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from strategies.plan import Unsafe
from strategies.postgres_sql import identifier, renamed_in, without_tablespaces

OLDEST, NEWEST = (1, 10), (1, 16)
"""Of archives: PostgreSQL 8.3, and 17 with 18; a newer one may have fields that nobody here knows."""
MOST_ENTRY_BYTES = 8 << 20
"""Of one entry in the table of contents: a view, a function."""
OF_A_DATABASE = {b"ACL", b"COMMENT", b"SECURITY LABEL"}
"""Kinds of entries that are of the database itself where their tag begins with `DATABASE`."""

Text = bytes | None


@dataclass(frozen=True, slots=True)
class Renamed:
    """The archive of any database, as that of a database of this name; raises `Unsafe` for what is none."""

    name: str
    elsewhere: AbstractSet[str] = frozenset()
    """Tablespaces whose objects go into the default one; read when the archive is."""
    search_path: str | None = None
    """The statement that sets it while objects are made, in the place of an empty one."""

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return _Archive(chunks, self).rewritten()


class _Archive:
    """An archive that is read and written at once."""

    def __init__(self, chunks: Iterator[bytes], wanted: Renamed) -> None:
        self._wanted = wanted
        self._chunks, self._buffer, self._place = chunks, b"", 0
        self._written = bytearray()
        self._version, self._integer, self._offset = (0, 0), 4, 8

    def rewritten(self) -> Iterator[bytes]:
        self._head()
        count = self._number(self._copy(self._integer + 1))
        for _ in range(count):
            self._entry()
            if len(self._written) > 1 << 20:
                yield self._flush()
        yield self._flush()
        yield self._buffer[self._place :]
        yield from self._chunks

    def _head(self) -> None:
        magic, version = self._copy(5), self._copy(2)
        self._version = version[0], version[1]
        if magic != b"PGDMP" or not OLDEST <= self._version <= NEWEST:
            raise Unsafe(f"it is no archive that is known here, but {magic!r} of version {version[0]}.{version[1]}")
        self._copy(1)
        self._integer, self._offset, _ = self._copy(3)
        self._copy(1 if self._version >= (1, 15) else self._integer + 1)
        self._copy(7 * (self._integer + 1))
        for _ in range(3):
            self._write(self._text())

    def _entry(self) -> None:
        name, elsewhere = self._wanted.name, self._wanted.elsewhere
        self._copy(2 * (self._integer + 1))
        self._copy_texts(2)
        tag, kind = self._text(), self._text()
        section = self._take(self._integer + 1 if self._version >= (1, 11) else 0)
        definition, drop = self._text(), self._text()
        new = identifier(name).encode()
        if kind in (b"DATABASE", b"DATABASE PROPERTIES"):
            tag, definition, drop = name.encode(), renamed_in(definition, new), renamed_in(drop, new)
            definition = without_tablespaces(definition, elsewhere)
        elif kind in OF_A_DATABASE and (tag or b"").startswith(b"DATABASE "):
            tag, definition = b"DATABASE " + name.encode(), renamed_in(definition, new)
        elif kind == b"SEARCHPATH" and self._wanted.search_path:
            definition = self._wanted.search_path.encode()
        self._write(tag)
        self._write(kind)
        self._written += section
        self._write(definition)
        self._write(drop)
        self._copy_texts(2)
        tablespace = self._text()
        self._write(b"" if (tablespace or b"").decode(errors="replace") in elsewhere else tablespace)
        self._copy_texts(1 if self._version >= (1, 14) else 0)
        self._copy(self._integer + 1 if self._version >= (1, 16) else 0)
        self._copy_texts(2)
        while (dependency := self._text()) is not None:
            self._write(dependency)
        self._write(None)
        self._copy(1 + self._offset)

    def _take(self, size: int) -> bytes:
        if max(size, len(self._written)) > MOST_ENTRY_BYTES:
            raise Unsafe(f"an entry of its table of contents has more than {MOST_ENTRY_BYTES} bytes")
        there = len(self._buffer) - self._place
        pieces = [self._buffer[self._place :]] if there < size else []
        while there < size:
            if not (chunk := next(self._chunks, b"")):
                raise Unsafe("its table of contents is cut off")
            pieces.append(chunk)
            there += len(chunk)
        if pieces:
            self._buffer, self._place = b"".join(pieces), 0
        self._place += size
        return self._buffer[self._place - size : self._place]

    def _copy(self, size: int) -> bytes:
        piece = self._take(size)
        self._written += piece
        return piece

    def _copy_texts(self, count: int) -> None:
        for _ in range(count):
            self._write(self._text())

    def _number(self, piece: bytes) -> int:
        """An integer: a byte for its sign, then the least significant byte first."""
        number = int.from_bytes(piece[1:], "little")
        return -number if piece[0] else number

    def _text(self) -> Text:
        """None where its length is negative."""
        size = self._number(self._take(self._integer + 1))
        return None if size < 0 else self._take(size)

    def _write(self, text: Text) -> None:
        size = 1 if text is None else len(text)
        self._written += bytes([text is None]) + size.to_bytes(self._integer, "little") + (text or b"")

    def _flush(self) -> bytes:
        written, self._written = bytes(self._written), bytearray()
        return written
