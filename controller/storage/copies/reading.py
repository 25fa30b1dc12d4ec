"""Reads what lies at a destination: which copies there are, and the files of one, decrypted."""

import tarfile
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from hashlib import sha256

from pydantic_core import to_json

from controller.core.copy_errors import NotACopy, UnknownObject
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.storage.copies.kit import Kit
from controller.storage.copies.layout import (
    MOST_RUN_BYTES,
    OBJECT_BYTES,
    RUN_NAME,
    RUNS,
    CopiedArtifact,
    CopiedRun,
    object_name,
    runs_of,
)
from controller.storage.copies.place import demanded_marker
from controller.storage.copies.sending import fetched
from controller.storage.copies.signing import Verifier
from controller.storage.destinations import Destination
from controller.storage.draft import MANIFEST
from controller.storage.marks import FOLDER, SUFFIX


class Copies:
    """Those at one destination that are signed by somebody who is believed."""

    def __init__(self, destination: Destination, verifier: Verifier) -> None:
        """Raises `DestinationForeign` where there is no marker."""
        self.destination, self._verifier = destination, verifier
        self._marker = demanded_marker(destination)

    def names(self, key: Key | None = None) -> list[str]:
        """Of every `run.json`, the newest run first."""
        prefix = runs_of(key) if key else RUNS
        found = [match for each in self.destination.list(prefix) if (match := RUN_NAME.fullmatch(each.name))]
        own = [match for match in found if key is None or match[1] == prefix.removeprefix(RUNS)]
        return [match[0] for match in sorted(own, key=lambda match: match[2], reverse=True)]

    def run(self, name: str) -> CopiedRun:
        """Raises `NotACopy`, `UnknownObject`."""
        return self.entry(name)[0]

    def entry(self, name: str) -> tuple[CopiedRun, str]:
        """As `run`, with the SHA-256 of the whole file."""
        data = fetched(self.destination.get(name), MOST_RUN_BYTES).getvalue()
        return CopiedRun.read(data, self._marker, name, self._verifier.demand), sha256(data).hexdigest()

    def runs(self, key: Key | None = None) -> Iterator[CopiedRun | NotACopy]:
        """The newest first; in the place of one that cannot be believed, why."""
        for name in self.names(key):
            try:
                yield self.run(name)
            except NotACopy as error:
                yield error


def tar_of(destination: Destination, run: CopiedRun, kit: Kit) -> Iterator[bytes]:
    """A copy as a tar of a run's folder, as `adopt` takes it; raises `NotACopy` for what is not as it was."""
    document = manifest_of(run, kit)
    manifest = Manifest.model_validate_json(document)
    demand_same(run, manifest)
    yield from member(f"{run.run}/{MANIFEST}", len(document), [document])
    yield from member_of_mark(run, "report", {"trigger": run.trigger})
    if run.accepted:
        yield from member_of_mark(run, "accepted", {"accepted": True})
    for artifact, copied in zip(manifest.artifacts, run.artifacts, strict=True):
        yield from member(f"{run.run}/{artifact.name}", copied.size, content(destination, copied, kit))
    yield bytes(2 * tarfile.BLOCKSIZE)


def demand_same(run: CopiedRun, manifest: Manifest) -> None:
    """Raises `NotACopy` where the decrypted manifest is not that of what was listed."""
    told = [(each.size, each.sha256, each.plain_size, each.plain_sha256) for each in manifest.artifacts]
    listed = [(each.size, each.sha256, each.plain_size, each.plain_sha256) for each in run.artifacts]
    if (manifest.run, manifest.target, told) != (run.run, run.key, listed):
        raise NotACopy(f"the manifest of run {run.run} tells of other artifacts")


def manifest_of(run: CopiedRun, kit: Kit) -> bytes:
    """As the store had it; raises `NotACopy`."""
    try:
        document = kit.opener.opened(b64decode(run.manifest.age, validate=True))
        right = sha256(document).hexdigest() == run.manifest.sha256
        Manifest.model_validate_json(document)
    except NotACopy as error:
        raise NotACopy(f"the manifest of run {run.run} {error.message}", hint=error.hint) from error
    except (Base64Error, ValueError) as error:
        raise NotACopy(f"the manifest of run {run.run} cannot be read") from error
    if not right:
        raise NotACopy(f"the manifest of run {run.run} is not the one that was copied")
    return document


def content(destination: Destination, artifact: CopiedArtifact, kit: Kit) -> Iterator[bytes]:
    """The stored artifact, slice by slice; raises `NotACopy` for what is not it."""
    digest, size = sha256(), 0
    for piece in artifact.objects:
        sealed = sealed_object(destination, piece.name)
        plain = kit.opener.opened(sealed)
        digest.update(plain)
        size += len(plain)
        yield plain
    if (size, digest.hexdigest()) != (artifact.size, artifact.sha256):
        raise NotACopy(f"an artifact of {artifact.size} bytes is not the one that was copied")


def sealed_object(destination: Destination, name: str) -> bytes:
    """An object that has the digest that is its name; raises `NotACopy`."""
    try:
        sealed = fetched(destination.get(object_name(name)), OBJECT_BYTES).getvalue()
    except UnknownObject as error:
        raise NotACopy(f"object {name} is not there") from error
    if (found := sha256(sealed).hexdigest()) != name:
        raise NotACopy(f"object {name} is another one: sha256 {found} of {len(sealed)} bytes")
    return sealed


def member_of_mark(run: CopiedRun, mark: str, fields: dict[str, object]) -> Iterator[bytes]:
    data = to_json(fields)
    return member(f"{run.run}/{FOLDER}/{mark}{SUFFIX}", len(data), [data])


def member(name: str, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A file in a tar."""
    header = tarfile.TarInfo(name)
    header.size = size
    yield header.tobuf(tarfile.PAX_FORMAT)
    yield from pieces
    yield bytes(-size % tarfile.BLOCKSIZE)
