"""Compressing and reading back, whatever the codec.

One stored file is one zstd frame (RFC 8878) with a content checksum, one gzip member (RFC 1952), or the plain bytes.
"""

import io
import sys
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, Protocol

from config.fields import Codec, Compression
from controller.core.errors import Damaged

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Chunk = bytes | memoryview
SUFFIX = {"zstd": ".zst", "gzip": ".gz", "none": ""}
"""What a stored file's name ends with."""
BLOCK = 1 << 20
"""Bytes that are read, and at most given out, at a time."""
ZSTD_WORKERS = 2
ZSTD_JOB = 1 << 20
"""Bytes that a worker takes at a time. Left alone zstd takes four windows (8 MiB at level 3): 85 MiB more of memory
that grows with the stream, for 1.2 % less to store (measured on system files, with the overlap below: half a window).
"""
ZSTD_OVERLAP = 8
ZSTD_SMALL_WINDOWS = 9
"""Up to this level such small jobs do no harm."""


MAGIC: dict[bytes, Codec] = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}
"""How a compressed file begins."""


class Compressor(Protocol):
    """Takes plain bytes, gives stored ones as they come; `flush` ends the frame."""

    def compress(self, data: Chunk, /) -> Chunk: ...
    def flush(self) -> bytes: ...


class _Plain:
    """Stores the bytes as they are."""

    def compress(self, data: Chunk, /) -> Chunk:
        return data

    def flush(self) -> bytes:
        return b""


def codec_of(head: bytes) -> Codec:
    """By the first bytes of a file."""
    return next((codec for magic, codec in MAGIC.items() if head.startswith(magic)), "none")


def compressor(compression: Compression) -> Compressor:
    """A fresh compressor. zstd works in threads of its own and ends the frame with a checksum."""
    codec, level = compression
    if codec == "zstd":
        parameter = zstd.CompressionParameter
        options: dict[int, int] = {
            parameter.compression_level: level,
            parameter.checksum_flag: 1,
            parameter.nb_workers: ZSTD_WORKERS,
        }
        if level <= ZSTD_SMALL_WINDOWS:
            options |= {parameter.job_size: ZSTD_JOB, parameter.overlap_log: ZSTD_OVERLAP}
        return zstd.ZstdCompressor(options=options)
    if codec == "gzip":
        return zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return _Plain()


def plain_chunks(stored: Iterator[bytes], codec: Codec) -> Iterator[bytes]:
    """The plain bytes, up to 1 MiB at a time. Raises `Damaged`: no end of frame, bytes behind it, bad checksum."""
    stored = filter(None, stored)  # Servers and sockets tell the end of a stream by a chunk without bytes.
    if codec == "none":
        yield from stored
        return
    try:
        if codec == "zstd":
            yield from _from_zstd(stored)
        else:
            yield from _from_gzip(stored)
    except (zstd.ZstdError, zlib.error, EOFError) as error:
        raise Damaged(f"the stored {codec} data cannot be decoded: {error}") from error


def _from_zstd(stored: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zstd.ZstdDecompressor()
    for block in stored:
        _end_not_passed(decoder.eof)
        plain = decoder.decompress(block, BLOCK)
        while True:
            if plain:
                yield plain
            if decoder.eof or decoder.needs_input:
                break
            plain = decoder.decompress(b"", BLOCK)
        _end_not_passed(bool(decoder.eof and decoder.unused_data))
    _end_seen(decoder.eof)


def _from_gzip(stored: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    for block in stored:
        _end_not_passed(decoder.eof)
        waiting = block
        while waiting and not decoder.eof:
            if plain := decoder.decompress(waiting, BLOCK):
                yield plain
            waiting = decoder.unconsumed_tail
        _end_not_passed(bool(decoder.unused_data))
    # Output may lag behind the input that was consumed.
    while not decoder.eof and (plain := decoder.decompress(b"", BLOCK)):
        yield plain
    _end_seen(decoder.eof)


def _end_not_passed(passed: bool) -> None:
    if passed:
        raise Damaged("bytes stand behind the end of the compressed frame")


def _end_seen(seen: bool) -> None:
    if not seen:
        raise Damaged("the compressed frame has no end: the file was cut")


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """The file to its end, 1 MiB at a time."""
    while block := file.read(BLOCK):
        yield block


def opened(chunks: Iterator[bytes]) -> BinaryIO:
    """The plain bytes of a stream that may be compressed, as its first ones tell."""
    head = b""
    while len(head) < max(map(len, MAGIC)) and (chunk := next(chunks, b"")):
        head += chunk
    return PlainReader(plain_chunks(chain([head], chunks), codec_of(head)), io.BytesIO())


class PlainReader(io.RawIOBase, BinaryIO):
    """Plain chunks as a file to read. `read(n)` gives n bytes unless the end comes first. Closes `stored` too."""

    def __init__(self, chunks: Iterator[bytes], stored: BinaryIO) -> None:
        super().__init__()
        self._chunks, self._stored = chunks, stored
        self._chunk = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        missing = sys.maxsize if size is None or size < 0 else size
        pieces: list[memoryview] = []
        while missing and self._fill():
            piece = self._chunk[:missing]
            self._chunk = self._chunk[len(piece) :]
            missing -= len(piece)
            pieces.append(piece)
        whole = pieces[0].obj if len(pieces) == 1 else None
        return whole if isinstance(whole, bytes) and len(whole) == len(pieces[0]) else b"".join(pieces)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        super().close()
        self._stored.close()

    def _fill(self) -> bool:
        """Whether there is something to give."""
        if not self._chunk:
            self._chunk = memoryview(next(self._chunks, b""))
        return bool(self._chunk)
