"""What can be ended from another thread."""

from typing import Protocol

from controller.core.errors import SidecarError


class Cancellable(Protocol):
    """What a run reads from or writes to."""

    def cancel(self, reason: SidecarError | None = None) -> None: ...


class Bounded(Protocol):
    """What goes on after `cancel`, and may still be told to end sooner."""

    def hurry(self, deadline: float) -> None: ...
