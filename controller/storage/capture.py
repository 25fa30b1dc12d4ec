"""Bytes, from a stream to the store and back: bounded queue, compression, digests.

The thread that reads does nothing else, so that the engine never waits for the disk; behind a queue of a few MiB
another compresses, takes the digests and writes. Memory does not depend on the length of the stream.
"""

import contextlib
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from config.fields import Codec, Compression
from controller.core.errors import Damaged, IncompleteDump, SidecarError, StoreError, StoreFull, WriterStalled
from controller.storage.codecs import Chunk, PlainReader, blocks, compressor, plain_chunks
from controller.storage.files import FULL, MAKE_ROOM
from strategies.plan import Incomplete

__all__ = ["Captured", "Chunk", "Consume", "Verified", "capture", "open_plain", "verify"]

QUEUED_CHUNKS = 4
"""Chunks, of about 1 MiB, between reader and writer."""
LOOK_SECONDS = 1.0
"""Seconds after which a wait looks around."""
GIVE_UP_SECONDS = 5.0
"""Seconds that a writer whose work is in vain gets to leave the file."""


@dataclass(frozen=True, slots=True)
class Captured:
    """Sizes in bytes and SHA-256 digests in hexadecimal, of the plain stream and of what was stored."""

    plain_size: int
    plain_sha256: str
    stored_size: int
    stored_sha256: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What verification found besides that all is well."""

    warnings: tuple[str, ...] = ()


Consume = Callable[[BinaryIO], Sequence[str]]
"""Reads the plain stream; gives warnings, raises `strategies.plan.Incomplete`, `IncompleteDump` or `CommandFailed`."""


def capture(
    source: Iterable[Chunk],
    file: BinaryIO,
    compression: Compression,
    *,
    progress: Callable[[int], None] = lambda size: None,
    stall: float = 600.0,
) -> Captured:
    """Write the source to the file, compressed, and take both digests on the way.

    `progress` is called after each chunk with the plain bytes so far. The caller flushes, fsyncs and closes the file,
    and must take an error of `close()` for a failure. Raises what the source raises; `StoreFull` and `StoreError` for
    the file; `WriterStalled` when the file takes nothing for `stall` seconds, after `source.close()` was called where
    there is one. A source's `check()`, where there is one, is asked each second while the file is slow: it may raise.
    After any exception the file is worthless.
    """
    writer = _Writer(file, compression)
    writer.start()
    size = 0
    try:
        for chunk in source:
            _while_slow(writer, source, stall, partial(writer.take, chunk))
            size += len(chunk)
            progress(size)
        _while_slow(writer, source, stall, partial(writer.take, None))
        _while_slow(writer, source, stall, writer.finished)
    except BaseException:
        writer.abandon()
        raise
    return writer.captured()


def _while_slow(writer: "_Writer", source: object, stall: float, attempt: Callable[[], bool]) -> None:
    """Try, a tick at a time, until it works; meanwhile see that the writer moves and that the source still wants to."""
    while not attempt():
        writer.raise_failure()
        if time.monotonic() - writer.moved_at >= stall:
            getattr(source, "close", lambda: None)()
            raise WriterStalled(f"the store took no byte for {stall:g} s", hint="Look at the disk or network share.")
        getattr(source, "check", lambda: None)()
    writer.raise_failure()


class _Writer(threading.Thread):
    """Compresses, digests and writes what it is given, until it is given None."""

    def __init__(self, file: BinaryIO, compression: Compression) -> None:
        super().__init__(name="writer", daemon=True)
        self._file = file
        self._compressor = compressor(compression)
        self._as_is = compression[0] == "none"
        self._queue: queue.Queue[Chunk | None] = queue.Queue(QUEUED_CHUNKS)
        self._plain, self._stored = hashlib.sha256(), hashlib.sha256()
        self._plain_size = self._stored_size = 0
        self._failure: BaseException | None = None
        self._abandoned = False
        self.moved_at = time.monotonic()
        """When the file last took something, or there was nothing to take."""

    def take(self, chunk: Chunk | None) -> bool:
        """Whether the chunk found room within a tick."""
        try:
            self._queue.put(chunk, timeout=LOOK_SECONDS)
        except queue.Full:
            return False
        return True

    def finished(self) -> bool:
        """Whether it is done within a tick."""
        self.join(LOOK_SECONDS)
        return not self.is_alive()

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise _store_error(self._failure) from self._failure

    def abandon(self) -> None:
        """Make it leave the file; one that hangs in the kernel is left behind."""
        self._abandoned = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put(None)
        self.join(GIVE_UP_SECONDS)

    def captured(self) -> Captured:
        stored = self._stored.hexdigest()
        plain = stored if self._as_is else self._plain.hexdigest()
        return Captured(self._plain_size, plain, self._stored_size, stored)

    def run(self) -> None:
        try:
            while (chunk := self._queue.get()) is not None:
                self._plain_size += len(chunk)
                self.moved_at = time.monotonic()
                if not self._as_is:
                    self._plain.update(chunk)
                self._write(self._compressor.compress(chunk))
            self._write(self._compressor.flush())
        except BaseException as error:  # noqa: BLE001  # told to the reading thread, which raises it
            self._failure = error
            # The reader must not wait for room that nobody makes.
            while not self._abandoned and self._queue.get() is not None:
                pass

    def _write(self, data: Chunk) -> None:
        self._stored.update(data)
        view = memoryview(data)
        while view and not self._abandoned:
            count = self._file.write(view)
            self._stored_size += count
            self.moved_at = time.monotonic()
            view = view[count:]


def _store_error(error: BaseException) -> BaseException:
    if isinstance(error, SidecarError) or not isinstance(error, (OSError, ValueError)):
        return error
    if isinstance(error, OSError) and error.errno in FULL:
        return StoreFull("no room is left in the store", hint=MAKE_ROOM)
    return StoreError(f"the store cannot be written: {error}", hint="Look at the store's disk and permissions.")


def verify(
    path: Path,
    expected: Captured,
    compression: Compression,
    consume: Consume | None = None,
    *,
    check: Callable[[], None] = lambda: None,
) -> Verified:
    """Read the stored file once and compare everything that was captured; hand the plain stream to `consume`.

    `check` is called for each MiB or so; what it raises ends the reading.

    What `consume` does not read is read after it. Raises `Damaged` (digest, size, frame's end, bytes behind it), which
    goes before `IncompleteDump` and whatever else `consume` raises; `StoreError` for a file that cannot be read.
    """
    warnings: tuple[str, ...] = ()
    objection: Exception | None = None
    with _Verification(path, compression[0], check, expected.plain_size) as verification:
        try:
            if consume is not None:
                warnings = tuple(consume(verification.reader))
        except Exception as error:  # noqa: BLE001  # raised below, unless the bytes are not those that were captured
            objection = error
        verification.compare(expected)
    if isinstance(objection, Incomplete):
        raise IncompleteDump(str(objection)) from objection
    if objection is not None:
        raise objection
    return Verified(warnings)


class _Verification:
    """One pass over a stored file, with both digests taken beside it in threads."""

    def __init__(self, path: Path, codec: Codec, check: Callable[[], None], most: int) -> None:
        """`most` are the plain bytes that there should be: a few stored ones may become any number."""
        self._path, self._check, self._most = path, check, most
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise StoreError(f"cannot read {path.name}: {error}") from error
        self._stored = _Digest()
        self._plain = self._stored if codec == "none" else _Digest()
        self._blocks = self._stored.along(blocks(file))
        chunks = self._blocks if codec == "none" else self._plain.along(plain_chunks(self._blocks, codec))
        self._failure: Exception | None = None
        self.reader = PlainReader(self._remembering(chunks), file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stored.end()
        self._plain.end()
        self.reader.close()

    def _remembering(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks; what goes wrong with them is kept, since whoever reads may take it for something else."""
        try:
            left = self._most
            for chunk in chunks:
                self._check()
                left -= len(chunk)
                if left < 0:
                    raise Damaged(f"it holds more than the {self._most} plain bytes that were captured")
                yield chunk
        except OSError as error:
            self._failure = StoreError(f"cannot read {self._path.name}: {error}")
            raise self._failure from error
        except SidecarError as error:
            self._failure = error
            raise

    def compare(self, expected: Captured) -> None:
        """Read what is left, then raise `Damaged` for any difference, with both digests."""
        with contextlib.suppress(SidecarError):
            while self._failure is None and self.reader.read(1 << 20):
                pass
        if isinstance(self._failure, Damaged):
            self._read_on()
            digests = f"sha256 {self._stored.end()}, expected {expected.stored_sha256}"
            raise Damaged(f"{self._path.name}: {self._failure.message}; {digests}") from self._failure
        if self._failure is not None:
            raise self._failure
        stored = Captured(self._plain.size, self._plain.end(), self._stored.size, self._stored.end())
        if stored != expected:
            raise Damaged(
                f"{self._path.name} is not what was captured: sha256 {stored.stored_sha256} of {stored.stored_size}"
                f" bytes, expected {expected.stored_sha256} of {expected.stored_size};"
                f" plain {stored.plain_sha256} of {stored.plain_size}, expected {expected.plain_sha256}"
                f" of {expected.plain_size}"
            )

    def _read_on(self) -> None:
        """Read the stored bytes behind a place that cannot be decoded, for their digest."""
        with contextlib.suppress(OSError):
            for _ in self._blocks:
                pass


class _Digest(threading.Thread):
    """A SHA-256 taken in a thread beside whoever uses the bytes."""

    def __init__(self) -> None:
        super().__init__(name="digest", daemon=True)
        self._queue: queue.Queue[bytes | None] = queue.Queue(4)
        self._sha256 = hashlib.sha256()
        self.size = 0
        self.start()

    def along(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.size += len(chunk)
            self._queue.put(chunk)
            yield chunk

    def end(self) -> str:
        """The digest of everything so far; more than once."""
        if self.is_alive():
            self._queue.put(None)
            self.join()
        return self._sha256.hexdigest()

    def run(self) -> None:
        while (chunk := self._queue.get()) is not None:
            self._sha256.update(chunk)


def open_plain(path: Path, compression: Compression) -> BinaryIO:
    """The plain stream of a stored file, for restore; reading raises `Damaged` when the frame has no end."""
    file = path.open("rb", buffering=0)
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return PlainReader(plain_chunks(blocks(file), compression[0]), file)
