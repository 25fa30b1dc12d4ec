"""Whatever a container prints, and however much, whoever reads it takes no more memory than a sidecar may."""

import io
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

import pytest

from controller.backup.measuring import read
from controller.core.errors import CommandFailed
from controller.targets.session import LIST_BYTES
from strategies import checks
from strategies.checks import count_tar, read_counts, safe_tar, safe_tar_without_holes, whole_tar
from strategies.etcd import whole_snapshot
from strategies.influxdb import whole_backup
from strategies.mysql_dump import whole_dump, whole_users
from strategies.mysql_order import CODE, Aside, Later, Tables
from strategies.mysql_statements import Grants, accounts
from strategies.openldap import whole_ldif
from strategies.plan import Count, Exec, Incomplete, Unsafe
from strategies.postgres import whole_globals
from strategies.postgres_archive import Renamed
from strategies.postgres_sql import Afterwards, Beforehand
from strategies.rabbitmq_definitions import read_definitions, read_kept
from strategies.redis import whole_rdb
from strategies.sqlite import whole_database
from tests.kit.flood import MIB, numbered, peak, repeated, stream

pytestmark = pytest.mark.thorough

MEMORY = 32 * MIB
MEMORY_OF_ANSWERS = 96 * MIB
"""Of the 128 MiB that a sidecar gets, without the program itself."""
LISTED = {"objects": "TABLE\tt\tInnoDB\nVIEW\tv\t\n", "users": "app\t%\n"}

Chunks = Iterator[bytes]
CHECKS: dict[str, Callable[[BinaryIO], object]] = {
    "counts": read_counts,
    "mysql": lambda dump: whole_dump(dump, LISTED),
    "users": lambda dump: whole_users(dump, LISTED),
    "globals": lambda dump: whole_globals(dump, {}),
    "rdb": lambda dump: whole_rdb(dump, {}),
    "ldif": lambda dump: whole_ldif(dump, {}),
    "influxdb": lambda dump: whole_backup(dump, {}),
    "definitions": read_definitions,
    "kept": read_kept,
    "etcd": lambda dump: whole_snapshot(dump, {}),
    "database": lambda dump: whole_database(dump, {}),
    "tar": lambda dump: whole_tar(dump, {}),
    "count of a tar": count_tar,
    "guard": safe_tar,
    "plain guard": safe_tar_without_holes,
}
REWRITES: dict[str, Callable[[Chunks], Chunks]] = {
    "aside": Aside("shop", {"shop": "fresh"}, "insert into code values", "0, 'new'"),
    "tables": Tables("shop"),
    "code": Later("shop", CODE),
    "grants": Grants(),
    "accounts": accounts,
    "beforehand": Beforehand("m"),
    "afterwards": Afterwards((), "m", passwords=False),
    "archive": Renamed("fresh"),
}


def archive_of(text: int) -> bytes:
    """The head of an archive of PostgreSQL whose table of contents is without end, of texts of so many bytes."""
    number = lambda value: b"\0" + value.to_bytes(4, "little")  # noqa: E731
    head = b"PGDMP\x01\x0e\0\x04\x08\x01" + number(0) * 8 + (number(1) + b"x") * 3 + number(2**31 - 1)
    return head + number(1) * 2 + number(text)


def pax(records: dict[str, str], kind: bytes = b"x") -> bytes:
    text = b""
    for key, value in records.items():
        body = f" {key}={value}\n".encode()
        width = len(body) + next(n for n in range(1, 8) if len(str(len(body) + n)) == n)
        text += str(width).encode() + body
    header = tarfile.TarInfo("pax")
    header.type, header.size = kind, len(text)
    return header.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512)


def link(name: str) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "x"
    return member.tobuf(tarfile.USTAR_FORMAT)


def queues(size: int) -> Chunks:
    yield b'{"queues": ['
    yield from numbered(b'{"name": "q%09d"},', size)


PLAIN: dict[str, Callable[[int], Chunks]] = {
    "zeros": lambda size: repeated(b"\0", size),
    "one line": lambda size: repeated(b"x", size),
    "one comment": lambda size: repeated(b"- ", size, head=b"--"),
    "one text": lambda size: repeated(b"x ", size, head=b"select '"),
    "blanks": lambda size: repeated(b" ", size),
}
"""Which anybody may be given."""
FITTING: list[tuple[str, str, Callable[[int], Chunks]]] = [
    ("counts", "numbers", lambda size: numbered(b"1\trows of t%09d\n", size)),
    ("counts", "empty lines", lambda size: repeated(b"\n", size)),
    ("mysql", "tables", lambda size: numbered(b"\nCREATE TABLE `t%09d` (\n;", size)),
    ("users", "users", lambda size: numbered(b"\nCREATE USER `u%09d`@`%%`;", size)),
    ("ldif", "classes", lambda size: numbered(b"dn: x\nstructuralObjectClass: c%09d\n", size)),
    ("influxdb", "files", lambda size: repeated(tarfile.TarInfo("f.manifest").tobuf(), size)),
    ("definitions", "queues", queues),
    ("definitions", "a long text", lambda size: repeated(b"x", 8 * size, head=b'{"x": "')),
    ("kept", "queues", queues),
    ("count of a tar", "files", lambda size: repeated(tarfile.TarInfo("f").tobuf(), size)),
    ("count of a tar", "headers for all", lambda size: repeated(pax({"comment": "c" * 100_000}, b"g"), size)),
    ("count of a tar", "headers for one", lambda size: repeated(pax({"path": "p" * 800}), size)),
    ("guard", "deep folders", lambda size: repeated(pax({"path": "p/" * 400_000}) + link("f"), size)),
    ("plain guard", "deep folders", lambda size: repeated(pax({"path": "p/" * 400_000}) + link("f"), size)),
    ("aside", "routines", lambda size: numbered(b"\nCREATE PROCEDURE `p%09d`;", size)),
    ("grants", "users", lambda size: numbered(b"\nCREATE USER `u%09d`@`%%`;", size)),
    ("beforehand", "roles", lambda size: numbered(b"\nCREATE ROLE r%09d;", size)),
    ("beforehand", "words", lambda size: numbered(b"%09d ", size)),
    ("archive", "entries", lambda size: repeated(b"\0\1\0\0\0x", size, head=archive_of(1))),
    ("archive", "a long entry", lambda size: repeated(b"x", 32 * size, head=archive_of(2**31 - 1))),
]
"""Which are much of what a reader looks for."""


def flooded(name: str, chunks: Chunks) -> None:
    """Whoever cannot read it says so, or reads it to its end."""

    def reading() -> None:
        with suppress(Incomplete, Unsafe):
            if name in CHECKS:
                CHECKS[name](stream(chunks))
            else:
                deque(REWRITES[name](chunks), maxlen=0)

    assert peak(reading) < MEMORY


@pytest.mark.parametrize("name", [*CHECKS, *REWRITES])
@pytest.mark.parametrize("flood", PLAIN)
def test_nobody_holds_a_stream_of_any_length(name: str, flood: str) -> None:
    flooded(name, PLAIN[flood]((8 if name == "rdb" else 64) * MIB))


@pytest.mark.parametrize(
    ("name", "flood", "chunks"), FITTING, ids=lambda value: value if isinstance(value, str) else ""
)
def test_nobody_holds_all_that_is_in_a_stream(name: str, flood: str, chunks: Callable[[int], Chunks]) -> None:
    flooded(name, chunks((16 if name == "counts" else 4) * MIB))


def test_links_are_remembered_up_to_a_number_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MOST_LINKS", 1000)
    safe_tar(io.BytesIO(b"".join(link(str(number)) for number in range(1000)) + bytes(1024)))
    with pytest.raises(Unsafe, match="more than 1000 symbolic links"):
        safe_tar(io.BytesIO(b"".join(link(str(number)) for number in range(1001)) + bytes(1024)))


@pytest.mark.parametrize(
    "line", [b"1\trows of t%07d\n", b"1\t%07d\xf0\x9f\x92\xbe\n", b"1\t\xf0\x9f\x92\xbe\n", b"\n", b"x\n", b"1\t\n"]
)
def test_an_answer_of_the_greatest_size_is_read_in_bounded_memory(line: bytes) -> None:
    count = Count(Exec(("count",)), read_counts)
    answer = b"".join(numbered(line, LIST_BYTES) if b"%" in line else repeated(line, LIST_BYTES)).decode()

    def reading() -> None:
        with suppress(CommandFailed):
            read(count, answer)

    assert peak(reading) < MEMORY_OF_ANSWERS


def test_a_number_of_any_length_is_no_number() -> None:
    with pytest.raises(Incomplete, match="answered by '999"):
        read_counts(io.BytesIO(b"9" * 5000 + b"\trows of t\n"))


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [name for name in CHECKS if name != "rdb"])
@pytest.mark.parametrize("flood", ["zeros", "one line"])
def test_eight_gib_take_no_more_memory(name: str, flood: str) -> None:
    flooded(name, PLAIN[flood](8 << 30))
