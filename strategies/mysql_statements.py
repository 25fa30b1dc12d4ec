"""Splits a dump of MariaDB or MySQL into statements, and rewrites it for a load elsewhere: by statement, never by line.

Tables with their rows and sequences may have another name for a while; views, routines, triggers and events may not,
since their text names their database. So a restore loads the first, and keeps the second for the moment of the swap.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from strategies.mysql_client import identifier
from strategies.mysql_dump import OBJECT
from strategies.plan import Unsafe

LONGEST = 64 << 20
"""Bytes of the longest statement that is no row; rows are of any length."""
QUOTED = rb"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`"
TOKEN = re.compile(QUOTED + rb"|[;'\"`]", re.DOTALL)
BETWEEN = re.compile(rb"(?:\s+|--[^\n]*(?:\n|\Z)|/\*M?!999999[^\n]*\n)*")
"""What stands before a statement and is none: blanks, comments, the client's own switch to its sandbox."""
ROWS = (b"INSERT ", b"REPLACE ")
LOCKS = (b"LOCK TABLES ", b"UNLOCK TABLES")
"""They keep a sequence from a table that takes its values from there, and nobody else knows the tables yet."""
BLOCK, BLOCK_END = b"DELIMITER ;;\n", b"\nDELIMITER ;\n"
"""Around a routine's text, which may hold anything but that line."""
HEAD = 64
"""Bytes by which a statement is known."""

CONDITION = re.compile(rb"/\*M?!\d{5,6} ?")
LOADED = re.compile(rb"DROP TABLE|CREATE TABLE|ALTER TABLE|(?:CREATE|DROP) SEQUENCE|(?:DO|SELECT) SETVAL|COMMIT|START ")
VIEW = b"/*!50001 "
"""How the client begins what belongs to a view, also the table that stands in for it."""
QUALIFIED = re.compile(QUOTED.replace(rb"`[^`]*`", rb"(?P<name>`(?:[^`]|``)*`)(?P<dot>\.(?=`))?"), re.DOTALL)
PASSWORD = re.compile(
    rb"(?P<kept>`(?:[^`]|``)*`)| IDENTIFIED (?:BY PASSWORD '[^']*'"
    rb"|VIA \w+(?: USING '[^']*')?(?: OR \w+(?: USING '[^']*')?)*)|'(?:[^'\\]|\\.)*'",
    re.DOTALL,
)
GRANTEE = re.compile(rb"\bTO (`(?:[^`]|``)*`)@`")
KINDS = {b"TRIGGER": "triggers", b"EVENT": "events", b"VIEW": "views"}


class Statement(NamedTuple):
    """One statement, or a piece of one that is made of rows."""

    head: bytes
    text: bytes

    @property
    def plain(self) -> bytes:
        """Its head without the condition of a version around it."""
        return CONDITION.sub(b"", self.head, count=1)

    @property
    def of_tables(self) -> bool:
        """Whether it makes or fills tables or sequences."""
        return self.head.startswith(ROWS) or bool(LOADED.match(self.plain) and not self.head.startswith(VIEW))


def statements(chunks: Iterable[bytes]) -> Iterator[Statement]:
    """Each with its end; comments between them are left out. Raises `Unsafe` for one that has no end."""
    source, held = iter(chunks), bytearray()
    while True:
        if (match := BETWEEN.match(held)) and match.end() + HEAD > len(held) and _more(source, held):
            continue
        del held[: match.end() if match else 0]
        if not held:
            return
        if held.startswith(ROWS):
            yield from _rows(source, held)
            continue
        while not (end := _end(held)):
            if len(held) > LONGEST or not _more(source, held):
                raise Unsafe(f"the statement `{held[:HEAD].decode(errors='replace')}` has no end")
        text = bytes(held[:end])
        del held[:end]
        yield Statement(text[:HEAD], text)


def _more(source: Iterator[bytes], held: bytearray) -> bool:
    chunk = next(source, b"")
    held += chunk
    return bool(chunk)


def _rows(source: Iterator[bytes], held: bytearray) -> Iterator[Statement]:
    r"""The client writes a line break within a value as `\n`."""
    head = bytes(held[:HEAD])
    while (at := held.find(b";\n")) < 0:
        yield Statement(head, bytes(held[:-1]))
        del held[:-1]
        if not _more(source, held):
            raise Unsafe(f"the statement `{head.decode(errors='replace')}` has no end")
    yield Statement(head, bytes(held[: at + 2]))
    del held[: at + 2]


def _end(held: bytearray) -> int:
    """Where the first statement ends; 0 if that is not here yet."""
    if held.startswith(BLOCK):
        at = held.find(BLOCK_END)
        return at + len(BLOCK_END) if at >= 0 else 0
    for token in TOKEN.finditer(held):
        if token[0] == b";":
            return token.end()
        if len(token[0]) == 1:  # A quote without its end.
            return 0
    return 0


@dataclass(frozen=True, slots=True)
class Aside:
    """The load of a dump under the names that `names` gives to databases; what cannot be there is kept for the swap."""

    names: Mapping[str, str]
    keep: str
    """The SQL that keeps statements; its rows, of which `row` is the beginning, end with kind and text."""
    row: str

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        quoted = {identifier(old).encode(): identifier(new).encode() for old, new in self.names.items()}
        later: list[str] = []
        for statement in statements(chunks):
            if statement.head.startswith(ROWS):
                yield statement.text
            elif statement.plain.startswith((b"CREATE DATABASE ", b"USE ")):
                yield _renamed(statement.text, quoted, qualified=False) + b"\n"
            elif statement.plain.startswith(b"SET "):
                yield statement.text + b"\n"
                later.append(self._kept(statement.text))
            elif statement.of_tables:
                yield _renamed(statement.text, quoted) + b"\n"
            elif not statement.plain.startswith(LOCKS):
                later.append(self._kept(statement.text))
        if later:
            yield f"{self.keep} {', '.join(later)};\n".encode()

    def _kept(self, text: bytes) -> str:
        return f"({self.row}, '{_kind(text)}', x'{text.hex()}')"


def tables(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Only tables, rows and sequences, in the database of the dump."""
    for statement in statements(chunks):
        if statement.of_tables or statement.plain.startswith((b"CREATE DATABASE ", b"USE ", b"SET ")):
            yield statement.text + (b"" if statement.head.startswith(ROWS) else b"\n")


def code(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Only what `tables` leaves out."""
    for statement in statements(chunks):
        if not (statement.of_tables or statement.plain.startswith(LOCKS)):
            yield statement.text + b"\n"


def accounts(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Of users and grants only what makes accounts that are not there."""
    for statement in statements(chunks):
        if statement.plain.startswith(b"CREATE USER "):
            yield statement.text + b"\n"


@dataclass(frozen=True, slots=True)
class Grants:
    """Users and grants."""

    passwords: bool = False
    """Those of accounts that are there become the run's."""
    but: str = ""
    """The user who keeps it nevertheless."""

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for statement in statements(chunks):
            text = statement.text
            grantee = GRANTEE.search(text)
            own = grantee and grantee[1] == identifier(self.but).encode()
            if text.startswith(b"GRANT ") and (own or not self.passwords):
                text = PASSWORD.sub(_without_password, text)
            yield text + b"\n"


def _without_password(match: re.Match[bytes]) -> bytes:
    return b"" if match[0].startswith(b" IDENTIFIED ") else match[0]


def _renamed(text: bytes, names: Mapping[bytes, bytes], *, qualified: bool = True) -> bytes:
    """With the databases' other names, outside of literals; only where a table's name follows, if `qualified`."""

    def renamed(match: re.Match[bytes]) -> bytes:
        name, dot = match["name"], match["dot"] or b""
        return names.get(name, name) + dot if name and (dot or not qualified) else match[0]

    return QUALIFIED.sub(renamed, text) if names else text


def _kind(text: bytes) -> str:
    """As what the server counts it."""
    match = None if text.startswith(BLOCK) else OBJECT.search(b"\n" + text)
    word = match and (match[3] or match[4])
    return KINDS.get(word, "routines") if word else ""
