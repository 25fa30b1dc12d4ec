"""What containers and the engine send: frames, answers, archives and their pax headers."""

import contextlib
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from controller.core.errors import EngineError, SidecarError
from controller.engine.client import Engine
from controller.engine.frames import HEADER, Frames, Malformed
from controller.engine.wire import Wire
from strategies.checks import safe_tar, safe_tar_without_holes, whole_tar
from strategies.plan import Incomplete, Unsafe
from strategies.tar import BLOCK, Member, members
from tests.kit.engine_calls import CALLS
from tests.kit.fuzzing import Attempt, Fuzz
from tests.kit.played_engine import EVENT, EXEC, INSPECTED, LISTED, NETWORKS, VERSION, answer, playing

# --- frames

HEAD = b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n"


def framed(*sent: tuple[int, bytes]) -> bytes:
    return b"".join(HEADER.pack(stream, len(data)) + data for stream, data in sent)


def reading(data: bytes) -> tuple[bytes, bytes, bool]:
    """Another reading of frames, all at once: output, errors, whether it ends between two."""
    said = {1: b"", 2: b""}
    while len(data) >= HEADER.size:
        stream, length = HEADER.unpack_from(data)
        if stream not in said:
            raise Malformed
        said[stream] += data[8 : 8 + length]
        if len(data) < 8 + length:
            return said[1], said[2], False
        data = data[8 + length :]
    return said[1], said[2], not data


def received(data: bytes, size: int) -> tuple[bytes, bytes, bool]:
    """What a raw connection gives that sends this and ends."""
    here, there = socket.socketpair()
    with closing(there), closing(Wire(here)) as wire:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        frames, output = Frames(size=size, keep=1 << 20), b""
        rest = wire.head().rest
        while rest:
            piece, rest = rest[: len(frames.room())], rest[len(frames.room()) :]
            frames.room()[: len(piece)] = piece
            frames.received(len(piece))
            output += frames.take()
        while count := wire.receive_into(frames.room()):
            frames.received(count)
            output += frames.take() if frames.full else b""
        return output + frames.take(), frames.error, frames.boundary


def test_frames_of_any_kind_are_read_as_another_reader_does(fuzz: Fuzz) -> None:
    def attempt(data: bytes) -> str:
        size = 64 + int.from_bytes(data[:2])
        data = data[2:]
        try:
            found = received(data, size)
        except Malformed:
            with pytest.raises(Malformed):
                reading(data.partition(b"\r\n\r\n")[2])
            return "malformed"
        except (OSError, EngineError) as error:
            return type(error).__name__
        assert found == reading(data.partition(b"\r\n\r\n")[2])
        return f"{found[2]} {min(len(found[0]), 9)}"

    whole = framed((1, b"abc"), (2, b"an error\n"), (1, b""), (1, bytes(range(256)) * 8), (2, b"x"))
    fuzz([b"\0\0" + HEAD + whole, b"\4\0" + HEAD + whole], (framed((1, b"x")), framed((3, b"x"))), attempt)


# --- answers of the engine

ANSWERS = ([LISTED], INSPECTED, NETWORKS, EVENT, EXEC, VERSION, {"Id": "a1", "Warnings": None})
SPLIT = b"\n--\n"
ANSWER_TOKENS = (b"1e400", b"\\ud800", b"true", b"[" * 5000, b'{"Id":1}', b'"Labels"', b'"Id"', b"-0", b" ", SPLIT)


def test_an_answer_of_the_engine_of_any_kind_is_an_error_of_ours_at_worst(fuzz: Fuzz, tmp_path: Path) -> None:
    calls = sorted(CALLS)

    def attempt(data: bytes) -> str:
        call, bodies = calls[(data[:1] or b"\0")[0] % len(calls)], data[1:].split(SPLIT)
        played.script = lambda request: answer(
            VERSION if "/version" in request else bodies[hash(request) % len(bodies)]
        )
        with closing(Engine(played.address)) as engine:
            try:
                CALLS[call](engine)
            except SidecarError as error:
                return f"{call} {error.message}"
        return call

    bodies = [json.dumps(body).encode() for body in ANSWERS]
    samples = [bytes([number]) + SPLIT.join([body, *bodies[:2]]) for number in range(len(calls)) for body in bodies]
    with playing(tmp_path) as played:
        fuzz(samples, ANSWER_TOKENS, attempt)


# --- archives

KINDS = {b"2": "link", b"5": "folder", b"6": "pipe"}
NUMBERS = {stat.S_IFLNK: b"2", stat.S_IFDIR: b"5", stat.S_IFIFO: b"6"}


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Of the formats that there are, by GNU's tar and by Python's."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "d").mkdir()
    (folder / "d/file").write_bytes(b"content" * 100)
    (folder / "d/ñ \n").touch()
    (folder / "hard").hardlink_to(folder / "d/file")
    (folder / "soft").symlink_to("d/file")
    (folder / ("long" * 40)).touch()
    os.truncate(folder / "d/ñ \n", 200_000)
    made = []
    for kind in ("gnu", "oldgnu", "pax", "posix"):
        command = ["tar", "-C", folder, f"--format={kind}", "--record-size=512", "--sparse", "-cf-", "."]
        made.append(subprocess.run(command, check=True, capture_output=True).stdout)
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
            tar.add(folder / "d/file", "x" * 90 + "/file")
            tar.add(folder / "soft", "s")
        made.append(file.getvalue().rstrip(b"\0").ljust(4096, b"\0"))
    return made


def summed(data: bytes) -> bytes:
    """With the checksums that its headers need, as far as somebody can tell where these are."""
    tar, at = bytearray(data), 0
    while at + BLOCK <= len(tar) and any(tar[at : at + BLOCK]):
        tar[at + 148 : at + 156] = b" " * 8
        tar[at + 148 : at + 156] = b"%06o\0 " % sum(tar[at : at + BLOCK])
        size = bytes(tar[at + 124 : at + 136]).strip(b" \0")
        length = int(size, 8) if size and not size.strip(b"01234567") else 0
        at += BLOCK + -(-length // BLOCK) * BLOCK
    return bytes(tar)


def looked_at(data: bytes) -> list[Member]:
    """The members of what passes every check; raises `Incomplete`, `Unsafe`."""
    whole_tar(io.BytesIO(data), {})
    safe_tar(io.BytesIO(data))
    with contextlib.suppress(Unsafe):  # BusyBox's tar would be refused more.
        safe_tar_without_holes(io.BytesIO(data))
    return list(members(io.BytesIO(data)))


@pytest.fixture
def unpacking(tmp_path: Path) -> Attempt:
    """What comes of an archive; fails where GNU's tar makes something else of it than what was looked at."""

    def attempt(data: bytes) -> str:
        data = summed(data)
        try:
            expected = places(looked_at(data))
        except (Incomplete, Unsafe) as refused:
            return f"{type(refused).__name__} {refused}"
        folder = tmp_path / "unpacked"
        folder.mkdir()
        command = ["tar", "-C", folder, "--no-same-owner", "--touch", "-xf-"]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        found = {os.fsencode(path.relative_to(folder)): kind(path) for path in folder.rglob("*")}
        shutil.rmtree(folder)
        if done.returncode == 0:
            assert {path: what for path, what in found.items() if expected.get(path) != WITH_HOLES} == {
                path: what for path, what in expected.items() if what != WITH_HOLES
            }
        assert found.keys() <= expected.keys()
        kinds = " ".join(sorted({what.split()[-1] for what in expected.values()}))
        return f"tar ends with {done.returncode}: {kinds}"

    return attempt


WITH_HOLES = "bytes and holes"
"""GNU's tar takes the size of such a file from the list of its holes, which is a part of its content."""


def places(found: list[Member]) -> dict[bytes, str]:
    """What should lie there when all is unpacked, folders above too; the last one of a name counts."""
    there: dict[bytes, str] = {}
    for member in found:
        parts, link = (
            [part for part in path.split(b"/") if part not in (b"", b".")] for path in (member.name, member.link)
        )
        there |= {b"/".join(parts[:end]): "folder" for end in range(1, len(parts))}
        if not parts:
            continue
        what = f"{member.size} bytes" if member.is_file else KINDS.get(member.kind, "")
        what = WITH_HOLES if member.sparse else what
        there[b"/".join(parts)] = what or there.get(b"/".join(link), "nothing")
    return there


def kind(path: Path) -> str:
    mode = path.lstat().st_mode
    return f"{path.lstat().st_size} bytes" if stat.S_ISREG(mode) else KINDS[NUMBERS[stat.S_IFMT(mode)]]


def test_an_archive_of_any_kind_is_what_was_looked_at_or_is_refused(
    fuzz: Fuzz, tars: list[bytes], unpacking: Attempt
) -> None:
    tokens = (
        b"ustar\0",
        b"ustar  ",
        bytes(512),
        bytes(1024),
        b"../",
        b"\x80",
        b"0000001\0",
        *(b"%c" % kind for kind in b"12345xgLKSA"),
    )
    fuzz(tars, tokens, unpacking)


# --- pax headers, and GNU's

FIELDS = {"kind": (156, 1), "name": (0, 100), "link": (157, 100), "size": (124, 12), "magic": (257, 8)} | {
    "prefix": (345, 155)
}
DESCRIBED = (
    b"x\tp\t\t26\tustar\x0000\t\t11 path=a/b\n11 size=7\n\n0\tn\t\t7\tustar\x0000\tpre\tcontent",
    b"L\t././@LongLink\t\t5\tustar  \0\t\tlong\0\n0\tlo\t\t1\tustar  \0\t\tx\n1\thard\tlong\t\tustar  \0\t\t",
    b"K\t././@LongLink\t\t5\tustar  \0\t\tlong\0\n2\ts\tlo\t\tustar  \0\t\t\n5\td/\t\t\tustar  \0\t\t",
    b"x\tp\t\t54\tustar\x0000\t\t22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n\n0\tn\t\t0\tustar\x0000\t\t",
    b"g\tp\t\t16\tustar\x0000\t\t14 comment=ab\n\n5\td\t\t\tustar\x0000\t\t\n0\td/f\t\t2\tustar\x0000\t\tab",
)
PAX_TOKENS = (
    *(
        b"9 size=7\n",
        b"11 path=ab\n",
        b"11 path=.b\n",
        b"GNU.sparse.name=",
        b"linkpath=",
        b"hdrcharset=BINARY",
        b" ",
        b"=",
    ),
    *(b"\t", b"\n0\tq\t\t3\tustar\x0000\t\tabc", b"d/f", b"7", b"2", b"\n5\t", b"\x80\0\0\0\0\0\0\0\0\0\0\1", b"\0"),
)


def built(described: bytes) -> bytes:
    """An archive from a line for each header: its fields, tabs between them, and what follows it."""
    tar = bytearray()
    for line in re.split(rb"\n(?=[0-7xgLKSA]\t)", described):
        *fields, content = (line.split(b"\t", len(FIELDS)) + [b""] * 7)[: len(FIELDS) + 1]
        header = bytearray(BLOCK)
        for (at, width), value in zip(FIELDS.values(), fields, strict=True):
            header[at : at + width] = value[:width].ljust(width, b"\0")
        tar += header + content + bytes(-len(content) % BLOCK)
    return bytes(tar) + bytes(2 * BLOCK)


def test_headers_of_any_kind_mean_what_they_mean_to_gnus_tar(fuzz: Fuzz, unpacking: Attempt) -> None:
    fuzz(DESCRIBED, PAX_TOKENS, lambda described: unpacking(built(described)))
