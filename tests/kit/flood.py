"""Streams of any length that cost nothing to make, and the memory that whoever reads them takes."""

import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from controller.storage.codecs import PlainReader

MIB = 1 << 20


def repeated(piece: bytes, size: int, head: bytes = b"") -> Iterator[bytes]:
    """The same again and again, each time made anew, so that whoever keeps it needs memory for it."""
    chunk = bytearray(piece * max(1, MIB // len(piece)))
    return itertools.chain([head] if head else [], (bytes(chunk) for _ in range(size // len(chunk))))


def numbered(form: bytes, size: int) -> Iterator[bytes]:
    """Each with its number, so that no two are the same."""
    step = MIB // len(form % 0)
    for first in range(0, size // len(form % 0), step):
        yield b"".join(form % number for number in range(first, first + step))


def stream(chunks: Iterator[bytes]) -> PlainReader:
    return PlainReader(chunks, io.BytesIO())


def peak(action: Callable[[], object]) -> int:
    """Bytes of memory that the process takes more at most, by the kernel's own mark (proc(5), `clear_refs`)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmHWM")
    action()
    return resident("VmHWM") - before


def resident(what: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) << 10
