"""Whatever an engine answers, of any shape, size and pace, it is an engine error at worst."""

import gzip
import itertools
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from controller.core.errors import BadAnswer, CommandFailed, EngineError, EngineLost, SidecarError
from controller.engine import transport
from controller.engine.ask import parted
from controller.engine.client import Engine
from controller.engine.errors import translated
from controller.engine.frames import HEADER
from controller.targets.session import Session
from strategies.base import Answer
from tests.kit.engine_calls import CALLS, CONTEXT
from tests.kit.played_engine import (
    EVENT,
    EXEC,
    ID,
    INSPECTED,
    LISTED,
    NETWORKS,
    VERSION,
    PlayedEngine,
    answer,
    playing,
)

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
Json = Any
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedEngine]:
    with playing(tmp_path_factory.mktemp("played")) as engine:
        yield engine


def asking(played: PlayedEngine, path: str, sent: Any) -> Engine:
    """A new client of an engine that answers requests with this path so, and the others as it should."""
    played.script = lambda request: sent if path in request else answer(VERSION)
    return Engine(played.address)


# --- shape

UNUSUAL: tuple[Json, ...] = (None, True, False, 0, -1, 1e999, 10**30, "", "\ud800", "../../x", "a\0b", [], {}, [None])
scalars = some.sampled_from(UNUSUAL) | some.floats() | some.text(max_size=8)
values = some.recursive(
    scalars, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3)
)


@some.composite
def spoilt(draw: some.DrawFn) -> Json:
    """A real answer in which one part is another thing, or lacks."""
    answers = ([LISTED], LISTED, INSPECTED, NETWORKS, EVENT, EXEC, VERSION, {"Id": ID}, {"Id": ID, "Warnings": None})
    whole = json.loads(json.dumps(draw(some.sampled_from(answers))))
    at = whole
    while True:
        key = draw(some.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or draw(some.booleans()):
            break
        at = at[key]
    if draw(some.booleans()):
        del at[key]
    else:
        at[key] = draw(values)
    return whole


bodies = (
    (spoilt() | values).map(lambda body: json.dumps(body).encode())
    | some.binary(max_size=40)
    | some.integers(1, 200_000).map(lambda depth: b"[" * depth)
)
statuses = some.sampled_from((200, 200, 200, 201, 101, 204, 301, 304, 400, 403, 404, 409, 500, 503, 999))
heads = some.sampled_from(
    ("Content-Encoding: gzip", "Transfer-Encoding: chunked", "Location: /x", "X: y", "Content-Length: -1")
)
whole = some.builds(answer, bodies, statuses, heads)
odd = whole | some.builds(lambda sent, length: sent[:length], whole, some.integers(0, 200)) | some.binary(max_size=60)


@settings(max_examples=4 * settings.default.max_examples)
@given(some.sampled_from(sorted(CALLS)), some.lists(odd, min_size=1, max_size=3))
def test_an_answer_of_any_shape_is_an_engine_error_at_worst(
    played: PlayedEngine, call: str, answers: list[bytes]
) -> None:
    """The last of them comes again and again; the version is negotiated as it should be, or else as they come."""
    coming = itertools.chain(answers, itertools.repeat(answers[-1]))
    is_new = len(answers) == 3
    played.script = lambda request: answer(VERSION) if "/version" in request and not is_new else next(coming)
    engine = Engine(played.address)
    try:
        CALLS[call](engine)
    except SidecarError:
        return
    finally:
        engine.close()


@pytest.mark.parametrize(
    "body", [None, {}, "x", [None], [[]], [{}], [LISTED | {"Labels": {"a": 1}}], [LISTED | {"Id": "../x"}]]
)
def test_a_list_of_another_shape_is_a_bad_answer_that_passes(played: PlayedEngine, body: Json) -> None:
    with pytest.raises(BadAnswer, match="while listing containers") as failed:
        asking(played, "/containers/json", answer(body)).containers()
    assert failed.value.transient


def test_nulls_are_what_go_makes_of_what_is_empty(played: PlayedEngine) -> None:
    nulls = dict.fromkeys(LISTED) | {"Id": ID}
    (row,) = asking(played, "/containers/json", answer([nulls])).containers()
    assert (row.id, row.name, row.labels, row.networks, row.created) == (ID, "", {}, {}, 0)


# --- size


def zeros(size: int) -> Iterator[bytes]:
    """Goes on until the client has gone away, or so many bytes are sent."""
    for _ in range(size // MEBIBYTE):
        yield b"0" * MEBIBYTE


def test_an_answer_above_64_mebibytes_is_refused_and_not_kept(played: PlayedEngine) -> None:
    endless = itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n["], zeros(1 << 33))
    with pytest.raises(BadAnswer, match="more than 64 MiB"):
        asking(played, "/containers/json", endless).containers()


@pytest.mark.parametrize("call", ["version", "networks", "inspect", "ask", "drill", "helper", "remove", "binds", "log"])
def test_no_answer_may_be_larger(played: PlayedEngine, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "ANSWER_BYTES", MEBIBYTE)
    path = "version" if call == "version" else call if call == "networks" else ID
    with pytest.raises(BadAnswer, match="too large"):
        CALLS[call](asking(played, path, answer(b'"' + b"x" * 2 * MEBIBYTE + b'"')))


def test_a_body_that_would_become_large_is_not_unpacked(played: PlayedEngine) -> None:
    bomb = answer(gzip.compress(b" " * (256 * MEBIBYTE)), 200, "Content-Encoding: gzip")
    tracemalloc.start()
    try:
        with pytest.raises(BadAnswer):
            asking(played, "/containers/json", bomb).containers()
        assert tracemalloc.get_traced_memory()[1] < 32 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_a_head_without_an_end_is_refused(played: PlayedEngine) -> None:
    endless = itertools.chain([b"HTTP/1.1 200 OK\r\n"], (b"X: %d\r\n" % number for number in itertools.count()))
    with pytest.raises(EngineError):
        asking(played, "/containers/json", endless).containers()


def event_stream(*parts: bytes) -> Iterator[bytes]:
    return itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], parts)


def test_an_event_above_a_mebibyte_is_refused_and_not_kept(played: PlayedEngine) -> None:
    sent = itertools.chain(event_stream(json.dumps(EVENT).encode(), b'\n{"a":"'), zeros(1 << 33))
    tracemalloc.start()
    try:
        with pytest.raises(BadAnswer, match="more than 1 MiB"):
            list(asking(played, "/events", sent).events(silence=20))
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_a_large_event_is_taken(played: PlayedEngine) -> None:
    large = EVENT | {"Actor": {"ID": ID, "Attributes": {"label": "x" * (900 << 10)}}}
    events = asking(played, "/events", event_stream(json.dumps(large).encode() + b"\n")).events()
    assert next(iter(events)).id == ID
    events.close()


UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n"


@pytest.mark.parametrize(
    ("ask", "mebibytes"),
    [(lambda session: session.ask(["x"]), 1), (lambda session: session.ask_all({"one": ["x"]}, 20), 8)],
    ids=["a question", "a list"],
)
def test_a_command_that_answers_without_end_is_given_up(
    played: PlayedEngine, ask: Callable[[Session], object], mebibytes: int
) -> None:
    sent = 0

    def without_end() -> Iterator[bytes]:
        nonlocal sent
        yield UPGRADED
        for _ in range(256):
            sent += 1
            yield HEADER.pack(1, MEBIBYTE) + b"0" * MEBIBYTE

    made = {"/start": without_end(), "/exec": answer({"Id": ID}, 201), f"/{ID}/json": answer(INSPECTED)}
    played.script = lambda request: next((made[part] for part in made if part in request), answer(VERSION))
    with pytest.raises(CommandFailed, match=f"longer than {mebibytes * MEBIBYTE} bytes"):
        ask(Session(Engine(played.address), CONTEXT.within(20), str))
    assert sent < mebibytes + 32


# --- pace


def trickle(seconds: float = 0.05) -> Iterator[bytes]:
    while True:
        time.sleep(seconds)
        yield b"x"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_that_trickles_has_a_deadline(played: PlayedEngine, head: bytes) -> None:
    sent = itertools.chain([head], trickle())
    engine = asking(played, "/containers", sent)
    with pytest.raises(EngineLost):
        read(engine, 0.4)


def read(engine: Engine, seconds: float) -> bytes:
    """An ordinary answer, in so many seconds."""
    with translated("listing containers"), closing(engine._api.http(seconds)) as connection:
        connection.request("GET", "/containers/json")
        return connection.getresponse().read()


def test_an_ordinary_request_takes_twenty_seconds_at_most() -> None:
    assert transport.REQUEST_SECONDS == 20


def test_an_event_that_trickles_ends_the_stream_after_the_silence(played: PlayedEngine) -> None:
    sent = itertools.chain(event_stream(json.dumps(EVENT).encode() + b"\n"), trickle())
    assert [event.id for event in asking(played, "/events", sent).events(silence=0.4)] == [ID]


@pytest.mark.parametrize("said", ["x", "xMARK", "MARKxyzMARK000", "MARK²²²MARK000", "MARK0", "MARK000MARK000MARK000"])
def test_probes_that_somebody_else_answers_are_a_failure_of_the_target(said: str) -> None:
    with pytest.raises(CommandFailed):
        parted("MARK", ("client", "server"), Answer(0, said, "MARK\n"))
