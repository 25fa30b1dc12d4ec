"""A stored artifact, and where it lies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from config.fields import Compression
from controller.core.manifest import Artifact, Manifest
from controller.storage import capture
from controller.storage.codecs import SUFFIX
from strategies.plan import StoredDump


@dataclass(frozen=True, slots=True)
class Source:
    """An artifact, as its manifest tells of it, and the file that should hold it."""

    artifact: Artifact
    path: Path

    @property
    def stored(self) -> StoredDump:
        """What the strategy may know of it."""
        name = self.artifact.name.removesuffix(SUFFIX[self.artifact.compression])
        return StoredDump(name, self.artifact.format, self.artifact.subject)

    def verify(self, consume: capture.Consume, check: Callable[[], None] = lambda: None) -> None:
        """See `capture.verify`."""
        artifact = self.artifact
        expected = capture.Captured(artifact.plain_size, artifact.plain_sha256, artifact.size, artifact.sha256)
        capture.verify(self.path, expected, self.compression, consume, check=check)

    def open_plain(self) -> BinaryIO:
        """See `capture.open_plain`."""
        return capture.open_plain(self.path, self.compression)

    @property
    def compression(self) -> Compression:
        return Compression(self.artifact.compression)  # type: ignore[arg-type]  # a manifest is text


def sources_of(manifest: Manifest, folder: Path) -> dict[str, Source]:
    """The artifacts of a run by their dumps' names."""
    sources = [Source(artifact, folder / artifact.name) for artifact in manifest.artifacts]
    return {source.stored.name: source for source in sources}
