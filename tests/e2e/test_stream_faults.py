"""Streams that lie, on the real engine: a target that dies, a reader that lags, a proxy that cuts, a head with data."""

import hashlib
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from controller.core.errors import EngineLost, SidecarError, StreamTruncated, TargetDied, TargetGone, TargetPaused
from controller.engine import seal
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.engine.frames import Frames
from controller.storage.capture import capture
from tests.e2e.engine_fixtures import BUSYBOX, DEBIAN, SLEEP, container, docker
from tests.kit.fault_proxy import Fault, FaultProxy

pytestmark = pytest.mark.e2e

DUMP_SIZE = 20_000_000
LAG = 15
"""Seconds. The engine drops what nobody has read 3 s after the last process's end; a command's last writer has 10 s."""
Told = Callable[[str, object], None]
"""pytest's `record_property`, for the table of faults."""
LAGGING = pytest.mark.fault(6, "the writer is blocked for 15 s at the end of a 20 MB dump", "byte-equal")
UNANSWERED = pytest.mark.fault(6, "the same without the handshake", "`stream-truncated`, never succeeds")
TOGETHER = pytest.mark.fault(8, "first bytes come in the packet of the header, six busy threads", "byte-equal")
CUT = pytest.mark.fault(9, "a proxy cuts after N bytes", "fails, always")


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with container(DEBIAN, *SLEEP) as made:
        docker("exec", made, "sh", "-c", f"head -c {DUMP_SIZE} /dev/urandom >/dump")
        yield made


@pytest.fixture(scope="module")
def digest(target: str) -> str:
    return docker("exec", target, "sha256sum", "/dump").split()[0]


@contextmanager
def busy(threads: int) -> Iterator[None]:
    """That many threads that keep the interpreter busy."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(100))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    workers = [threading.Thread(target=spin) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()
        sys.setswitchinterval(interval)


# Fault 1, and 2 and 3 beside it.


@pytest.mark.parametrize(
    ("end", "error", "says"),
    [
        pytest.param(("kill",), TargetDied, "exit code 137", id="killed"),
        pytest.param(("kill", "--signal", "USR1"), TargetDied, "exited, exit code 0", id="process 1 exits 0"),
        pytest.param(("restart", "--time", "0"), TargetDied, "", id="restarted"),
        # The engine kills it first: whoever asks then finds it dead and not yet gone.
        pytest.param(("rm", "--force"), (TargetGone, TargetDied), "", id="removed"),
    ],
)
def test_a_target_that_dies_fails_the_stream_at_once(
    engine: Engine, end: tuple[str, ...], error: type[SidecarError] | tuple[type[SidecarError], ...], says: str
) -> None:
    waiting = ("sh", "-c", "trap 'exit 0' USR1; while :; do sleep 0.1; done")
    with (
        container(BUSYBOX, *waiting, options=()) as made,
        engine.exec(ExecContext(made, "sh", run="r"), ("yes",)) as stream,
    ):
        size, ended = 0, None
        began = time.monotonic()
        with pytest.raises(error) as failed:  # noqa: PT012  # it is the loop that fails
            for chunk in stream:
                size += len(chunk)
                if ended is None and size >= 1 << 20:
                    began = time.monotonic()
                    ended = threading.Thread(target=docker, args=(*end, made))
                    ended.start()
        assert time.monotonic() - began < 15
        assert ended is not None
        ended.join()
    assert says in failed.value.message


def test_a_paused_target_is_refused_at_once(engine: Engine) -> None:
    with container(BUSYBOX, *SLEEP) as made:
        docker("pause", made)
        with pytest.raises(TargetPaused), engine.exec(ExecContext(made, "sh"), ("true",)):
            pass
        docker("unpause", made)


# Fault 6.


class BlockingFile(io.BytesIO):
    """Takes nothing for a while once it holds a certain number of bytes."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def write(self, data: object) -> int:
        if self._at and self.tell() >= self._at:
            self._at = 0
            time.sleep(LAG)
        return super().write(data)  # type: ignore[arg-type]


def lagging(engine: Engine, target: str, left: int) -> str:
    """The digest of the dump, read with a pause when so many bytes are left to read."""
    sha256, size, paused = hashlib.sha256(), 0, False
    with engine.exec(ExecContext(target, "sh", run="r"), ("cat", "/dump")) as stream:
        stream._frames = Frames(size=64 << 10)  # so that the pause comes where it is wanted
        for chunk in stream:
            sha256.update(chunk)
            size += len(chunk)
            if not paused and size >= DUMP_SIZE - left:
                paused = True
                time.sleep(LAG)
    assert stream.result.code == 0
    return sha256.hexdigest()


PAUSES = [1_100_000 + 20_000 * number for number in range(20)]
"""Bytes left at the pause: the engine and the pipes before it hold about 1.3 MB, so that the command has just ended."""


@LAGGING
def test_a_reader_that_lags_at_the_end_loses_nothing(
    engine: Engine, target: str, digest: str, record_property: Told
) -> None:
    record_property("cases", 20)
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(partial(lagging, engine, target), PAUSES)) == [digest] * 20


@LAGGING
def test_a_writer_that_blocks_at_the_end_loses_nothing(
    engine: Engine, target: str, digest: str, record_property: Told
) -> None:
    record_property("cases", 20)

    def captured(at: int) -> str:
        with engine.exec(ExecContext(target, "sh", run="r"), ("cat", "/dump")) as stream:
            return capture(stream, BlockingFile(at), ("none", 0)).plain_sha256

    blocked_at = [8_000_000 + 500_000 * number for number in range(20)]
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(captured, blocked_at)) == [digest] * 20


@UNANSWERED
@pytest.mark.slow
def test_without_the_handshake_the_lost_tail_is_noticed(
    engine: Engine, target: str, digest: str, monkeypatch: pytest.MonkeyPatch, record_property: Told
) -> None:
    """One or two of twenty streams lose their tail: the process must end while the engine holds as much as it takes."""
    monkeypatch.setattr(seal, "WHOLE", seal.WHOLE.replace('wait "$BACKUP_SWITCH"', ""))

    def outcome(left: int) -> str:
        try:
            return lagging(engine, target, left)
        except StreamTruncated as error:
            return error.code

    outcomes: list[str] = []
    with ThreadPoolExecutor(20) as pool:
        while "stream-truncated" not in outcomes and len(outcomes) < 200:
            outcomes += pool.map(outcome, PAUSES)
    assert set(outcomes) == {"stream-truncated", digest}
    record_property("cases", len(outcomes))
    record_property("seen", f"`stream-truncated` {outcomes.count('stream-truncated')} times, else byte-equal")


# Fault 8.


@TOGETHER
@pytest.mark.parametrize("cases", [20, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
def test_data_in_the_packet_of_the_head_is_not_lost(
    cases: int, engine: Engine, target: str, tmp_path: Path, record_property: Told
) -> None:
    sample = engine.ask(ExecContext(target), ("sh", "-c", "head -c 3000 /dump | sha256sum")).stdout.split()[0]
    record_property("cases", cases)

    def read(proxied: Engine, _: int) -> str:
        with proxied.exec(ExecContext(target), ("head", "-c", "3000", "/dump")) as stream:
            return hashlib.sha256(b"".join(stream)).hexdigest()

    with FaultProxy(tmp_path, Fault(coalesce=0.3)) as proxy, busy(6), ThreadPoolExecutor(16) as pool:
        proxied = Engine(proxy.address)
        digests = list(pool.map(partial(read, proxied), range(cases)))
        proxied.close()
    assert digests == [sample] * cases


# Fault 9.


PAYLOAD = "echo one; echo two >&2; sleep 0.1; echo three"
"""Three frames beside those of the wrapper."""


def cut(engine: Engine, target: str, run: str) -> str:
    """The code of how a stream failed, or its data."""
    try:
        with engine.exec(ExecContext(target, "sh", run=run), ("sh", "-c", PAYLOAD)) as stream:
            return b"".join(stream).decode()
    except (StreamTruncated, EngineLost) as error:
        return error.code


# Positions count from the first byte of the head, negative ones from the end of the seal; the stream has about 220.
@CUT
@pytest.mark.parametrize(
    "positions",
    [
        pytest.param([0, 1, 12, 13, 60, *range(-80, 0)], id="seal"),
        pytest.param(
            [*range(180), *range(-150, 0)], id="everywhere", marks=[pytest.mark.slow, pytest.mark.timeout(900)]
        ),
    ],
)
@pytest.mark.slow
def test_a_cut_anywhere_fails_the_stream(
    positions: Sequence[int], target: str, tmp_path: Path, record_property: Told
) -> None:
    record_property("cases", len(positions))

    def attempt(position: int) -> str:
        folder = tmp_path / str(position)
        folder.mkdir()
        with FaultProxy(folder, Fault(cut=position)) as proxy:
            engine = Engine(proxy.address)
            try:
                return cut(engine, target, run=f"cut at {position}")
            finally:
                engine.close()

    with ThreadPoolExecutor(4) as pool:
        outcomes = dict(zip(positions, pool.map(attempt, positions), strict=True))
    assert set(outcomes.values()) <= {"stream-truncated", "engine-lost"}, outcomes
    assert outcomes[0] == "engine-lost"
    assert outcomes[-1] == "stream-truncated"
    record_property("seen", "`engine-lost` within the head, `stream-truncated` behind it")
