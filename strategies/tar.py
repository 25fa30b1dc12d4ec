"""The members of a tar, each as everybody who may unpack it takes it: pure, in bounded memory and linear time.

What two tars read in two ways is refused here, so that what was looked at is what is unpacked: GNU's, BusyBox's, and
the engine's (Go's `archive/tar`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple, NoReturn

from strategies.plan import CHUNK, Incomplete

BLOCK = 512
HARD_LINK, SYMBOLIC_LINK, DEVICES, FOLDER = b"1", b"2", b"34", b"5"
_ZERO_BLOCK = bytes(BLOCK)
_LONG_NAMES = {b"L": b"path", b"K": b"linkpath"}
"""GNU's headers for long names, and the pax record that says the same."""
_EXTENSIONS = b"xgLK"
"""Headers that are no members: pax's for one member and for the whole archive (POSIX.1-2001), GNU's long names."""
_WITHOUT_DATA = b"123456"
"""Links, devices, folders and pipes."""
_FILES = b"\0" + b"07S"
"""Files: of the oldest tars, of POSIX, contiguous ones, and GNU's old sparse ones."""
_MOST_HEADER_BYTES = 1 << 20
_MOST_HEADERS_BYTES = 16 << 20
"""Of one member, with all its extensions."""
_UNFIT_SIZE = 8**11
"""The first size that a header has no room for; then it says 0, and a pax record says it."""
_REAL_SIZES = (b"GNU.sparse.realsize", b"GNU.sparse.size")
_NAMES = (b"path", b"linkpath", b"GNU.sparse.name")
_MEANINGS = {b"size", *_NAMES, *_REAL_SIZES}
"""Records that change what a member is; those of its times, of extended attributes and the like do not."""
_HOLES = b"GNU.sparse."
"""How the records of a file with holes begin; others than these tell where its holes are."""
_MEANS_SOMETHING = re.compile(rb" (?:size|path|linkpath|GNU\.sparse\.[^=\n]*)=")
"""Most headers only hold times, and need no reading."""
_WIDTH = re.compile(rb"([0-9]{1,7}) ")


class Member(NamedTuple):
    """One member of a tar, as whoever unpacks it will take it."""

    kind: bytes
    """The header's type: one byte."""
    name: bytes
    link: bytes
    size: int
    """Bytes of a file, holes included."""
    sparse: bool
    plain: "Member | None" = None
    """What a tar takes it for that passes over pax headers (BusyBox's), where there was one."""
    owner: int = 0
    """Id of its user, as the header has it; a very large one is in a pax header."""
    head: bytes = b""
    """Its header, and the extensions before it, as they are stored."""

    @property
    def is_file(self) -> bool:
        return self.kind not in _WITHOUT_DATA


def members(stream: BinaryIO) -> Iterator[Member]:
    """Every member, with what pax's and GNU's extensions say of it; raises `Incomplete` for what is no whole tar, or
    is read in several ways.
    """
    return (member for member, _ in contents(stream))


def contents(stream: BinaryIO) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """`members`, each with its bytes as they are stored, which can be read until the next one is asked for."""
    tar = _Blocks(stream)
    own: dict[bytes, bytes] = {}
    gnu: dict[bytes, bytes] = {}
    while (header := tar.take(BLOCK)) != _ZERO_BLOCK:
        kind, length = header[156:157], _number(header[124:136])
        if _checksum(header) != _number(header[148:156]) or length < 0:
            tar.fail("no valid header where one has to be")
        if kind in _EXTENSIONS:
            _enter(tar, own if kind == b"x" else gnu, _extension(tar, kind, length))
            continue
        tar.last = header[:100]
        _demand_one_meaning(tar, header, own, gnu)
        member = _member(header, gnu)
        if own:
            member = _member(header, gnu | own)._replace(plain=member)
        stored = int(own.get(b"size", length))
        if kind == b"S":
            _skip_sparse_map(tar, header[482])
        length = _padded(stored) if member.is_file else 0
        begin = tar.position
        member, tar.taken = member._replace(head=bytes(tar.taken)), bytearray()
        yield member, tar.pieces(stored if member.is_file else 0)
        tar.skip(begin + length - tar.position)
        own, gnu = {}, {}
    tar.end()


def _enter(tar: "_Blocks", known: dict[bytes, bytes], records: Mapping[bytes, bytes]) -> None:
    """Raises `Incomplete` for what is said twice of one member, in two ways."""
    for key, value in records.items():
        if known.setdefault(key, value) != value:
            tar.fail(f"two values of {key.decode()!r} for one member")


def _demand_one_meaning(tar: "_Blocks", header: bytes, own: Mapping[bytes, bytes], gnu: Mapping[bytes, bytes]) -> None:
    """Raises `Incomplete` for a member that one tar takes for something else than another."""
    kind, length = header[156:157], _number(header[124:136])
    if kind not in _FILES and kind not in _WITHOUT_DATA:
        tar.fail(f"a member of the type {kind!r}, which not every tar knows")
    if kind in _WITHOUT_DATA and (length or int(own.get(b"size", b"0"))):
        tar.fail("a link, folder or device with a size")
    if kind in b"12" and not (header[157:158].strip(b"\0") or gnu.get(b"linkpath") or own.get(b"linkpath")):
        tar.fail("a link to nothing, which BusyBox's tar takes for a file")
    if any(key.startswith(_HOLES) for key in own) and not any(key in own for key in _REAL_SIZES):
        tar.fail("a file with holes whose size is not told, which GNU's tar takes from its content")
    if kind == b"S" and _number(header[483:495]) < 0:
        tar.fail("a file with holes whose size is no number")
    if b"size" in own and int(own[b"size"]) != length and (length or int(own[b"size"]) < _UNFIT_SIZE):
        tar.fail(f"two sizes of one member, {length} in its header and {int(own[b'size'])} in a pax header")
    if any(own.get(key, value) != value for key, value in gnu.items()):
        tar.fail("two names of one member, by GNU's extension and by pax")
    if header[257:263] != b"ustar\0" and header[345:346] != b"\0":
        tar.fail("a prefix that only some tars put before the name")


def _member(header: bytes, records: Mapping[bytes, bytes]) -> Member:
    """A header with what the extensions before it say; old GNU tar keeps a sparse file's real size at byte 483."""
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else b""
    plain = b"/".join(filter(None, (prefix, _text(header[:100]))))
    name = records.get(b"GNU.sparse.name", records.get(b"path", plain))
    size = int(records.get(b"size", b"%d" % _number(header[124:136])))
    real = next((records[key] for key in _REAL_SIZES if key in records), None)
    if header[156:157] == b"S":
        real = b"%d" % _number(header[483:495])
    link = records.get(b"linkpath", _text(header[157:257]))
    sparse = real is not None or b"GNU.sparse.name" in records
    size = size if real is None else int(real)
    return Member(header[156:157], name, link, size, sparse, owner=_number(header[108:116]))


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


class _Blocks:
    """A stream that has to hold what is asked of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._chunk, self._position = stream, b"", 0
        self._passed = 0
        self.taken = bytearray()
        self.last = b""

    def take(self, count: int) -> bytes:
        """Exactly so many bytes, which are `taken` too."""
        taken = b"".join(self.pieces(count))
        self.taken += taken
        if len(self.taken) > _MOST_HEADERS_BYTES:
            self.fail("too many headers of one member")
        return taken

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
    """Octal, or GNU's base 256 for what does not fit; -1 for anything else, which no checksum equals.

    Zero bytes before the digits are skipped by Go's tar, and GNU's and BusyBox's take them for the number's end.
    """
    if text[0] & 0x80:
        return int.from_bytes(text) - (0x80 << 8 * (len(text) - 1))
    digits = text.rstrip(b" \0").lstrip(b" ") or b"0"
    return int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else -1


def _extension(tar: "_Blocks", kind: bytes, length: int) -> dict[bytes, bytes]:
    """What an extension says of the next member, as far as it matters here; of all members it may say nothing."""
    if length > _MOST_HEADER_BYTES:
        tar.fail(f"an extended header of {length} bytes")
    text = tar.take(_padded(length))[:length]
    if kind in _LONG_NAMES:
        if b"\0" not in text:  # GNU's tar reads on behind its size.
            tar.fail("a long name without an end")
        return {_LONG_NAMES[kind]: _text(text)}
    records: dict[bytes, bytes] = {}
    place = 0 if _MEANS_SOMETHING.search(text) else len(text)
    while place < len(text):
        width = _WIDTH.match(text, place)
        end = place + int(width[1]) if width else 0
        if not width or not width.end() < end <= len(text) or text[end - 1 : end] != b"\n":
            tar.fail("a pax header with a broken record")
        key, _, value = text[width.end() : end - 1].partition(b"=")
        if key in _MEANINGS:
            _enter(tar, records, {key: _meaning(tar, key, value)})
        elif key.startswith(_HOLES):
            records[_HOLES] = b""
        place = end
    if records and kind == b"g":
        tar.fail(f"{', '.join(map(bytes.decode, records))} for all members at once, which not every tar reads")
    return records


def _meaning(tar: "_Blocks", key: bytes, value: bytes) -> bytes:
    """The value of a record; raises `Incomplete` for one that not all take for the same."""
    if key not in _NAMES and not (value.isdigit() and len(value) <= 19):
        tar.fail("a pax header whose size is no number")
    if key in _NAMES and (b"\0" in value or not value):
        tar.fail(f"a pax header whose {key.decode()} is no name")
    return value


def _skip_sparse_map(tar: _Blocks, more: int) -> None:
    """In GNU's old sparse format blocks between header and data continue the map; each says whether another follows."""
    while more:
        more = tar.take(BLOCK)[504]
