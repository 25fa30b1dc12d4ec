"""Reads a stream to count or check what it holds, for more than one strategy: pure, in bounded memory."""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import BinaryIO

from strategies.plan import CHUNK, Check, Incomplete, Unsafe
from strategies.tar import DEVICES, HARD_LINK, SYMBOLIC_LINK, Member, members

NUMBER = re.compile(r"[0-9]{1,18}")
ROWS = ("rows of ", "keys in ")
"""How that is called which an owner would miss."""
DEFINITION = "definition of "
"""How that is called whose number is a digest: another one says that it is another thing, not more or less of it."""
PART = "partition "
"""How a table is called that is a part of another one."""
COUNTED_APART = {b"1": "hard links", b"2": "links", b"5": "folders"}
MOST_COUNTS = 200_000
"""Things that are counted beside one dump; their names are kept with the run."""
MOST_COUNT_BYTES = 8 << 20
"""Bytes of the names of these."""
LONGEST_LINE = 64 << 10
MOST_LINKS = 500_000
"""Symbolic links of an archive that are remembered, of which each takes some 100 bytes."""


def ends(stream: BinaryIO, size: int = 4096) -> tuple[bytes, bytes]:
    """Read the stream to its end; give its first and its last `size` bytes."""
    head = tail = b""
    while chunk := stream.read(CHUNK):
        if len(head) < size:
            head += chunk[: size - len(head)]
        tail = (tail + chunk[-size:])[-size:]
    return head, tail


def begins_with(head: bytes) -> Check:
    """A check that demands no more than the stream's first bytes."""

    def check(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
        if (begin := stream.read(len(head))) != head:
            raise Incomplete(f"it begins with {begin!r}, not with {head!r}")
        return ()

    return check


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Each line without its end; raises `Incomplete` for one that is longer than `LONGEST_LINE`."""
    rest = b""
    while chunk := stream.read(LONGEST_LINE):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > LONGEST_LINE:
            raise Incomplete(f"a line is longer than {LONGEST_LINE} bytes, it begins with {rest[:80]!r}")
    yield rest


def read_counts(stream: BinaryIO, *, besides: bytes = b"") -> Mapping[str, int]:
    """The numbers that a question printed, a line for each thing: `<number><TAB><what>`.

    What is printed twice is added up. Lines that begin with `besides` are passed over, where it is not empty. Raises
    `Incomplete` for anything else, and for more than can be kept.
    """
    counts: dict[str, int] = {}
    left = MOST_COUNT_BYTES
    for line in filter(None, lines(stream)):
        if besides and line.startswith(besides):
            continue
        number, tab, name = line.partition(b"\t")
        if not (tab and NUMBER.fullmatch(number.decode(errors="replace"))):
            said = line[:80].decode(errors="backslashreplace")
            raise Incomplete(f"the question for numbers was answered by {said!r}")
        what = name.decode(errors="backslashreplace")
        if what not in counts:
            left -= len(name)
        counts[what] = counts.get(what, 0) + int(number)
        if left < 0 or len(counts) > MOST_COUNTS:
            raise Incomplete(f"it names more than {MOST_COUNTS} things, or such with longer names than can be kept")
    return counts


def rows_in(form: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Of what was counted in a dump the rows of tables, keys and files, without the structure around them.

    A partition's are its table's: partitions come and go in ordinary work.
    """
    if form == "sqlite":  # Whose tables stand there by their names alone.
        return dict(counts)
    parts = {f"{ROWS[0]}{what.removeprefix(PART)}" for what in counts if what.startswith(PART)}
    return {
        what: number
        for what, number in counts.items()
        if what == "files" or (what.startswith(ROWS) and what not in parts)
    }


def whole_tar(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Walk every member of a tar and demand its two zero blocks with nothing but zeros behind them.

    Python's `tarfile` and GNU tar both take a cut between two members for the end. An archive without a file or folder
    raises `Incomplete` too: what should have been read was not, or the path was a symbolic link.
    """
    count_tar(stream)
    return ()


def count_tar(stream: BinaryIO) -> Mapping[str, int]:
    """`whole_tar`, and how many files, their bytes (holes included), folders and links there are."""
    counts = dict.fromkeys(("files", "bytes", "folders", "links", "hard links", "others"), 0)
    for member in members(stream):
        kind = "files" if member.is_file else COUNTED_APART.get(member.kind, "others")
        counts[kind] += 1
        counts["bytes"] += member.size if member.is_file else 0
    if not any(number for kind, number in counts.items() if kind != "links"):
        raise Incomplete("the archive holds no file and no folder")
    return counts


def safe_tar(stream: BinaryIO, owner: int | None = None) -> tuple[str, ...]:
    """Raise `Unsafe` for a member that could be written outside the folder in which the archive is unpacked.

    That is an absolute path, one with `..`, one that leads through a symbolic link of the archive itself, and a hard
    link to such a path; devices too. What is not read by all tars in one way raises `Incomplete`. Where somebody else
    than root will unpack it, who is its `owner` then, a warning tells of what is others'.
    """
    links: set[int] = set()
    others = 0
    for member in members(stream):
        _demand_safe(member, links)
        others += owner not in (None, member.owner)
    return _owned(others, owner)


def safe_tar_without_holes(stream: BinaryIO, owner: int | None = None) -> tuple[str, ...]:
    """`safe_tar` for a tar that knows neither sparse files nor pax headers, and takes the names of plain headers."""
    links: set[int] = set()
    others = 0
    for member in members(stream):
        plain = member.plain or member
        if member.sparse or plain.size != member.size:
            raise Unsafe(f"{_readable(member.name)} has holes or more than 8 GiB, which only some can unpack")
        _demand_safe(plain, links)
        _demand_safe(member, set())
        others += owner not in (None, member.owner)
    return _owned(others, owner)


def _owned(others: int, owner: int | None) -> tuple[str, ...]:
    told = f"owners-not-set: {others} of its entries are not of user {owner}, and become so: only root gives files away"
    return (told,) if others else ()


def _demand_safe(member: Member, links: set[int]) -> None:
    """Looks at one member, and remembers it if it is a link."""
    if member.kind in DEVICES:
        raise Unsafe(f"{_readable(member.name)} is a device")
    if member.is_file and member.name.endswith(b"/"):
        raise Unsafe(f"{_readable(member.name)} is a file that is named like a folder")
    name = _place(member.name, links)
    target = _place(member.link, links) if member.kind == HARD_LINK else 0
    if name in links:
        raise Unsafe(f"{_readable(member.name)} takes the place of a symbolic link")
    if member.kind == SYMBOLIC_LINK or target in links:
        links.add(name)
    if len(links) > MOST_LINKS:
        raise Unsafe(f"it holds more than {MOST_LINKS} symbolic links, which nobody can keep in mind")


def _place(path: bytes, links: AbstractSet[int]) -> int:
    """A number for the path without empty parts, which another one has by no chance worth the name; raises `Unsafe`
    for a path that leads elsewhere.
    """
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if path.startswith(b"/"):
        raise Unsafe(f"{_readable(path)} is an absolute path")
    if b".." in parts:
        raise Unsafe(f"{_readable(path)} leads out of the folder")
    place = 0
    for number, part in enumerate(parts):
        if number and place in links:
            raise Unsafe(f"{_readable(path)} leads through a symbolic link of the archive")
        place = hash((place, part))
    return place


def _readable(path: bytes) -> str:
    return repr(path[:200].decode(errors="backslashreplace"))
