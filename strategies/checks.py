"""Format checks that more than one strategy may need: pure readers of a stream, in bounded memory."""

from collections.abc import Mapping
from typing import BinaryIO, NoReturn

from strategies.base import Incomplete

CHUNK = 1 << 20
BLOCK = 512
_ZERO = bytes(BLOCK)
_EXTENSIONS = b"gLK"
"""Headers that are no members: pax's for the whole archive (POSIX.1-2001) and GNU's long names."""
SYMLINK = b"2"
_WITHOUT_DATA = b"123456"
"""Links, devices, folders and pipes have no data, whatever their size field says (as in Go's archive/tar)."""


def ends(stream: BinaryIO, size: int = 4096) -> tuple[bytes, bytes]:
    """Read the stream to its end; give its first and its last `size` bytes."""
    head = tail = b""
    while chunk := stream.read(CHUNK):
        if len(head) < size:
            head += chunk[: size - len(head)]
        tail = (tail + chunk[-size:])[-size:]
    return head, tail


def whole_tar(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Walk every member of a tar and demand its two zero blocks with nothing but zeros behind them.

    Python's `tarfile` and GNU tar both take a cut between two members for the end. An archive without a file or folder
    raises `Incomplete` too: what should have been read was not, or the path was a symbolic link.
    """
    tar = _Blocks(stream)
    empty = True
    size: int | None = None
    while (header := tar.take(BLOCK)) != _ZERO:
        kind, length = header[156:157], _number(header[124:136])
        if _checksum(header) != _number(header[148:156]) or length < 0:
            tar.fail("no valid header where one has to be")
        if kind == b"x":
            size = _size_record(tar, length)
            continue
        if kind in _EXTENSIONS:
            tar.skip(_padded(length))
            continue
        empty = empty and kind == SYMLINK
        tar.last = header[:100]
        if kind == b"S":
            _skip_sparse_map(tar, header[482])
        if kind not in _WITHOUT_DATA:
            tar.skip(_padded(length if size is None else size))
        size = None
    tar.end()
    if empty:
        raise Incomplete("the archive holds no file and no folder")
    return ()


class _Blocks:
    """A stream that has to hold what is asked of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._chunk, self._at = stream, b"", 0
        self._before = 0
        self.last = b""

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        if self._at + count <= len(self._chunk):
            self._at += count
            return self._chunk[self._at - count : self._at]
        taken = bytearray()
        while len(taken) < count:
            if self._at == len(self._chunk):
                self._next()
            part = self._chunk[self._at : self._at + count - len(taken)]
            self._at += len(part)
            taken += part
        return bytes(taken)

    def skip(self, count: int) -> None:
        while count > (there := len(self._chunk) - self._at):
            count -= there
            self._next()
        self._at += count

    def end(self) -> None:
        """After the first zero block: another one, then at most zeros that fill up the last record."""
        if self.take(BLOCK) != _ZERO:
            self.fail("only one of the two zero blocks that end an archive")
        rest = self._chunk[self._at :]
        while rest:
            if rest.count(0) != len(rest):
                self.fail("something follows the end of the archive")
            rest = self._stream.read(CHUNK)

    def fail(self, what: str) -> NoReturn:
        name = self.last.rstrip(b"\0").decode(errors="backslashreplace")
        behind = f", after the header of {name!r}" if name else ""
        raise Incomplete(f"{what} (byte {self._before + self._at}{behind})")

    def _next(self) -> None:
        self._before += len(self._chunk)
        self._chunk, self._at = self._stream.read(CHUNK), 0
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


def _size_record(tar: _Blocks, length: int) -> int | None:
    """The `size` that a pax header sets in place of the member's own; a record is `<length> <key>=<value>`."""
    if length > CHUNK:
        tar.fail(f"a pax header of {length} bytes")
    text, size = tar.take(_padded(length))[:length], None
    while b" size=" in text:
        width, _, _ = text.partition(b" ")
        if not width.isdigit() or not 0 < int(width) <= len(text):
            tar.fail("a pax header with a broken record")
        key, _, value = text[len(width) + 1 : int(width) - 1].partition(b"=")
        if key == b"size" and value.isdigit():
            size = int(value)
        text = text[int(width) :]
    return size


def _skip_sparse_map(tar: _Blocks, more: int) -> None:
    """In GNU's old sparse format blocks between header and data continue the map; each says whether another follows."""
    while more:
        more = tar.take(BLOCK)[504]
