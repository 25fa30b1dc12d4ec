"""Makes of one tar another one of only some of its members, so that each mount of a container gets its own."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from strategies.plan import Incomplete, Unsafe
from strategies.tar import BLOCK, contents


@dataclass(frozen=True, slots=True)
class Part:
    """A `Rewrite`: keeps the members whose place is one of `mine`. A member's place is the innermost above it."""

    above: str
    """The path to which the members' names are relative; empty for `/`."""
    mine: frozenset[str]
    """Paths."""
    places: frozenset[str]
    """All of them."""

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for member, pieces in contents(cast(BinaryIO, _Stream(chunks))):
                if self._place(member.name) not in self.mine:
                    continue
                yield member.head
                size = 0
                for piece in pieces:
                    size += len(piece)
                    yield piece
                yield bytes(-size % BLOCK)
        except Incomplete as error:
            raise Unsafe(str(error)) from error
        yield bytes(2 * BLOCK)

    def _place(self, name: bytes) -> str:
        """Empty for none."""
        path = f"{self.above}/{name.decode('utf-8', 'surrogateescape').removeprefix('./').rstrip('/')}"
        while path and path not in self.places:
            path = path.rpartition("/")[0]
        return path


class _Stream(io.RawIOBase):
    """The chunks as a stream of which each read gives the next."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int = -1) -> bytes:
        return next(self._chunks, b"")
