"""Keeps helper containers for as long as somebody needs them: one for each survey and run of a target that lacks what
reads its data.

They are created only with the operator's leave, go away with the context, and otherwise by themselves or at the next
start.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger

from controller.core.errors import SidecarError, TargetGone, TargetUnsuitable
from controller.engine import drill_container, helper_container
from controller.engine.client import Engine

GRACE_SECONDS = 60.0
"""How long a helper lives beyond the time for which it is wanted."""


class Helpers:
    """Safe to use from several threads."""

    def __init__(self, engine: Engine, owner: str, *, allowed: bool) -> None:
        """`owner` is the identity of this sidecar."""
        self._engine, self._owner, self.allowed = engine, owner, allowed
        self._lock = threading.Lock()
        self._active: set[str] = set()
        self._swept = False

    @contextmanager
    def helper(self, container_id: str, seconds: float) -> Iterator[str]:
        """The id of a running helper that sees a container's volumes.

        Raises `TargetUnsuitable` where the sidecar has no image of its own, and the engine's errors.
        """
        name = secrets.token_hex(8)
        with self._lock:
            self._active.add(name)
        try:
            labels = {helper_container.LABEL: name, drill_container.OWNER: self._owner}
            created = self._engine.create_helper_container(container_id, self.image(), labels, seconds + GRACE_SECONDS)
            try:
                self._engine.start_own_container(created)
                yield created
            finally:
                self._remove(created)
        finally:
            with self._lock:
                self._active.discard(name)

    def sweep(self) -> None:
        """Once: remove the helpers that this sidecar left when it died, and those of no other one."""
        if self._swept:
            return
        for container in self._engine.containers():
            name = container.labels.get(helper_container.LABEL)
            with self._lock:
                is_left = (
                    name and name not in self._active and container.labels.get(drill_container.OWNER) == self._owner
                )
            if is_left:
                self._engine.remove_own_container(container.id)
                logger.bind(container=container.name).warning("removed the helper container of a run that died")
        self._swept = True

    def image(self) -> str:
        """Id of the image that the sidecar runs from; raises `TargetUnsuitable` where there is none."""
        try:
            if own := self._engine.own_container_id():
                return self._engine.inspect(own).image_id
        except TargetGone:
            pass
        hint = "Run the sidecar in a container of the engine that it watches."
        raise TargetUnsuitable("the sidecar has no image for a helper container", hint=hint, code="no-helper")

    def _remove(self, container_id: str) -> None:
        try:
            self._engine.remove_own_container(container_id)
        except SidecarError as error:
            logger.bind(code=error.code).warning("a helper container is left until it ends: {}", error)
