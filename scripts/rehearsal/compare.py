"""Whether a restored copy holds what its source holds; pure, apart from the containers that both live in."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import NamedTuple

Things = Mapping[str, Mapping[str, str]]
"""What a source or a copy holds: a name (of a table, of a path), and its properties by name."""

KINDS = {"f": "file", "d": "folder", "l": "link", "p": "pipe", "s": "socket", "b": "block device", "c": "device"}
LARGE = 1 << 20
"""Bytes; holes are looked for in larger files only, since small ones may lie in their inode."""


class Difference(NamedTuple):
    """One property that is not the same; None stands for a thing that is not there at all."""

    name: str
    property: str
    source: str | None
    copy: str | None

    def __str__(self) -> str:
        if self.source is None or self.copy is None:
            return f"{shown(self.name)}: only in the {'copy' if self.source is None else 'source'}"
        return (
            f"{shown(self.name)}: {self.property} is {shown(self.source)} in the source, {shown(self.copy)} in the copy"
        )


def differences(source: Things, copy: Things) -> list[Difference]:
    """Every property that differs, by name; empty for equal things."""
    return [difference for name in sorted(source.keys() | copy.keys()) for difference in _of(name, source, copy)]


def _of(name: str, source: Things, copy: Things) -> Iterator[Difference]:
    if name not in source or name not in copy:
        yield Difference(name, "presence", _presence(name, source), _presence(name, copy))
        return
    one, other = source[name], copy[name]
    for key in (*one, *(key for key in other if key not in one)):
        if one.get(key) != other.get(key):
            yield Difference(name, key, one.get(key, "unknown"), other.get(key, "unknown"))


def _presence(name: str, things: Things) -> str | None:
    return "there" if name in things else None


def first_difference(source: Iterable[str], copy: Iterable[str]) -> tuple[str | None, str | None] | None:
    """The first lines that are not the same, with None behind the end; None when there are none."""
    return next(((one, other) for one, other in zip_longest(source, copy) if one != other), None)


def tables(text: str) -> Things:
    """From lines of name, number of rows (empty for definitions) and md5, with tabs between them."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        name, rows, md5 = line.split("\t")
        found[name] = ({"count(*)": rows} if rows else {}) | {"md5 of all rows" if rows else "md5": md5}
    return found


def files(data: bytes) -> Things:
    """From what `filesystem.sh` prints: records of ten fields, an empty field, then digests with their paths."""
    fields = data.decode(errors="surrogateescape").split("\0")
    end = next(at for at in range(0, len(fields), 10) if not fields[at])
    hashes = dict(_digest_and_path(field) for field in fields[end + 1 :] if field)
    entries = [Entry(*fields[at : at + 10]) for at in range(0, end, 10)]
    first = {entry.inode: entry.path for entry in sorted(entries, reverse=True)}
    return {entry.path: _properties(entry, hashes, first[entry.inode]) for entry in entries}


class Entry(NamedTuple):
    """One path, in the words of find(1)."""

    path: str
    kind: str
    mode: str
    owner: str
    size: str
    time: str
    target: str
    names: str
    inode: str
    blocks: str


def _properties(entry: Entry, hashes: Mapping[str, str], first: str) -> dict[str, str]:
    """What a backup has to bring back; a folder's size and names tell of its file system only."""
    properties = {
        "type": KINDS.get(entry.kind, entry.kind),
        "mode": f"{int(entry.mode, 8):04o}",
        "owner": entry.owner,
        "time": _time(entry.time),
    }
    if entry.kind == "l":
        return properties | {"link target": entry.target}
    if entry.kind != "f":
        return properties
    properties |= {"size": entry.size, "SHA-256": hashes.get(entry.path, "unknown")}
    if int(entry.size) >= LARGE:
        properties["holes"] = "yes" if int(entry.blocks) * 512 < int(entry.size) // 2 else "no"
    if int(entry.names) > 1:
        properties["names"] = f"{entry.names}, the first {first}"
    return properties


def _time(seconds: str) -> str:
    """`2001-09-09T01:46:40.000000001Z` from seconds since 1970, whose fraction counts forwards also before."""
    whole, _, fraction = seconds.partition(".")
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(whole))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction[:9]}Z"


def _digest_and_path(line: str) -> tuple[str, str]:
    digest, _, path = line.partition("  ")
    return path, digest


def unhexed(row: str) -> str:
    """A row of hexadecimal values as `mariadb.sh` prints it, for people; any other line as it is."""
    if "\t" in row:
        return row
    try:
        values = [value if value == "NULL" else bytes.fromhex(value).decode() for value in row.split(",")]
    except ValueError:
        return row
    return ", ".join(values)


def shown(text: str) -> str:
    """As it can be printed on one line of a terminal, whatever it holds."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
