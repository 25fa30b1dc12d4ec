"""Bytes into the store and back: digests, bounded waiting, and every kind of damage."""

import contextlib
import errno
import gzip
import hashlib
import io
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from config.fields import Compression
from controller.core.errors import Cancelled, Damaged, IncompleteDump, StoreError, StoreFull, WriterStalled
from controller.storage.capture import Captured, capture, open_plain, verify
from strategies.plan import Incomplete

pytestmark = pytest.mark.thorough

CODECS = [Compression("zstd", 3), Compression("gzip", 6), Compression("none", 0)]
PLAIN = b"a row that compresses\n" * 20_000 + os.urandom(300_000)


@pytest.fixture(params=CODECS, ids=lambda codec: codec.codec)
def codec(request: pytest.FixtureRequest) -> Compression:
    return request.param  # type: ignore[no-any-return]


def pieces(data: bytes, size: int = 50_000) -> Iterator[bytes | memoryview]:
    for start in range(0, len(data), size):
        yield memoryview(data)[start : start + size]


@pytest.fixture
def stored(tmp_path: Path, codec: Compression) -> tuple[Path, Captured]:
    path = tmp_path / "artifact"
    with path.open("wb") as file:
        return path, capture(pieces(PLAIN), file, codec)


def test_both_digests_and_sizes_are_right(stored: tuple[Path, Captured]) -> None:
    path, captured = stored
    assert captured == Captured(
        len(PLAIN),
        hashlib.sha256(PLAIN).hexdigest(),
        path.stat().st_size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def test_progress_counts_plain_bytes() -> None:
    seen: list[int] = []
    capture(pieces(b"x" * 120_000), io.BytesIO(), CODECS[0], progress=seen.append)
    assert seen == [50_000, 100_000, 120_000]


def test_plain_tools_read_it(stored: tuple[Path, Captured], codec: Compression) -> None:
    path, _ = stored
    if codec.codec == "gzip":
        assert gzip.decompress(path.read_bytes()) == PLAIN
    if codec.codec == "zstd":
        done = subprocess.run(("zstd", "-dcq", path), capture_output=True, check=True)
        assert done.stdout == PLAIN
        assert path.read_bytes()[4] & 0b100, "the frame has no checksum (RFC 8878, 3.1.1.1.1)"


def test_what_was_captured_is_verified_and_handed_on_once(stored: tuple[Path, Captured], codec: Compression) -> None:
    path, captured = stored

    def consume(plain: object) -> list[str]:
        assert isinstance(plain, io.RawIOBase)
        assert plain.read(5) == PLAIN[:5]
        buffer = bytearray(1000)
        assert plain.readinto(buffer) == 1000
        assert buffer == PLAIN[5:1005]
        return ["odd, but whole"]

    assert verify(path, captured, codec, consume).warnings == ("odd, but whole",)
    with open_plain(path, codec) as plain:
        assert plain.read() == PLAIN
        assert plain.read() == b""


def test_an_empty_stream_has_a_frame_of_its_own(tmp_path: Path, codec: Compression) -> None:
    path = tmp_path / "artifact"
    with path.open("wb") as file:
        captured = capture([], file, codec)
    assert captured.plain_size == 0
    verify(path, captured, codec)


@given(where=some.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_anywhere_is_damage(stored: tuple[Path, Captured], codec: Compression, where: float) -> None:
    path, captured = stored
    cut = path.with_name("cut")
    cut.write_bytes(path.read_bytes()[: int(captured.stored_size * where)])
    with pytest.raises(Damaged):
        verify(cut, captured, codec)
    if codec.codec != "none":
        with open_plain(cut, codec) as plain, pytest.raises(Damaged):
            plain.read()


@given(where=some.floats(0, 1, exclude_max=True), bit=some.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bit_that_rots_is_damage_with_both_digests(
    stored: tuple[Path, Captured], codec: Compression, where: float, bit: int
) -> None:
    path, captured = stored
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 1 << bit
    rotten = path.with_name("rotten")
    rotten.write_bytes(data)
    with pytest.raises(Damaged) as failed:
        verify(rotten, captured, codec)
    assert captured.stored_sha256 in failed.value.message
    assert hashlib.sha256(data).hexdigest() in failed.value.message


def test_bytes_behind_the_end_are_damage(stored: tuple[Path, Captured], codec: Compression) -> None:
    path, captured = stored
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(Damaged):
        verify(path, captured, codec)


def test_an_incomplete_dump_is_named(stored: tuple[Path, Captured], codec: Compression) -> None:
    def consume(plain: object) -> list[str]:
        raise Incomplete("no trailer")

    with pytest.raises(IncompleteDump, match="no trailer"):
        verify(*stored, codec, consume)


def test_damage_goes_before_what_the_check_says(stored: tuple[Path, Captured], codec: Compression) -> None:
    def consume(plain: io.RawIOBase) -> list[str]:
        with contextlib.suppress(Damaged):
            plain.read()
        raise Incomplete("no trailer")

    path, captured = stored
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Damaged):
        verify(path, captured, codec, consume)  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        verify(tmp_path / "none", Captured(0, "", 0, ""), CODECS[0])


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreError)]
)
def test_a_failing_file_ends_even_an_endless_stream(number: int, expected: type[StoreError]) -> None:
    class Failing(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(number, os.strerror(number))

    def endless() -> Iterator[bytes]:
        while True:
            yield os.urandom(100_000)

    with pytest.raises(StoreError) as failed:
        capture(endless(), Failing(), CODECS[0])
    assert type(failed.value) is expected


def test_a_full_disk_is_store_full() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(StoreFull):
        capture(pieces(PLAIN), file, CODECS[2])


def test_what_the_source_raises_passes_through() -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        capture(broken(), io.BytesIO(), CODECS[0])
    assert not [thread for thread in threading.enumerate() if thread.name == "writer"]


class Hanging(io.BytesIO):
    """Takes nothing until it is let go."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        self.go = go

    def write(self, data: object) -> int:
        assert self.go.wait(30)
        return super().write(data)  # type: ignore[arg-type]


class Source:
    def __init__(self, size: int) -> None:
        self.size, self.closed, self.reason = size, threading.Event(), None

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.size):
            yield bytes(1 << 20)

    def check(self) -> None:
        if self.reason is not None:
            raise self.reason

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("size", [3, 100])
def test_a_store_that_takes_nothing_closes_the_source_first(size: int) -> None:
    source = Source(size)
    with pytest.raises(WriterStalled):
        capture(source, Hanging(source.closed), CODECS[2], stall=0.3)
    assert source.closed.is_set()


def test_a_source_can_object_while_the_store_is_slow() -> None:
    go, source = threading.Event(), Source(100)
    source.reason = Cancelled("enough")  # type: ignore[assignment]
    threading.Timer(1.5, go.set).start()
    with pytest.raises(Cancelled):
        capture(source, Hanging(go), CODECS[2])


def test_a_source_that_pauses_longer_than_the_store_may_is_no_stall() -> None:
    def slow() -> Iterator[bytes]:
        yield b"a"
        time.sleep(1.6)
        yield b"b"

    assert capture(slow(), io.BytesIO(), CODECS[0], stall=1.0).plain_size == 2


def test_memory_does_not_grow_with_what_a_frame_expands_to(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        captured = capture((bytes(1 << 20) for _ in range(300)), file, CODECS[0])
    assert captured.stored_size < 100_000
    with open_plain(path, CODECS[0]) as plain:
        assert len(plain.read(10)) == 10
        assert len(plain._chunk) <= 1 << 20  # type: ignore[attr-defined]
