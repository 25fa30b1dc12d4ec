"""A store with real runs, a folder as destination, and keys: what tests of copies begin with."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from config.fields import Compression
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.storage.capture import capture
from controller.storage.copies import kit, sealing, signing
from controller.storage.copies.kit import Kit
from controller.storage.copies.ledger import Ledger
from controller.storage.copies.orders import Send, Sent
from controller.storage.copies.place import Place
from controller.storage.copies.reading import Copies
from controller.storage.copies.sealing import Sealer
from controller.storage.copies.sending import Sender
from controller.storage.copies.signing import Signer
from controller.storage.destinations import Destination
from controller.storage.destinations.path import PathDestination
from controller.storage.store import Store

KEY = Key(project="shop", service="it's")
NOW = datetime(2026, 3, 1, 4, tzinfo=UTC)
WRITER = "01J00000000000000000000000"


def run_id(number: int) -> str:
    return f"20260301T03{number:04}Z-0123abcd"


@dataclass
class Stand:
    """`folder` holds everything; `destination` may be replaced by one that misbehaves."""

    folder: Path
    identity: str
    recipient: str
    signing_key: str
    destination: Destination
    writer: str = WRITER

    @cached_property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "work" / "nas.sqlite")

    @property
    def kit(self) -> Kit:
        return kit.read(f"{self.identity}\nverify: {Signer(self.signing_key).public}\n")

    @cached_property
    def place(self) -> Place:
        return Place(self.destination, self.ledger, self.writer, lambda: NOW)

    @property
    def copies(self) -> Copies:
        return Copies(self.destination, self.kit.verifier)

    def prepared(self) -> "Stand":
        self.place.prepare()
        return self

    def publish(self, number: int, *contents: bytes, compression: str = "none", key: Key = KEY) -> Path:
        """A run with an artifact for each content."""
        run, how = run_id(number), Compression(compression, 3 if compression == "zstd" else 0)  # type: ignore[arg-type]
        artifacts = []
        with self.store.draft(key, run) as draft:
            for index, content in enumerate(contents):
                name = f"it%27s-{index}.tar" + (".zst" if compression == "zstd" else "")
                with draft.open(name) as file:
                    stored = capture([content], file, how)
                artifacts.append(
                    Artifact(
                        name=name,
                        format="tar",
                        compression=compression,
                        size=stored.stored_size,
                        sha256=stored.stored_sha256,
                        plain_size=stored.plain_size,
                        plain_sha256=stored.plain_sha256,
                        proof="sealed",
                        restore=f"tar -xf {name}",
                    )
                )
            draft.publish(manifest(run, key, tuple(artifacts)))
        return self.store.folder(key, run)

    def send(self, folder: Path, recipients: tuple[str, ...] = (), **told: object) -> Sent:
        sealer = Sealer([self.recipient, *recipients])
        sender = Sender(self.place, self.ledger, sealer, Signer(self.signing_key), clock=lambda: NOW)
        return sender.send(Send.model_validate({"folder": folder, "trigger": "schedule"} | told))

    def objects(self) -> list[str]:
        return sorted(found.name for found in self.destination.list("objects/"))


def stand(folder: Path, destination: Destination | None = None) -> Stand:
    (folder / "nas").mkdir()
    identity, recipient = sealing.new_identity()
    return Stand(folder, identity, recipient, signing.new_key(), destination or PathDestination(folder / "nas"))


def manifest(run: str, key: Key, artifacts: tuple[Artifact, ...]) -> Manifest:
    made = datetime(2026, 3, 1, 3, tzinfo=UTC)
    facts = {
        "run": run, "target": key, "strategy": "command", "container": "c", "container_id": "1", "image": "i",
        "image_id": "2", "engine": "26.1.5", "sidecar": "0.1.0", "started": made, "finished": made, "proof": "sealed",
        "artifacts": artifacts,
    }  # fmt: skip
    return Manifest.model_validate(facts)


def noise(size: int) -> bytes:
    return os.urandom(size)


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()
