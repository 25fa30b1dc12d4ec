"""An artifact that is cut, at any place, passes no level of verification, whatever its codec."""

import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config.fields import Compression
from controller.core.errors import Damaged, IncompleteDump
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.storage import capture
from controller.storage.bundle import of_artifact, of_runs
from controller.storage.codecs import compressor
from controller.storage.store import Store
from strategies.checks import whole_tar
from strategies.plan import Incomplete

pytestmark = pytest.mark.thorough

CODECS = [Compression("none", 0), Compression("gzip", 6), Compression("zstd", 3)]
KEY = Key(project="shop", service="files")
RUN = "20260301T030000Z-0123abcd"
CUT = pytest.mark.fault(24, "artifact cut anywhere", "every level of verification fails")


@dataclass
class Stored:
    """A published run of one artifact whose file is cut, a copy of it, and its levels of verification."""

    store: Store
    manifest: Manifest
    captured: capture.Captured
    compression: Compression

    def __post_init__(self) -> None:
        self.path = self.store.artifact(KEY, RUN, "files")
        self.whole = self.path.read_bytes()
        self.promised = of_artifact(self.store, self.manifest, "files")

    def cut(self, size: int) -> None:
        self.path.write_bytes(self.whole[:size])

    def levels(self) -> dict[str, Callable[[], object]]:
        """From the nearest to the disk to the nearest to the user."""
        levels: dict[str, Callable[[], object]] = {
            "digest": lambda: capture.verify(self.path, self.captured, self.compression),
            "digest and format": lambda: capture.verify(
                self.path, self.captured, self.compression, lambda plain: whole_tar(plain, {})
            ),
            "format": self.format,
            "download": lambda: of_artifact(self.store, self.manifest, "files"),
            "export": lambda: of_runs(self.store, [(KEY, RUN)]),
            "download that had begun": lambda: list(self.promised.verified()),
        }
        return levels if self.compression.codec == "none" else levels | {"frame": self.frame}

    def frame(self) -> None:
        with capture.open_plain(self.path, self.compression) as plain:
            while plain.read(1 << 16):
                pass

    def format(self) -> None:
        with capture.open_plain(self.path, self.compression) as plain:
            whole_tar(plain, {})


def stored(folder: Path, chunks: Iterator[bytes], compression: Compression) -> Stored:
    store = Store(folder / "store")
    store.acquire()
    with store.draft(KEY, RUN) as draft:
        with draft.open("files") as file:
            captured = capture.capture(chunks, file, compression)
        manifest = manifest_of(captured, compression)
        draft.publish(manifest)
    return Stored(store, manifest, captured, compression)


def manifest_of(captured: capture.Captured, compression: Compression) -> Manifest:
    artifact = Artifact(
        name="files",
        format="tar",
        compression=compression.codec,
        size=captured.stored_size,
        sha256=captured.stored_sha256,
        plain_size=captured.plain_size,
        plain_sha256=captured.plain_sha256,
        proof="full",
    )
    now = datetime(2026, 3, 1, 3, tzinfo=UTC)
    facts = {"strategy": "filesystem", "container": "c", "container_id": "1", "image": "i", "image_id": "2"}
    facts |= {"engine": "26.1.5", "sidecar": "0.1.0", "proof": "full"}
    return Manifest.model_validate(
        facts | {"run": RUN, "target": KEY, "started": now, "finished": now, "artifacts": (artifact,)}
    )


def tar(*sizes: int) -> bytes:
    """Of files that no codec makes smaller, without what fills up the last record."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number, size in enumerate(sizes):
            member = tarfile.TarInfo(f"file-{number}")
            member.size = size
            archive.addfile(member, io.BytesIO(os.urandom(size)))
    padded = sum(512 + -(-size // 512) * 512 for size in sizes)
    return file.getvalue()[: padded + 1024]


def passed(artifact: Stored, sizes: Iterable[int]) -> list[tuple[int, str]]:
    """Which cuts got through which level."""
    found = []
    for size in sizes:
        artifact.cut(size)
        for name, level in artifact.levels().items():
            try:
                level()
            except (Damaged, IncompleteDump, Incomplete):
                continue
            found.append((size, name))
    return found


@CUT
@pytest.mark.parametrize("compression", CODECS, ids=lambda one: one.codec)
def test_a_cut_at_any_byte_passes_no_level(compression: Compression, tmp_path: Path, record_property: Any) -> None:
    artifact = stored(tmp_path, iter([tar(50)]), compression)

    assert passed(artifact, [len(artifact.whole)]) == [(len(artifact.whole), name) for name in artifact.levels()], (
        "the whole one passes all"
    )
    assert passed(artifact, range(len(artifact.whole))) == []
    record_property("cases", len(artifact.whole))


@CUT
def test_a_cut_beside_the_end_of_any_block_passes_no_level(tmp_path: Path, record_property: Any) -> None:
    plain = tar(1 << 20, 300_000)
    artifact = stored(tmp_path, iter([plain[:500_000], plain[500_000:]]), CODECS[2])
    ends = list(block_ends(artifact.whole))
    places = {end + step for end in ends for step in (-1, 0, 1, 2)}
    sizes = sorted(place for place in places if place < len(artifact.whole))

    assert len(ends) > 10
    assert ends[-1] == len(artifact.whole) - 4, "the frame's checksum"
    assert passed(artifact, sizes) == []
    record_property("cases", len(sizes))


def block_ends(frame: bytes) -> Iterator[int]:
    """Where each block of a zstd frame ends (RFC 8878, 3.1.1)."""
    flags = frame[4]
    single = flags >> 5 & 1
    place = 5 + (not single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    last = 0
    while not last:
        header = int.from_bytes(frame[place : place + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        place += 3 + (1 if kind == 1 else size)
        yield place


@CUT
@pytest.mark.parametrize("compression", CODECS[1:], ids=lambda one: one.codec)
def test_a_stream_of_several_frames_is_none_of_ours(
    compression: Compression, tmp_path: Path, record_property: Any
) -> None:
    artifact = stored(tmp_path, iter([tar(5000)]), compression)
    more = compressor(compression)
    artifact.whole += bytes(more.compress(b"another frame")) + more.flush()

    sizes = range(artifact.captured.stored_size + 1, len(artifact.whole) + 1)
    # It sends as many bytes as it has promised, and they are right.
    assert {name for _, name in passed(artifact, sizes)} == {"download that had begun"}
    record_property("cases", len(sizes))
