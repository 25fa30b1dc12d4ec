"""Taking an exec's bytes apart, in whatever pieces they come."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as some

from controller.engine.frames import Frames, Malformed
from controller.engine.seal import LENGTH, Seal

Payload = tuple[int, bytes]

payloads = some.lists(some.tuples(some.sampled_from((1, 2)), some.binary(max_size=300)), max_size=12)


def framed(sent: list[Payload]) -> bytes:
    return b"".join(struct.pack(">BxxxL", stream, len(data)) + data for stream, data in sent)


def fed(frames: Frames, data: bytes, sizes: list[int]) -> bytes:
    """Everything that the frames give, when the data comes in pieces of these sizes, again and again."""
    output, number = b"", 0
    while data:
        room = frames.room()
        piece = data[: min(sizes[number % len(sizes)], len(room))]
        room[: len(piece)] = piece
        frames.received(len(piece))
        data, number = data[len(piece) :], number + 1
        if frames.full:
            output += frames.take()
    return output + frames.take()


@given(payloads, some.lists(some.integers(1, 400), min_size=1, max_size=20), some.integers(64, 2000))
def test_any_split_of_the_stream_gives_the_same_bytes(sent: list[Payload], sizes: list[int], buffer: int) -> None:
    frames = Frames(size=buffer, keep=100)
    expected = {stream: b"".join(data for number, data in sent if number == stream) for stream in (1, 2)}
    assert fed(frames, framed(sent), sizes) == expected[1]
    assert frames.error == expected[2][-100:]
    assert frames.output_size == len(expected[1])
    assert frames.boundary


@given(payloads.filter(bool), some.data())
def test_a_stream_that_ends_inside_a_frame_is_seen(sent: list[Payload], data: some.DataObject) -> None:
    whole = framed(sent)
    boundaries = {len(framed(sent[:number])) for number in range(len(sent) + 1)}
    cut = data.draw(some.integers(0, len(whole)))
    frames = Frames(size=len(whole) + 64)
    frames.room()[:cut] = whole[:cut]
    frames.received(cut)
    assert frames.boundary == (cut in boundaries)


@given(some.lists(some.binary(max_size=50), max_size=8), some.integers(0, 255), some.data())
def test_the_seal_is_found_however_it_is_split(before: list[bytes], code: int, data: some.DataObject) -> None:
    seal = Seal()
    mark = seal.token + b"%03d" % code
    cut = data.draw(some.integers(0, LENGTH))
    frames = Frames()
    fed_nothing_yet = framed([(1, part) for part in (*before, mark[:cut])])
    frames.room()[: len(fed_nothing_yet)] = fed_nothing_yet
    frames.received(len(fed_nothing_yet))
    assert (seal.code(frames.tail(LENGTH)) is None) == (cut < LENGTH)
    rest = framed([(1, mark[cut:])])
    frames.room()[: len(rest)] = rest
    frames.received(len(rest))
    assert seal.code(frames.tail(LENGTH)) == code
    assert frames.take() == b"".join(before) + mark


@pytest.mark.parametrize("tail", [b"", b"0" * LENGTH, b"x" * 32 + b"0000", b"x" * 32 + b"0x0", b"x" * 32 + b"00"])
def test_what_is_not_the_seal_is_not_taken_for_it(tail: bytes) -> None:
    assert Seal("x" * 32).code(tail) is None


def test_bytes_that_are_no_frame_are_refused() -> None:
    frames = Frames()
    frames.room()[:8] = b"HTTP/1.1"
    with pytest.raises(Malformed):
        frames.received(8)


def test_only_the_tail_of_standard_error_is_kept() -> None:
    frames = Frames(size=64 << 10, keep=1000)
    noise = framed([(2, b"the first line\n"), *[(2, b"y" * 999)] * 10_000])
    assert fed(frames, noise, [30_000]) == b""
    assert frames.error == b"y" * 1000
    assert frames._error._size < 3000
