"""Reads a stream to count or check what it holds, for more than one strategy: pure, in bounded memory."""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import BinaryIO, NamedTuple, NoReturn

from strategies.plan import Check, Incomplete, Unsafe

CHUNK = 1 << 20
BLOCK = 512
_ZERO_BLOCK = bytes(BLOCK)
_LONG_NAMES = {b"L": b"path", b"K": b"linkpath"}
"""GNU's headers for long names, and the pax record that says the same."""
_EXTENSIONS = b"xgLK"
"""Headers that are no members: pax's for one member and for the whole archive (POSIX.1-2001), GNU's long names."""
HARD_LINK, SYMBOLIC_LINK, DEVICES = b"1", b"2", b"34"
ROWS = ("rows of ", "keys in ")
"""How that is called which an owner would miss."""
COUNTED_APART = {b"1": "hard links", b"2": "links", b"5": "folders"}
_WITHOUT_DATA = b"123456"
"""Links, devices, folders and pipes have no data, whatever their size field says (as in Go's archive/tar)."""
_REAL_SIZES = (b"GNU.sparse.realsize", b"GNU.sparse.size")
_SIZES = (b"size", *_REAL_SIZES)
_RELEVANT_RECORDS = re.compile(rb" (?:size|path|linkpath|GNU\.sparse\.(?:name|realsize|size))=")
"""Records that change what a member is. Most headers only hold times, and need no reading."""


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


def read_counts(stream: BinaryIO) -> Mapping[str, int]:
    """The numbers that a question printed, a line for each thing: `<number><TAB><what>`.

    What is printed twice is added up. Raises `Incomplete` for anything else.
    """
    counts: dict[str, int] = {}
    answer = b"".join(iter(lambda: stream.read(CHUNK), b""))
    for line in answer.decode(errors="backslashreplace").split("\n"):
        number, tab, what = line.partition("\t")
        if line and not (tab and number.isdecimal()):
            raise Incomplete(f"the question for numbers was answered by {line[:80]!r}")
        if line:
            counts[what] = counts.get(what, 0) + int(number)
    return counts


def rows_in(form: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Of what was counted in a dump the rows of tables, keys and files, without the structure around them."""
    if form == "sqlite":  # Whose tables stand there by their names alone.
        return dict(counts)
    return {what: number for what, number in counts.items() if what == "files" or what.startswith(ROWS)}


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


def safe_tar(stream: BinaryIO, *, sparse: bool = True) -> None:
    """Raise `Unsafe` for a member that could be written outside the folder in which the archive is unpacked.

    That is an absolute path, one with `..`, one that leads through a symbolic link of the archive itself, and a hard
    link to such a path; devices too. Without `sparse` a file with holes is refused as well, which only some can unpack.
    """
    links: set[bytes] = set()
    for member in members(stream):
        name = _normal(member.name, links)
        if member.kind in DEVICES:
            raise Unsafe(f"{_readable(member.name)} is a device")
        if member.sparse and not sparse:
            raise Unsafe(f"{_readable(member.name)} has holes, which only GNU tar can unpack")
        target = _normal(member.link, links) if member.kind == HARD_LINK else b""
        if name in links:
            raise Unsafe(f"{_readable(member.name)} takes the place of a symbolic link")
        if member.kind == SYMBOLIC_LINK or target in links:
            links.add(name)


def safe_tar_without_holes(stream: BinaryIO) -> None:
    """`safe_tar` for a tar that would make something else of a sparse file."""
    safe_tar(stream, sparse=False)


def _normal(path: bytes, links: AbstractSet[bytes]) -> bytes:
    """The path without empty parts; raises `Unsafe` for one that leads elsewhere."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if path.startswith(b"/"):
        raise Unsafe(f"{_readable(path)} is an absolute path")
    if b".." in parts:
        raise Unsafe(f"{_readable(path)} leads out of the folder")
    if links and any(b"/".join(parts[:end]) in links for end in range(1, len(parts))):
        raise Unsafe(f"{_readable(path)} leads through a symbolic link of the archive")
    return b"/".join(parts)


def _readable(path: bytes) -> str:
    return repr(path.decode(errors="backslashreplace"))


class Member(NamedTuple):
    """One member of a tar, as whoever unpacks it will take it."""

    kind: bytes
    """The header's type: one byte."""
    name: bytes
    link: bytes
    size: int
    """Bytes of a file, holes included."""
    sparse: bool

    @property
    def is_file(self) -> bool:
        return self.kind not in _WITHOUT_DATA


def members(stream: BinaryIO) -> Iterator[Member]:
    """Every member, with what pax's and GNU's extensions say of it; raises `Incomplete` as `whole_tar` does."""
    return (member for member, _ in contents(stream))


def contents(stream: BinaryIO) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """`members`, each with its bytes as they are stored, which can be read until the next one is asked for."""
    tar = _Blocks(stream)
    always: dict[bytes, bytes] = {}
    own: dict[bytes, bytes] = {}
    while (header := tar.take(BLOCK)) != _ZERO_BLOCK:
        kind, length = header[156:157], _number(header[124:136])
        if _checksum(header) != _number(header[148:156]) or length < 0:
            tar.fail("no valid header where one has to be")
        if kind in _EXTENSIONS:
            records = _extension(tar, kind, length)
            always |= records if kind == b"g" else {}
            own |= {} if kind == b"g" else records
            continue
        tar.last = header[:100]
        member = _member(header, always | own)
        stored = int(own.get(b"size", length))
        if kind == b"S":
            _skip_sparse_map(tar, header[482])
        length = _padded(stored) if member.is_file else 0
        begin = tar.position
        yield member, tar.pieces(stored if member.is_file else 0)
        tar.skip(begin + length - tar.position)
        own = {}
    tar.end()


def _member(header: bytes, records: Mapping[bytes, bytes]) -> Member:
    """A header with what the extensions before it say; old GNU tar keeps a sparse file's real size at byte 483."""
    prefix = header[345:500].rstrip(b"\0") if header[257:263] == b"ustar\0" else b""
    plain = b"/".join(filter(None, (prefix, _text(header[:100]))))
    name = records.get(b"GNU.sparse.name", records.get(b"path", plain))
    size = int(records.get(b"size", b"%d" % _number(header[124:136])))
    real = next((records[key] for key in _REAL_SIZES if key in records), None)
    if header[156:157] == b"S":
        real = b"%d" % _number(header[483:495])
    link = records.get(b"linkpath", _text(header[157:257]))
    return Member(header[156:157], name, link, size if real is None else int(real), real is not None)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


class _Blocks:
    """A stream that has to hold what is asked of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._chunk, self._position = stream, b"", 0
        self._passed = 0
        self.last = b""

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        if self._position + count <= len(self._chunk):
            self._position += count
            return self._chunk[self._position - count : self._position]
        taken = bytearray()
        while len(taken) < count:
            if self._position == len(self._chunk):
                self._next()
            part = self._chunk[self._position : self._position + count - len(taken)]
            self._position += len(part)
            taken += part
        return bytes(taken)

    @property
    def position(self) -> int:
        return self._passed + self._position

    def pieces(self, count: int) -> Iterator[bytes]:
        """So many bytes, as they come."""
        while count:
            if self._position == len(self._chunk):
                self._next()
            piece = self._chunk[self._position : self._position + count]
            self._position += len(piece)
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        while count > (left := len(self._chunk) - self._position):
            count -= left
            self._next()
        self._position += count

    def end(self) -> None:
        """After the first zero block: another one, then at most zeros that fill up the last record."""
        if self.take(BLOCK) != _ZERO_BLOCK:
            self.fail("only one of the two zero blocks that end an archive")
        rest = self._chunk[self._position :]
        while rest:
            if rest.count(0) != len(rest):
                self.fail("something follows the end of the archive")
            rest = self._stream.read(CHUNK)

    def fail(self, what: str) -> NoReturn:
        name = self.last.rstrip(b"\0").decode(errors="backslashreplace")
        behind = f", after the header of {name!r}" if name else ""
        raise Incomplete(f"{what} (byte {self.position}{behind})")

    def _next(self) -> None:
        self._passed += len(self._chunk)
        self._chunk, self._position = self._stream.read(CHUNK), 0
        if not self._chunk:
            self.fail("the archive is cut off")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _checksum(header: bytes) -> int:
    """The sum of the header's bytes, its own field taken as eight spaces (POSIX ustar)."""
    return sum(header) - sum(header[148:156]) + 8 * 32


def _number(text: bytes) -> int:
    """Octal, or GNU's base 256 for what does not fit; -1 for anything else, which no checksum equals."""
    if text[0] & 0x80:
        return int.from_bytes(text) - (0x80 << 8 * (len(text) - 1))
    digits = text.strip(b" \0") or b"0"
    return int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else -1


def _extension(tar: "_Blocks", kind: bytes, length: int) -> dict[bytes, bytes]:
    """What an extension says of the next member (of all, for `g`), as far as it matters here."""
    if length > CHUNK:
        tar.fail(f"an extended header of {length} bytes")
    text = tar.take(_padded(length))[:length]
    if kind in _LONG_NAMES:
        return {_LONG_NAMES[kind]: _text(text)}
    records: dict[bytes, bytes] = {}
    while text and _RELEVANT_RECORDS.search(text):
        width, _, _ = text.partition(b" ")
        if not width.isdigit() or not 0 < int(width) <= len(text):
            tar.fail("a pax header with a broken record")
        key, _, value = text[len(width) + 1 : int(width) - 1].partition(b"=")
        if key in _SIZES and not value.isdigit():
            tar.fail("a pax header whose size is no number")
        records[key] = value
        text = text[int(width) :]
    return records


def _skip_sparse_map(tar: _Blocks, more: int) -> None:
    """In GNU's old sparse format blocks between header and data continue the map; each says whether another follows."""
    while more:
        more = tar.take(BLOCK)[504]
