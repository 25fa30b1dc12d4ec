"""Taking an exec's bytes apart into standard output and standard error, as they come, through one buffer.

The engine sends frames: a byte for the stream (1 output, 2 error), three zeros, the length as four bytes in network
order, and that many bytes (moby, api/types "Stream format"). They may come in pieces of any size.
Pure: no socket in here.
"""

import struct
from collections import deque

HEADER = struct.Struct(">BxxxL")
OUTPUT, ERROR = 1, 2


class Malformed(Exception):
    """Bytes that are no frame."""


class Frames:
    """Parses in place: `room()` is where the next bytes go, `received()` how many came, `take()` empties the buffer.

    Memory is the buffer, a joined copy of it at `take()`, and `keep` bytes of standard error, whatever is sent.
    """

    def __init__(self, size: int = 1 << 20, keep: int = 16 << 10) -> None:
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._parsed = 0
        self._left = 0
        """Bytes of the current frame's payload that have not come."""
        self._stream = OUTPUT
        self._pieces: list[memoryview] = []
        self._error = Tail(keep)
        self.output_size = 0
        """Bytes of standard output so far."""

    def room(self) -> memoryview:
        """The free part of the buffer; empty when `take()` is due."""
        return self._view[self._filled :]

    @property
    def full(self) -> bool:
        """Whether so little room is left that it is better to take now."""
        return self._filled >= len(self._buffer) * 7 // 8

    @property
    def boundary(self) -> bool:
        """Whether no frame is under way."""
        return self._left == 0 and self._parsed == self._filled

    @property
    def error(self) -> bytes:
        """The last bytes of standard error."""
        return self._error.value

    def received(self, count: int) -> None:
        """That many bytes were put into `room()`. Raises `Malformed`."""
        self._filled += count
        view, position, filled, left = self._view, self._parsed, self._filled, self._left
        while position < filled:
            if left == 0:
                if filled - position < HEADER.size:
                    break
                self._stream, left = HEADER.unpack_from(view, position)
                if self._stream not in (OUTPUT, ERROR):
                    raise Malformed(f"a frame of the unknown stream {self._stream}")
                position += HEADER.size
                continue
            end = min(position + left, filled)
            if self._stream == OUTPUT:
                self._pieces.append(view[position:end])
                self.output_size += end - position
            else:
                self._error.add(bytes(view[position:end]))
            left -= end - position
            position = end
        self._parsed, self._left = position, left

    def tail(self, length: int) -> bytes:
        """The last bytes of standard output that has not been taken; fewer when there is less."""
        tail = b""
        for piece in reversed(self._pieces):
            tail = bytes(piece[-(length - len(tail)) :]) + tail
            if len(tail) >= length:
                break
        return tail

    def take(self, before: bytes = b"") -> bytes:
        """`before` and standard output since the last call; the buffer is free again but for a header under way."""
        taken = b"".join([before, *self._pieces])
        self._pieces.clear()
        rest = bytes(self._view[self._parsed : self._filled])
        self._view[: len(rest)] = rest
        self._parsed, self._filled = 0, len(rest)
        return taken


class Tail:
    """The last bytes of a stream of any length."""

    def __init__(self, keep: int) -> None:
        self._keep, self._size = keep, 0
        self._parts: deque[bytes] = deque()

    def add(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        while self._size - len(self._parts[0]) >= self._keep:
            self._size -= len(self._parts.popleft())

    @property
    def value(self) -> bytes:
        return b"".join(self._parts)[-self._keep :]
