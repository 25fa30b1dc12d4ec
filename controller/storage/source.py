"""A stored artifact, and where it lies."""

from dataclasses import dataclass
from pathlib import Path

from config.fields import Compression
from controller.core.manifest import Artifact
from controller.storage import capture
from controller.storage.codecs import SUFFIX
from strategies.plan import StoredDump


@dataclass(frozen=True, slots=True)
class Source:
    """An artifact of the run that is restored, and where it lies."""

    artifact: Artifact
    path: Path

    @property
    def stored(self) -> StoredDump:
        """What the strategy may know of it."""
        name = self.artifact.name.removesuffix(SUFFIX[self.artifact.compression])
        return StoredDump(name, self.artifact.format, self.artifact.subject)

    @property
    def compression(self) -> Compression:
        return Compression(self.artifact.compression)  # type: ignore[arg-type]  # a manifest is text

    @property
    def expected(self) -> capture.Captured:
        one = self.artifact
        return capture.Captured(one.plain_size, one.plain_sha256, one.size, one.sha256)
