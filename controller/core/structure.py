"""What a rehearsal of a run says something about: data of this structure, this image, this version of the program."""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from controller.core.manifest import Manifest


class Shape(NamedTuple):
    """The structure of one dump."""

    name: str
    """The dump's, without the compression's suffix."""
    format: str
    subject: str
    counted: tuple[str, ...]
    """Names of tables and the like, sorted; what is defined with the digest of how."""
    schema: str
    """What the strategy's own question says; empty where there is none."""


def structure(shapes: Iterable[Shape]) -> str:
    """SHA-256, hexadecimal; another one as soon as a dump, a table or a schema is another one."""
    return _digest(sorted(shapes))


def rehearsable(manifest: Manifest) -> str:
    """SHA-256 over all on which it depends whether a run comes back; runs of one such state need one rehearsal."""
    return _digest((manifest.structure, manifest.image_id, manifest.sidecar, manifest.strategy))


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
