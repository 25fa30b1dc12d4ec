"""The bytes that are sent for one artifact, or for whole runs as one tar; their digest is known before.

A run with one artifact is sent as that artifact, as stored, unless a tar is wanted. Anything more is one uncompressed
tar, the same for the same runs: `<project>/<service>[/<name>]/<run-id>/manifest.json` and the artifacts beside it.
Nothing is copied for it.
"""

import hashlib
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic_core import from_json, to_json

from controller.core.errors import Damaged
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest, Proof, weakest
from controller.storage import marks
from controller.storage.draft import MANIFEST
from controller.storage.files import store_error, without_links
from controller.storage.store import Store

CHUNK = 256 << 10
"""Bytes that are read at a time."""
MEDIA_TYPES = {"zstd": "application/zstd", "gzip": "application/gzip", "none": "application/octet-stream"}
COMPRESSED = {"zstd": "+zstd", "gzip": "+gzip"}
OLDER = "The target was stopped when this was exported; this is its last good run."
HINT = "Do not trust this run; make a new one, and look at the store's disk."


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bundle: bytes in memory, or a stored file."""

    size: int
    data: bytes = b""
    path: Path | None = None
    sha256: str = ""
    """Of a file, as its manifest has it."""

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes from `start` to before `stop`; raises `Damaged` when the file has fewer, else `StoreError`."""
        if self.path is None:
            yield self.data[start:stop]
            return
        try:
            with open(self.path, "rb", buffering=0, opener=without_links) as file:  # Path.open has no opener.
                file.seek(start)
                while start < stop:
                    chunk = file.read(min(CHUNK, stop - start))
                    if not chunk:
                        raise Damaged(f"{self.path} ends after {start} of {self.size} bytes", hint=HINT)
                    start += len(chunk)
                    yield chunk
        except OSError as error:
            raise store_error(error, self.path) from error


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is sent, and what is said about it."""

    pieces: tuple[Piece, ...]
    size: int
    sha256: str
    name: str
    """For the receiver's disk; ASCII, without a path."""
    media_type: str
    format: str
    """Of the bytes as they are sent: `pg_custom+zstd`, `raw`; `tar` for several artifacts with their manifests."""
    proof: Proof
    """Of the least proved artifact in it."""
    runs: tuple[str, ...]
    suspicious: tuple[str, ...] = ()
    """Why a run in it may not be what it should; not of those that somebody has accepted."""
    older: tuple[str, ...] = ()
    """Keys of the targets that are stopped, so that their last good run is in it."""

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes from `start` to before `stop`, unverified; raises like `Piece.read`."""
        offset = 0
        for piece in self.pieces:
            first, last = max(start - offset, 0), min(stop - offset, piece.size)
            if first < last:
                yield from piece.read(first, last)
            offset += piece.size

    def verified(self) -> Iterator[bytes]:
        """All bytes; the last are given only once the digest is right, so that a damaged bundle is never whole."""
        digest, held = hashlib.sha256(), b""
        for chunk in self.read(0, self.size):
            digest.update(chunk)
            if held:
                yield held
            held = chunk
        if digest.hexdigest() != self.sha256:
            sent = digest.hexdigest()
            raise Damaged(f"{self.name} has SHA-256 {sent}, its manifest says {self.sha256}", hint=HINT)
        yield held


def of_artifact(store: Store, manifest: Manifest, name: str) -> Bundle:
    """One artifact as stored; raises `UnknownRun` for a name that the run does not have, `Damaged` for a wrong size."""
    path = store.artifact(manifest.target, manifest.run, name)
    artifact = next(artifact for artifact in manifest.artifacts if artifact.name == name)
    return Bundle(
        pieces=(stored(path, artifact),),
        size=artifact.size,
        sha256=artifact.sha256,
        name=file_name((*manifest.target.parts, manifest.run, artifact.name), ""),
        media_type=MEDIA_TYPES.get(artifact.compression, "application/octet-stream"),
        format=artifact.format + COMPRESSED.get(artifact.compression, ""),
        proof=artifact.proof,
        runs=(manifest.run,),
        suspicious=doubts(store, [manifest]),
    )


def of_runs(
    store: Store, runs: Sequence[tuple[Key, str]], *, as_tar: bool = False, older: Collection[str] = ()
) -> Bundle:
    """Everything that the runs made, `as_tar` also for a single artifact. Reads a tar's files once, for its digest.

    `older` are the ids of those that stand for a stopped target, which the manifest in the tar says.

    Raises `UnknownRun`, `Damaged`, `StoreError`.
    """
    manifests = [store.manifest(key, run) for key, run in sorted(runs, key=lambda run: (str(run[0]), run[1]))]
    if len(manifests) == 1 and len(manifests[0].artifacts) == 1 and not as_tar:
        only = of_artifact(store, manifests[0], manifests[0].artifacts[0].name)
        return replace(only, older=keys_of(manifests, older))
    pieces = (
        *(piece for manifest in manifests for piece in members(store, manifest, is_older=manifest.run in older)),
        in_memory(bytes(2 * tarfile.BLOCKSIZE)),
    )
    name = (
        (*manifests[0].target.parts, manifests[0].run)
        if len(manifests) == 1
        else ("backup", max(run for _, run in runs))
    )
    return Bundle(
        pieces=pieces,
        size=sum(piece.size for piece in pieces),
        sha256=digest_of(pieces),
        name=file_name(name, ".tar"),
        media_type="application/x-tar",
        format="tar",
        proof=weakest(manifest.proof for manifest in manifests),
        runs=tuple(manifest.run for manifest in manifests),
        suspicious=doubts(store, manifests),
        older=keys_of(manifests, older),
    )


def keys_of(manifests: Iterable[Manifest], runs: Collection[str]) -> tuple[str, ...]:
    """The targets of some of the runs."""
    return tuple(str(manifest.target) for manifest in manifests if manifest.run in runs)


def doubts(store: Store, manifests: Sequence[Manifest]) -> tuple[str, ...]:
    """Why runs that nobody has accepted are suspicious."""
    reports = [marks.report(store, manifest) for manifest in manifests if manifest.suspicious]
    return tuple(reason for report in reports if not report.accepted for reason in report.suspicious)


def members(store: Store, manifest: Manifest, *, is_older: bool) -> Iterator[Piece]:
    """The pieces of one run in a tar: the manifest first, since it explains the rest."""
    folder = store.folder(manifest.target, manifest.run)
    time = int(manifest.finished.timestamp())
    document = folder / MANIFEST
    try:
        with open(document, "rb", opener=without_links) as file:
            data = file.read()
    except OSError as error:
        raise store_error(error, document) from error
    yield from member(store, document, in_memory(marked_older(data) if is_older else data), time)
    for artifact in manifest.artifacts:
        path = store.artifact(manifest.target, manifest.run, artifact.name)
        yield from member(store, path, stored(path, artifact), time)


def marked_older(manifest: bytes) -> bytes:
    """A manifest as it is sent that says why the run is not of the export's time; the stored one never changes."""
    return to_json(from_json(manifest) | {"older": OLDER}, indent=2)


def member(store: Store, path: Path, content: Piece, time: int) -> Iterator[Piece]:
    """A tar member that says nothing of this machine: header, content, padding."""
    header = tarfile.TarInfo(path.relative_to(store.root).as_posix())
    header.size, header.mtime, header.mode = content.size, time, 0o644
    yield in_memory(header.tobuf(tarfile.PAX_FORMAT))
    yield content
    yield in_memory(bytes(-content.size % tarfile.BLOCKSIZE))


def stored(path: Path, artifact: Artifact) -> Piece:
    """A stored file whose size is still what its manifest says; raises `Damaged`."""
    try:
        size = path.lstat().st_size
    except OSError as error:
        raise store_error(error, path) from error
    if size != artifact.size:
        raise Damaged(f"{path} has {size} bytes, its manifest says {artifact.size}", hint=HINT)
    return Piece(size, path=path, sha256=artifact.sha256)


def in_memory(data: bytes) -> Piece:
    return Piece(len(data), data)


def digest_of(pieces: Iterable[Piece]) -> str:
    """SHA-256 of all the pieces in a row; raises `Damaged` for a file whose own digest is not its manifest's."""
    whole = hashlib.sha256()
    for piece in pieces:
        own = hashlib.sha256()
        for chunk in piece.read(0, piece.size):
            whole.update(chunk)
            own.update(chunk)
        if piece.path is not None and own.hexdigest() != piece.sha256:
            raise Damaged(f"{piece.path} has SHA-256 {own.hexdigest()}, its manifest says {piece.sha256}", hint=HINT)
    return whole.hexdigest()


def file_name(parts: Iterable[str], suffix: str) -> str:
    """`shop_db_20260301T030000Z-1a2b3c4d_shop.pgdump.zst`; nothing in it means anything to a shell or a header."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", "_".join(parts)).lstrip(".-")[-180:] + suffix
