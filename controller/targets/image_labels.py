"""Tells the labels that an image brings from those that its operator wrote.

The engine makes one list of both when it makes a container, and keeps nothing that tells them apart; so each image is
asked for its own (`Config.Labels`). A label that both wrote with the same value counts as the image's.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from config.loading import Loaded
from controller.core.errors import EngineError, EngineLost, EngineUnreachable
from controller.engine.client import Engine
from controller.engine.models import Listed
from controller.targets.origin import is_one_off

RETRY_SECONDS = 60.0
"""After which an image is asked again that could not be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an image answered, or why it did not and when to ask again."""

    labels: Mapping[str, str]
    unseen: tuple[str, str] | None = None
    due: float = float("inf")
    """Of `time.monotonic()`."""


class ImageLabels:
    """Remembers what the images of the listed containers said; to be used from one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked: dict[str, Asked] = {}

    def containers(self, loaded: Loaded) -> tuple[Listed, ...]:
        """Every container, and which of its labels with the prefix its image brings.

        Raises `EngineError` where the list cannot be had.
        """
        before, self._asked = self._asked, {}
        return tuple(self._told_apart(self._engine.containers(), loaded.settings.label_prefix, before))

    def _told_apart(self, listed: tuple[Listed, ...], prefix: str, before: Mapping[str, Asked]) -> Iterator[Listed]:
        for container in listed:
            own = [label for label in container.labels if label.startswith(prefix)]
            if not own or is_one_off(container):
                yield container
                continue
            image = self._of(container.image_id, before)
            same = frozenset(label for label in own if image.labels.get(label) == container.labels[label])
            yield replace(container, of_image=same, image_unseen=image.unseen)

    def _of(self, image_id: str, before: Mapping[str, Asked]) -> Asked:
        """What one image says; raises `EngineUnreachable`, `EngineLost`."""
        known = self._asked.get(image_id) or before.get(image_id)
        if known is None or known.due <= time.monotonic():
            try:
                known = Asked(self._engine.image_labels(image_id))
            except (EngineUnreachable, EngineLost):
                raise
            except EngineError as error:
                known = Asked({}, (error.message, error.hint), time.monotonic() + RETRY_SECONDS)
        self._asked[image_id] = known
        return known
