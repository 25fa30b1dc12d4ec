"""Splits a dump of MariaDB or MySQL into statements: by statement, never by line."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from strategies.mysql_client import identifier
from strategies.mysql_dump import NEXT_EVENT
from strategies.plan import Unsafe

LONGEST = 4 << 20
"""Bytes of the longest statement that is no row; rows are of any length."""
# Nothing is tried twice, and no place is remembered for that.
QUOTED = rb"'[^'\\]*+(?:\\.[^'\\]*+)*+'|\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\"|`[^`]*+`"
TOKEN = re.compile(QUOTED + rb"|[;'\"`]", re.DOTALL)
BETWEEN = re.compile(rb"(?:\s++|--[^\n]*+(?:\n|\Z)|/\*M?!999999[^\n]*+\n)*+")
"""What stands before a statement and is none: blanks, comments, the client's own switch to its sandbox."""
ROWS = (b"INSERT ", b"REPLACE ")
INTO = (b"CREATE DATABASE ", b"USE ")
LOCKS = (b"LOCK TABLES ", b"UNLOCK TABLES")
"""They keep a sequence from a table that takes its values from there, and nobody else knows the tables yet."""
BLOCK, BLOCK_END = b"DELIMITER ;;\n", b"\nDELIMITER ;\n"
"""Around a routine's text, which may hold anything but that line."""
HEAD = 64
"""Bytes by which a statement is known."""

CONDITION = re.compile(rb"/\*M?!\d{5,6} ?")
LOADED = re.compile(rb"DROP TABLE|CREATE TABLE|ALTER TABLE|(?:CREATE|DROP) SEQUENCE|(?:DO|SELECT) SETVAL|COMMIT|START ")
ARCHIVED = re.compile(rb"(\n\) ENGINE=ARCHIVE) AUTO_INCREMENT=\d++")
"""Where that engine goes on, below which it takes no number any more, so that it would not take back its own rows."""
VIEW = b"/*!50001 "
"""How the client begins what belongs to a view, also the table that stands in for it."""
PASSWORD = re.compile(
    rb"(?P<kept>`[^`]*+(?:``[^`]*+)*+`)| IDENTIFIED (?:BY PASSWORD '[^']*'"
    rb"|VIA \w+(?: USING '[^']*')?(?: OR \w+(?: USING '[^']*')?)*)|'[^'\\]*+(?:\\.[^'\\]*+)*+'",
    re.DOTALL,
)
COLUMN = re.compile(rb"`[^`]*+(?:``[^`]*+)*+`")
_OF_COLUMNS = rb"(?: \((?P<columns>" + COLUMN.pattern + rb"(?:, " + COLUMN.pattern + rb")*+)\))?+"
PRIVILEGE = re.compile(rb"(?P<name>[A-Z]++(?: (?!ON )[A-Z]++)*+)" + _OF_COLUMNS)
_PRIVILEGES = PRIVILEGE.pattern.replace(b"?P<name>", b"?:").replace(b"?P<columns>", b"?:")
ON_COLUMNS = re.compile(
    rb"GRANT (?P<privileges>" + _PRIVILEGES + rb"(?:, " + _PRIVILEGES + rb")*+)(?P<on> ON .*)", re.DOTALL
)
GRANTEE = re.compile(rb"\bTO (`(?:[^`]|``){0,512}`)@`")


class Statement(NamedTuple):
    """One statement, or a piece of one that is made of rows."""

    head: bytes
    text: bytes

    @property
    def plain(self) -> bytes:
        """Its head without the condition of a version around it."""
        return CONDITION.sub(b"", self.head, count=1)

    @property
    def makes_table(self) -> bool:
        return self.plain.startswith(b"CREATE TABLE ")

    @property
    def of_tables(self) -> bool:
        """Whether it makes or fills tables or sequences."""
        return self.head.startswith(ROWS) or bool(LOADED.match(self.plain) and not self.head.startswith(VIEW))


def statements(chunks: Iterable[bytes]) -> Iterator[Statement]:
    """Each with its end; comments between them are left out. Raises `Unsafe` for one that has no end."""
    source, held = iter(chunks), bytearray()
    while True:
        if (match := BETWEEN.match(held)) and match.end() + HEAD > len(held):
            del held[: held.rfind(b"\n", 0, match.end()) + 1]
            _demand_short(held)
            if _more(source, held):
                continue
            match = BETWEEN.match(held)
        del held[: match.end() if match else 0]
        if not held:
            return
        if held.startswith(ROWS):
            yield from _rows(source, held)
            continue
        end, seen = _end(held, 0)
        while not end:
            _demand_short(held)
            if not _more(source, held):
                raise _endless(held)
            end, seen = _end(held, seen)
        text = bytes(held[:end])
        del held[:end]
        if text.startswith(BLOCK) and NEXT_EVENT.search(text):
            held[:0] = NEXT_EVENT.sub(rb"\nDELIMITER ;\n\g<drop>;\nDELIMITER ;;", text)
        else:
            yield Statement(text[:HEAD], text)


def _demand_short(held: bytearray) -> None:
    if len(held) > LONGEST:
        raise _endless(held)


def _endless(held: bytes | bytearray) -> Unsafe:
    return Unsafe(f"the statement `{held[:HEAD].decode(errors='replace')}` has no end within {LONGEST} bytes")


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
            raise _endless(head)
    yield Statement(head, bytes(held[: at + 2]))
    del held[: at + 2]


def _end(held: bytearray, seen: int) -> tuple[int, int]:
    """Where the first statement ends, 0 if that is not here yet; and up to where that is known, which was `seen`."""
    if held.startswith(BLOCK):
        at = held.find(BLOCK_END, max(0, seen - len(BLOCK_END)))
        return (at + len(BLOCK_END) if at >= 0 else 0), len(held)
    for token in TOKEN.finditer(held, seen):
        if token[0] == b";":
            return token.end(), token.end()
        if len(token[0]) == 1:  # A quote without its end.
            return 0, token.start()
        seen = token.end()
    return 0, len(held)


def within(database: str, chunks: Iterable[bytes]) -> Iterator[Statement]:
    """The statements of a dump that go into one database, also where it names none; raises `Unsafe` for another.

    What comes from elsewhere need not have been made with `--databases`, nor of a single one.
    """
    own, is_inside = identifier(database).encode(), False
    for statement in statements(chunks):
        if statement.plain.startswith(INTO):
            if own not in statement.text:
                head = statement.head.decode(errors="replace").strip()
                raise Unsafe(f"it goes into another database than {own.decode()}: `{head}`")
            is_inside = True
        elif statement.plain.startswith(b"DROP DATABASE "):
            continue
        elif not (is_inside or statement.plain.startswith(b"SET ")):
            for text in (b"CREATE DATABASE IF NOT EXISTS " + own + b";", b"USE " + own + b";"):
                yield Statement(text[:HEAD], text)
            is_inside = True
        yield statement._replace(text=ARCHIVED.sub(rb"\1", statement.text)) if statement.makes_table else statement


def accounts(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Of users and grants only what makes accounts that are not there, and servers, which tables may look into."""
    for statement in statements(chunks):
        if statement.plain.startswith((b"CREATE USER ", b"CREATE SERVER ")):
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
            yield from (one + b"\n" for one in _each_granted(text))


def _each_granted(text: bytes) -> Iterator[bytes]:
    """A grant on columns by a statement for each, so that one that is no longer there holds up none of the others."""
    match = ON_COLUMNS.fullmatch(text)
    if match is None or b"(" not in match["privileges"]:
        yield text
        return
    for privilege in PRIVILEGE.finditer(match["privileges"]):
        columns = [b" (" + column[0] + b")" for column in COLUMN.finditer(privilege["columns"] or b"")]
        yield from (b"GRANT " + privilege["name"] + column + match["on"] for column in columns or [b""])


def _without_password(match: re.Match[bytes]) -> bytes:
    return b"" if match[0].startswith(b" IDENTIFIED ") else match[0]
