"""What a dump of MariaDB or MySQL holds, and whether that is all that the server listed: pure readers of its SQL."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from config.wording import shortened
from strategies.checks import NUMBER
from strategies.plan import CHUNK, Incomplete

NEXT_EVENT = re.compile(
    rb"\n(?P<drop>/\*!50106 DROP EVENT IF EXISTS `(?P<event>(?:[^`]|``){1,256})` \*/);;\nDELIMITER ;;(?=\n)"
)
"""What begins every event but the first, where the client (MySQL, and MariaDB before 11) leaves the delimiter as it was
for the one before."""

OBJECT = re.compile(
    NEXT_EVENT.pattern + rb"|\n(?:DELIMITER (?P<delimiter>;;?)(?=\n)|(?:CREATE (?P<table>TABLE|SEQUENCE) "
    rb"|/\*!50\d\d\d DROP (?P<routine>PROCEDURE|FUNCTION|PACKAGE BODY|PACKAGE|TRIGGER|EVENT) IF EXISTS "
    rb"|/\*!50\d\d\d (?P<view>VIEW) )`(?P<name>(?:[^`]|``){1,256})`(?=[^`]))"
)
"""What begins an object in a dump, at the start of a line; and what begins and ends a routine's text, which may look
like anything. Data never starts a line: the client writes a line break as `\\n`."""

OVERLAP = 4096
"""Bytes of overlap between two looks, more than `OBJECT` and `CREATE_USER` can match."""

MOST_ROWS = 200_000
"""Of an answer: objects of one database, or accounts."""

CREATE_USER = re.compile(rb"\nCREATE USER (?:IF NOT EXISTS )?`((?:[^`\n]|``){0,512})`@`((?:[^`\n]|``){0,1024})`")

TRANSACTIONAL = {"InnoDB", "ROCKSDB", "TokuDB"}


def whole_dump(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand the trailer and each object that the server listed just before; warn of tables without transactions, and
    of values that the server does not take back as it is set.
    """
    lacking: set[tuple[str, str]] = set()
    unsafe: list[str] = []
    for kind, name, engine in rows(witnesses["objects"], columns=3):
        lacking.add((kind, name))
        unsafe += [name] if kind == "TABLE" and engine not in TRANSACTIONAL else []
    last_line, longest = strike_out(Objects(), stream, lacking)
    if not last_line.startswith(b"-- Dump completed"):
        raise Incomplete("the dump ends without 'Dump completed'")
    if lacking:
        missing = shortened([f"{kind.lower()} {name}" for kind, name in sorted(lacking)])
        why = "the account lacks a privilege, or they were dropped just now"
        raise Incomplete(f"the server lists, but the dump lacks: {missing} ({why})")
    warnings = [f"not-in-snapshot: tables without transactions, read one by one: {shortened(unsafe)}"] if unsafe else []
    packet = witnesses.get("packet", "").strip()
    if NUMBER.fullmatch(packet) and longest > int(packet):
        how = f"a row takes {longest} bytes as SQL, max_allowed_packet of the server is {packet}"
        warnings.append(f"large-values: {how}; a restore raises it for the load, who loads by hand has to")
    return tuple(warnings)


def whole_users(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand the trailer and each user that the server listed just before."""
    lacking = {(user, host) for user, host in rows(witnesses["users"], columns=2)}
    last_line, _ = strike_out(users_in, stream, lacking)
    if not last_line.startswith(b"-- Dump completed"):
        raise Incomplete("the dump ends without 'Dump completed'")
    if lacking:
        missing = shortened([f"{user}@{host}" for user, host in sorted(lacking)])
        raise Incomplete(f"the server lists, but the dump lacks: user {missing}")
    return ()


Find = Callable[[bytes, int], Iterator[tuple[str, str]]]
"""What a window of a dump holds, as far as it ends behind a place."""


def strike_out(find: Find, stream: BinaryIO, lacking: set[tuple[str, str]]) -> tuple[bytes, int]:
    """Take what is found off what is still lacking, so that nothing is remembered but that; gives the stream's last
    line, and how long its longest line is, if above `CHUNK`.
    """
    window, line, longest = b"\n", 0, 0
    while chunk := stream.read(CHUNK):
        first = chunk.find(b"\n")
        longest = max(longest, line + (first if first >= 0 else len(chunk)))
        line = line + len(chunk) if first < 0 else len(chunk) - chunk.rfind(b"\n") - 1
        old = window[-OVERLAP:]
        window = old + chunk
        lacking.difference_update(find(window, len(old)))
    return window.rstrip().rpartition(b"\n")[2], longest


class Objects:
    """Finds the objects in a dump as kind and name; what a routine's text holds is none."""

    def __init__(self) -> None:
        self._in_routine = False

    def __call__(self, window: bytes, new: int) -> Iterator[tuple[str, str]]:
        for match in OBJECT.finditer(window):
            if match.end() < new:
                continue
            if match["event"]:
                yield "EVENT", _name(match["event"])
            elif match["delimiter"]:
                self._in_routine = match["delimiter"] == b";;"
            elif not self._in_routine:
                yield (match["table"] or match["routine"] or match["view"]).decode(), _name(match["name"])


def users_in(window: bytes, new: int) -> Iterator[tuple[str, str]]:
    """The accounts that are made, as user and host."""
    for match in CREATE_USER.finditer(window):
        user, host = map(_name, match.groups())
        yield user, host


def _name(identifier: bytes) -> str:
    return identifier.replace(b"``", b"`").decode(errors="replace")


def rows(output: str, *, columns: int) -> Iterator[list[str]]:
    """What the client wrote with `--batch`: a row a line, its columns between tabs, and what is special escaped.

    Raises `Incomplete` for what it cannot have written, since no name holds a NUL, and for more rows than anybody has.
    """
    for number, line in enumerate(re.finditer(r"[^\n]+", output)):
        row = line[0].split("\t", columns)
        if number == MOST_ROWS:
            raise Incomplete(f"the server's client answered with more than {MOST_ROWS} lines")
        names = [_unescaped(column) for column in row]
        if len(row) != columns or "\0" in "".join(names):
            raise Incomplete(f"the server's client answered with something else than {columns} names a line")
        yield names


def _unescaped(column: str) -> str:
    plain = {"n": "\n", "t": "\t", "0": "\0"}
    return re.sub(r"\\(.)", lambda escape: plain.get(escape[1], escape[1]), column)
