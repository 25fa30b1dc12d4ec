"""What a way on which the sidecar tells somebody of itself has to be able to.

To add one, put a file beside this one, and one line into `channels` of `controller.app.outward`.
"""

from typing import Protocol

from controller.core.events import Bus
from controller.core.loop import Service


class Channel(Service, Protocol):
    """A service that tells what it hears, in its own time: nothing waits for it, and nothing fails by it."""

    def listen(self, events: Bus) -> None:
        """Subscribe to what it tells; before anything happens."""
        ...
