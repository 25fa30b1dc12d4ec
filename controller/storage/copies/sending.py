"""Sends a run: slices that are not there yet, each read back and decrypted before it counts, and `run.json` last."""

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from controller.core.copy_errors import (
    DestinationDown,
    DestinationLies,
    DestinationRefused,
    NotACopy,
    ObjectKept,
    UnknownObject,
)
from controller.core.errors import Damaged, StoreError
from controller.core.manifest import Artifact, Manifest
from controller.core.records import rfc3339
from controller.storage.copies.layout import (
    BASE,
    MOST_RUN_BYTES,
    OBJECT_BYTES,
    SLICE_BYTES,
    CopiedArtifact,
    CopiedRun,
    Marker,
    Piece,
    Previous,
    RehearsalKey,
    SealedManifest,
    object_name,
    run_name,
    series_of,
)
from controller.storage.copies.ledger import Held, Ledger
from controller.storage.copies.orders import Send, Sent
from controller.storage.copies.place import Place
from controller.storage.copies.sealing import Sealer
from controller.storage.copies.signing import Signer, new_key
from controller.storage.draft import MANIFEST
from controller.storage.files import without_links

TRIES = 3
"""How often an object is sent that comes back as another one."""
APPEARING_SECONDS = (0.0, 1.0, 5.0)
"""Waits for an object that was just sent and is not there yet."""


class Sender:
    """Of one destination."""

    def __init__(
        self,
        place: Place,
        ledger: Ledger,
        sealer: Sealer,
        signer: Signer,
        *,
        clock: Callable[[], datetime],
        progress: Callable[[int], None] = lambda count: None,
        bandwidth: int = 0,
    ) -> None:
        """`progress` is told the stored bytes that are there so far; `bandwidth` is in bytes a second, 0 for any."""
        self._place, self._ledger, self._sealer, self._signer = place, ledger, sealer, signer
        self._destination, self._clock, self._progress = place.destination, clock, progress
        self._bandwidth, self._recipients = bandwidth, " ".join(sealer.fingerprints)

    def send(self, local: Send) -> Sent:
        """Copy a run; raises `Damaged` where it is not what its manifest says, and what the destination raises."""
        document = read(local.folder / MANIFEST)
        manifest = Manifest.model_validate_json(document)
        self._place.demand_ours()
        self._ledger.take_listing(self._destination.list(BASE))
        self._done, self._sent, self._sent_bytes = 0, 0, 0
        self._oldest = rfc3339(self._clock())
        artifacts = tuple(self._artifact(local.folder / each.name, each) for each in manifest.artifacts)
        self._demand_listed(artifacts)
        run = self._run(local, document, manifest, artifacts, self._place.demand_ours())
        data = run.signed(self._signer.sign)
        if len(data) > MOST_RUN_BYTES:
            raise NotACopy(f"the manifest of run {run.run} has {len(document)} bytes, which is too large for a copy")
        self._commit(run, data, document)
        pieces = {piece.name: piece.size for piece in run.pieces}
        return Sent(
            objects=len(pieces),
            sent=self._sent,
            size=sum(pieces.values()) + len(data),
            sent_bytes=self._sent_bytes + len(data),
            proved=datetime.fromisoformat(self._oldest),
            copied=run.copied,
        )

    def _artifact(self, path: Path, artifact: Artifact) -> CopiedArtifact:
        """Have every slice there; raises `Damaged` where they are not the artifact."""
        digest, size, pieces = sha256(), 0, list[Piece]()
        for plain in slices(path):
            digest.update(plain)
            size += len(plain)
            pieces.append(self._slice(plain))
            self._done += len(plain)
            self._progress(self._done)
        if (size, digest.hexdigest()) != (artifact.size, artifact.sha256):
            raise Damaged(
                f"{artifact.name} is not what was captured: sha256 {digest.hexdigest()} of {size} bytes, expected"
                f" {artifact.sha256} of {artifact.size}"
            )
        sizes = artifact.model_dump(include={"size", "sha256", "plain_size", "plain_sha256"})
        return CopiedArtifact(**sizes, objects=tuple(pieces))

    def _slice(self, plain: bytes) -> Piece:
        digest = sha256(plain).hexdigest()
        held = self._ledger.held(digest, self._recipients)
        if held is None or not self._stays_locked(object_name(held.piece.name)):
            held = self._laid_down(plain)
            self._ledger.enter(digest, self._recipients, held)
        self._oldest = min(self._oldest, held.proved)
        return held.piece

    def _stays_locked(self, name: str) -> bool:
        """Whether an object is kept as long as one that is sent now, where the destination keeps any; else it is sent.

        A lock that ends too soon is made longer.
        """
        lock = self._destination.lock
        if not lock or self._ledger.is_locked(name, rfc3339(self._clock() + lock)):
            return True
        try:
            self._note(name, self._destination.keep(name))
        except (UnknownObject, DestinationRefused):
            return False
        return True

    def _note(self, name: str, until: datetime | None) -> None:
        if until:
            self._ledger.lock(name, rfc3339(until))

    def _laid_down(self, plain: bytes) -> Held:
        """Send a slice until it comes back right; each time it is another object, since age is random."""
        seen = []
        for _ in range(TRIES):
            began = time.monotonic()
            sealed = self._sealer.seal(plain)
            piece = Piece(name=sha256(sealed).hexdigest(), size=len(sealed))
            self._note(object_name(piece.name), self._destination.put(object_name(piece.name), sealed))
            del sealed
            self._sent, self._sent_bytes = self._sent + 1, self._sent_bytes + piece.size
            back = self._read_back(object_name(piece.name), OBJECT_BYTES)
            found = sha256(back.getbuffer()).hexdigest()
            if found == piece.name and self._sealer.holds(back, plain):
                self._wait(piece.size, began)
                return Held(piece, rfc3339(self._clock()))
            del back
            seen.append(f"{piece.name[:12]} came back as {found[:12]}")
            self._drop(object_name(piece.name))
        raise DestinationLies(f"objects come back as other ones: {', '.join(seen)}")

    def _read_back(self, name: str, most: int) -> BytesIO:
        """What the destination has now; some have it only a moment after they took it."""
        for seconds in APPEARING_SECONDS:
            time.sleep(seconds)
            try:
                return fetched(self._destination.get(name), most)
            except UnknownObject:
                continue
        raise DestinationLies(f"{name} was taken and is not there")

    def _demand_listed(self, artifacts: tuple[CopiedArtifact, ...]) -> None:
        self._ledger.take_listing(self._destination.list(BASE))
        pieces = (piece for artifact in artifacts for piece in artifact.objects)
        if missing := next(self._ledger.lacking(pieces), None):
            self._ledger.forget(missing.name)
            raise DestinationDown(f"object {missing.name} was there and is not listed", hint="It is sent again.")

    def _run(
        self,
        local: Send,
        document: bytes,
        manifest: Manifest,
        artifacts: tuple[CopiedArtifact, ...],
        marker: Marker,
    ) -> CopiedRun:
        sealed = SealedManifest(
            size=len(document),
            sha256=sha256(document).hexdigest(),
            age=b64encode(self._sealer.seal(document)).decode(),
        )
        return CopiedRun(
            destination=marker.destination,
            prefix=marker.prefix,
            run=manifest.run,
            target=manifest.target.parts,
            series=series_of(local.trigger, is_suspicious=local.suspicious),
            trigger=local.trigger,
            accepted=local.accepted,
            started=manifest.started,
            finished=manifest.finished,
            copied=self._clock(),
            writer=self._place.writer,
            manifest=sealed,
            artifacts=artifacts,
            recipients=self._sealer.fingerprints,
            previous=self._ledger.previous(manifest.target),
            rehearsal=self._rehearsal_key(),
            signer=self._signer.name,
        )

    def _rehearsal_key(self) -> RehearsalKey:
        """For whoever decrypts this copy; nobody keeps the private half."""
        private = new_key()
        sealed = self._sealer.seal(private.encode())
        return RehearsalKey(public=Signer(private).public, age=b64encode(sealed).decode())

    def _commit(self, run: CopiedRun, data: bytes, document: bytes) -> None:
        name = run_name(run.key, run.run)
        self._note(name, self._destination.put(name, data))
        back = self._read_back(name, MOST_RUN_BYTES)
        if back.getvalue() != data or not self._sealer.holds(BytesIO(b64decode(run.manifest.age)), document):
            self._drop(name)
            raise DestinationLies(f"{name} came back as another one")
        self._ledger.committed(run.key, Previous(run=run.run, sha256=sha256(data).hexdigest()))

    def _drop(self, name: str) -> None:
        """What is wrong there; where it cannot go it is named by nothing."""
        with suppress(ObjectKept):
            self._destination.delete(name)

    def _wait(self, size: int, began: float) -> None:
        """Send no more in a second than is allowed."""
        if self._bandwidth:
            time.sleep(max(0.0, size / self._bandwidth - (time.monotonic() - began)))


def slices(path: Path) -> Iterator[bytes]:
    """Of a stored artifact; raises `StoreError`."""
    try:
        with open(path, "rb", opener=without_links) as file:  # Path.open has no opener.
            yield from iter(partial(file.read, SLICE_BYTES), b"")
    except OSError as error:
        raise StoreError(f"cannot read {path.name}: {error.strerror}") from error


def read(path: Path) -> bytes:
    """A small file of a run; raises `StoreError`."""
    try:
        with open(path, "rb", opener=without_links) as file:
            return file.read()
    except OSError as error:
        raise StoreError(f"cannot read {path.name}: {error.strerror}") from error


def fetched(pieces: Iterator[bytes], most: int) -> BytesIO:
    """An object as a whole, but no more than a little above what it may have; to be read from its beginning."""
    data = BytesIO()
    for piece in pieces:
        data.write(piece)
        if data.tell() > most:
            break
    data.seek(0)
    return data
