"""Fuzzing by the clock: real samples are changed at random, and what is answered in a new way is changed further.

A pytest plugin: `--fuzz-seconds` says how long each target is tried, `--fuzz-seed` by which chances, so that the normal
tests try the same whenever they run. What fails is told as the bytes that did it, and becomes a small test of its own.
"""

import base64
import random
import re
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pytest

MOST_BYTES = 64 << 10
MOST_SECONDS = 5.0
"""Of the processor, for one input: far more than any takes, and far less than what is quadratic."""
MOST_KINDS = 2000
USUAL = (
    *(b"", b"\0", b"\n", b"\r\n", b"-1", b"0", b"9" * 20, b"1e999", b"\xff\xfe", b"\x1b[2J", b"\xe2\x80\xae"),
    *(b"../", b"/", b"'", b'"', b"$(id)", b"${X}", b"null", b"[]", b"{}"),
)
"""What breaks parsers of whatever kind."""
Attempt = Callable[[bytes], object]
"""Gives what came of an input, as text for people; raises for what may not be."""


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "how long each parser is tried with inputs that nobody would write"
    parser.addoption("--fuzz-seconds", type=float, default=3.0, help=help_text)
    parser.addoption("--fuzz-seed", default="0", help="what the changes depend on; `new` for others each time")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "fuzz" in getattr(item, "fixturenames", ()):
            item.add_marker("fuzz")


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> "Fuzz":
    seed = request.config.getoption("--fuzz-seed")
    return Fuzz(request.config.getoption("--fuzz-seconds"), None if seed == "new" else seed)


@dataclass(frozen=True)
class Fuzz:
    """Call it with a target's samples, its own tokens, and what tries one input."""

    seconds: float
    seed: str | None
    """None for chances that are new each time."""

    def __call__(self, samples: Iterable[bytes], tokens: Sequence[bytes], attempt: Attempt) -> None:
        """The samples themselves are tried first, however short the time."""
        chance = random.Random(self.seed)
        corpus, kinds = list(samples), set[str]()
        until, tried = time.monotonic() + self.seconds, 0
        while tried < len(corpus) or time.monotonic() < until:
            given = corpus[tried] if tried < len(corpus) else changed(chance, corpus, (*USUAL, *tokens))
            kind = shape(outcome(attempt, given))
            if kind not in kinds and tried >= len(corpus) and len(kinds) < MOST_KINDS:
                corpus.insert(0, given)
            kinds.add(kind)
            tried += 1


def outcome(attempt: Attempt, given: bytes) -> str:
    """Fails the test, with the input, for any error and for one that takes long."""
    began = time.thread_time()
    try:
        said = str(attempt(given))
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}, by {readable(given)}") from error
    taken = time.thread_time() - began
    assert taken < MOST_SECONDS, f"{taken:.1f} s for {readable(given)}"
    return said


def readable(given: bytes) -> str:
    """An input as it can be copied into a test."""
    packed = f"zlib.decompress(base64.b64decode({base64.b64encode(zlib.compress(given)).decode()!r}))"
    return repr(given) if len(given) < 500 else packed


def shape(said: str) -> str:
    """What kind of an answer it is: without its numbers, names and quotations."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\b[0-9a-f]{6,}\b|\d+", "_", said)[:300]


def changed(chance: random.Random, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """One of them, changed in one to eight places."""
    data = chance.choice(corpus)
    for _ in range(min(8, 1 + int(chance.expovariate(0.6)))):
        data = chance.choice(CHANGES)(chance, data, chance.choice(corpus), chance.choice(tokens))[:MOST_BYTES]
    return data


def part(chance: random.Random, data: bytes) -> tuple[int, int]:
    """Where a part begins and ends; most are short."""
    begin = chance.randint(0, len(data))
    return begin, min(len(data), begin + int(chance.expovariate(1 / 8)))


def flip(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    begin = chance.randrange(len(data)) if data else 0
    return data[:begin] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[begin : begin + 1]) + data[begin + 1 :]


def cut(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    begin, end = part(chance, data)
    return data[:begin] + data[end:]


def end(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    return data[: chance.randint(0, len(data))]


def repeat(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    begin, end = part(chance, data)
    return data[:begin] + data[begin:end] * chance.choice((2, 2, 2, 3, 3, 50, 50, 5000)) + data[end:]


def put_in(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    begin = chance.randint(0, len(data))
    return data[:begin] + token + data[begin:]


def put_over(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    begin, _ = part(chance, data)
    return data[:begin] + token + data[begin + len(token) :]


def replace(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    """A word, a number or a quotation by a token."""
    words = list(re.finditer(rb'"[^"]*"|\w+|[^\w\s]', data[:4096]))
    if not words:
        return data + token
    word = chance.choice(words)
    return data[: word.start()] + token + data[word.end() :]


def cross(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def swap_lines(chance: random.Random, data: bytes, other: bytes, token: bytes) -> bytes:
    lines = data.split(b"\n")
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


CHANGES = (flip, cut, end, repeat, put_in, put_over, replace, replace, cross, swap_lines)
