"""What can be ended from another thread."""

from typing import Protocol

from controller.core.errors import SidecarError


class Cancellable(Protocol):
    """What a run reads from or writes to."""

    def cancel(self, reason: SidecarError | None = None) -> None:
        """End it now."""

    def hurry(self, deadline: float) -> None:
        """End it by then, of `time.monotonic()`, if not sooner."""
