"""Rewrites a dump of MariaDB or MySQL for a load elsewhere, in the order in which its objects need each other.

Tables with their rows and sequences may have another name for a while; views, routines, triggers and events may not,
since their text names their database. So a restore loads the first, and keeps the second for the moment of the swap.
A view may look into any other, also of another database, and needs who it runs as and what that one may do; until it
is made, the dump's own stand-in has its name and columns. So views come behind everything, and behind all grants.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from strategies.mysql_client import identifier
from strategies.mysql_dump import OBJECT
from strategies.mysql_statements import BLOCK, INTO, LOCKS, QUOTED, ROWS, VIEW, Statement, within
from strategies.plan import CHUNK

KEPT_AT_ONCE = 100
"""Statements that one order to keep them holds, less where they are large."""
QUALIFIED = re.compile(QUOTED.replace(rb"`[^`]*+`", rb"(?P<name>`[^`]*+(?:``[^`]*+)*+`)(?P<dot>\.(?=`))?"), re.DOTALL)
KINDS = {b"TRIGGER": "triggers", b"EVENT": "events", b"VIEW": "views"}
RESETS = re.compile(rb"SET \w+ *= *@saved_")
"""What sets back what was set for the statement before it."""
LAST_2038, LAST_2106 = b",'2038-01-19 03:14:07.999999')", b",'2106-02-07 06:28:15.999999')"
"""How a row ends that is in force, in the zone of the dump, which is UTC."""
COLUMN = re.compile(rb"\n  `(?:[^`]|``)+` (?P<about>[^\n]*)")
CODE, VIEWS = "code", "views"
"""Phases: everything else, and what makes views, the stand-ins of which are code."""


@dataclass(frozen=True, slots=True)
class Aside:
    """The load of a dump of one database under the names that `names` gives to all that are loaded.

    What cannot be there is kept for the swap.
    """

    database: str
    names: Mapping[str, str]
    keep: str
    """The SQL that keeps statements; its rows, of which `row` is the beginning, end with phase, kind and text."""
    row: str
    is_late: bool = False
    """Whether the server's last moment is in 2106, and not in 2038: see `in_force`."""

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        quoted = {identifier(old).encode(): identifier(new).encode() for old, new in self.names.items()}
        later: list[str] = []
        parts = within(self.database, chunks)
        for phase, statement in phases(in_force(parts) if self.is_late else parts):
            if statement.head.startswith(ROWS):
                yield statement.text
            elif statement.plain.startswith(INTO):
                yield _renamed(statement.text, quoted, qualified=False) + b"\n"
            elif statement.of_tables:
                yield _renamed(statement.text, quoted) + b"\n"
            elif not statement.plain.startswith(LOCKS):
                later.append(f"({self.row}, '{phase}', '{_kind(statement.text)}', x'{statement.text.hex()}')")
                if statement.plain.startswith(b"SET "):
                    yield statement.text + b"\n"
            if sum(map(len, later)) > 2 * CHUNK or len(later) == KEPT_AT_ONCE:
                yield self._kept(later)
                later = []
        if later:
            yield self._kept(later)

    def _kept(self, rows: Iterable[str]) -> bytes:
        return f"{self.keep} {', '.join(rows)};\n".encode()


@dataclass(frozen=True, slots=True)
class Tables:
    """Of a dump of one database only tables, rows and sequences."""

    database: str

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for statement in within(self.database, chunks):
            if statement.of_tables or statement.plain.startswith((*INTO, b"SET ")):
                yield statement.text + (b"" if statement.head.startswith(ROWS) else b"\n")


@dataclass(frozen=True, slots=True)
class Later:
    """Of a dump of one database only one phase of what `Tables` leaves out."""

    database: str
    phase: str

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for phase, statement in phases(within(self.database, chunks)):
            is_later = phase == self.phase and not (statement.of_tables or statement.plain.startswith(LOCKS))
            if is_later or statement.plain.startswith(INTO):
                yield statement.text + b"\n"


def in_force(statements: Iterable[Statement]) -> Iterator[Statement]:
    """Where rows that are in force end at the last moment that a server before 11.5 knew, a newer one takes them for
    past: they get its own. Only where that moment is the last value of a row.
    """
    is_last, held = False, b""
    for statement in statements:
        if statement.makes_table:
            is_last = _ends_last(statement.text)
        if is_last and statement.head.startswith(ROWS):
            text = (held + statement.text).replace(LAST_2038, LAST_2106)
            cut = len(text) if text.endswith(b";\n") else max(0, len(text) - len(LAST_2038))
            held = text[cut:]
            yield statement._replace(text=text[:cut])
        else:
            yield statement


def _ends_last(table: bytes) -> bool:
    """Whether a row's end is its last value: so it is where the table does not name it."""
    columns = list(COLUMN.finditer(table))
    ends = [b" GENERATED ALWAYS AS ROW END" in column["about"] for column in columns]
    return b" WITH SYSTEM VERSIONING" in table and (not any(ends) or ends[-1])


def phases(statements: Iterable[Statement]) -> Iterator[tuple[str, Statement]]:
    """Each with its phase; what is set or dropped for a view, and what is set back after it, goes with it."""
    phase, before = CODE, list[Statement]()
    for statement in statements:
        plain = statement.plain
        if RESETS.match(plain) and not before:
            yield phase, statement
        elif plain.startswith((b"SET ", b"DROP VIEW ")):
            before.append(statement)
        else:
            is_view = statement.head.startswith(VIEW) and _kind(statement.text) == "views"
            phase = VIEWS if is_view else CODE
            yield from ((phase, earlier) for earlier in before)
            before = []
            yield phase, statement
    yield from ((CODE, last) for last in before)


def _renamed(text: bytes, names: Mapping[bytes, bytes], *, qualified: bool = True) -> bytes:
    """With the databases' other names, outside of literals; only where a table's name follows, if `qualified`."""

    def renamed(match: re.Match[bytes]) -> bytes:
        name, dot = match["name"], match["dot"] or b""
        return names.get(name, name) + dot if name and (dot or not qualified) else match[0]

    return QUALIFIED.sub(renamed, text) if names else text


def _kind(text: bytes) -> str:
    """As what the server counts it."""
    match = None if text.startswith(BLOCK) else OBJECT.search(b"\n" + text)
    word = match and (match["routine"] or match["view"])
    return KINDS.get(word, "routines") if word else ""
