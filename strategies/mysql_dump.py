"""What a dump of MariaDB or MySQL holds, and whether that is all that the server listed: pure readers of its SQL."""

import re
from collections.abc import Mapping
from typing import BinaryIO

from strategies.base import shortened
from strategies.checks import CHUNK
from strategies.plan import Incomplete

OBJECT = re.compile(
    rb"\n(?:DELIMITER (;;?)(?=\n)|(?:CREATE (TABLE|SEQUENCE) "
    rb"|/\*!50\d\d\d DROP (PROCEDURE|FUNCTION|PACKAGE BODY|PACKAGE|TRIGGER|EVENT) IF EXISTS "
    rb"|/\*!50\d\d\d (VIEW) )`((?:[^`]|``){1,256})`(?=[^`]))"
)
"""What begins an object in a dump, at the start of a line; and what begins and ends a routine's text, which may look
like anything. Data never starts a line: the client writes a line break as `\\n`."""

OVERLAP = 4096
"""Bytes of overlap between two looks, more than `OBJECT` can match."""

CREATE_USER = re.compile(rb"\nCREATE USER (?:IF NOT EXISTS )?`((?:[^`]|``)*)`@`((?:[^`]|``)*)`")

TRANSACTIONAL = {"InnoDB", "ROCKSDB", "TokuDB"}


def whole_dump(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand the trailer and each object that the server listed just before; warn of tables without transactions, and
    of values that the server does not take back as it is set.
    """
    listed = rows(witnesses["objects"])
    seen, last_line, longest = objects_in(stream)
    if not last_line.startswith(b"-- Dump completed"):
        raise Incomplete("the dump ends without 'Dump completed'")
    if missing := [f"{kind.lower()} {name}" for kind, name, _ in listed if (kind, name) not in seen]:
        why = "the account lacks a privilege, or they were dropped just now"
        raise Incomplete(f"the server lists, but the dump lacks: {shortened(missing)} ({why})")
    unsafe = [name for kind, name, engine in listed if kind == "TABLE" and engine not in TRANSACTIONAL]
    warnings = [f"not-in-snapshot: tables without transactions, read one by one: {shortened(unsafe)}"] if unsafe else []
    packet = witnesses.get("packet", "").strip()
    if packet and longest > int(packet):
        how = f"a row takes {longest} bytes as SQL, max_allowed_packet of the server is {packet}"
        warnings.append(f"large-values: {how}; a restore raises it for the load, who loads by hand has to")
    return tuple(warnings)


def whole_users(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand the trailer and each user that the server listed just before."""
    content = b"\n" + b"".join(iter(lambda: stream.read(CHUNK), b""))
    if not content.rstrip().rpartition(b"\n")[2].startswith(b"-- Dump completed"):
        raise Incomplete("the dump ends without 'Dump completed'")
    seen = {tuple(part.replace(b"``", b"`").decode() for part in account) for account in CREATE_USER.findall(content)}
    if missing := [f"{user}@{host}" for user, host in rows(witnesses["users"]) if (user, host) not in seen]:
        raise Incomplete(f"the server lists, but the dump lacks: user {shortened(missing)}")
    return ()


def objects_in(stream: BinaryIO) -> tuple[set[tuple[str, str]], bytes, int]:
    """The objects in a dump as kind and name, its last line, and how long its longest line is, if above `CHUNK`."""
    seen: set[tuple[str, str]] = set()
    window, in_routine, line, longest = b"\n", False, 0, 0
    while chunk := stream.read(CHUNK):
        first = chunk.find(b"\n")
        longest = max(longest, line + (first if first >= 0 else len(chunk)))
        line = line + len(chunk) if first < 0 else len(chunk) - chunk.rfind(b"\n") - 1
        old = window[-OVERLAP:]
        window = old + chunk
        for match in OBJECT.finditer(window):
            delimiter, table, routine, view, name = match.groups()
            if match.end() < len(old):
                continue
            if delimiter:
                in_routine = delimiter == b";;"
            elif not in_routine:
                kind = (table or routine or view).decode()
                seen.add((kind, name.replace(b"``", b"`").decode(errors="replace")))
    return seen, window.rstrip().rpartition(b"\n")[2], longest


def rows(output: str) -> list[list[str]]:
    """What the client wrote with `--batch`: a row a line, its columns between tabs, and what is special escaped."""
    return [[_unescaped(column) for column in line.split("\t")] for line in output.split("\n") if line]


def _unescaped(column: str) -> str:
    plain = {"n": "\n", "t": "\t", "0": "\0"}
    return re.sub(r"\\(.)", lambda escape: plain.get(escape[1], escape[1]), column)
