"""The report of a restore, while and after it runs."""

from typing import Literal

from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.records import Record, Time

RestoreState = Literal["running", "succeeded", "failed", "cancelled", "interrupted"]


class Restoration(Record):
    """One restore, from its start to its end; every change is a new one."""

    id: str
    run: str
    """Id of the run that is restored."""
    target: Key
    """Whose run it is."""
    container: str
    """Name of the container that it is restored into."""
    where: str
    """The place there, in words."""
    strategy: str
    by: str = ""
    """Who asked, by the name of a token and an address, or `socket`; empty for what the sidecar does by itself."""
    state: RestoreState
    step: str = ""
    """What is under way: `verifying`, `safety backup`, `applying <artifact>`, `comparing`, `undoing`."""
    created: Time
    finished: Time | None = None
    seconds: float | None = None
    bytes: int = 0
    """Plain bytes applied so far."""
    total: int
    """Plain bytes that will be applied."""
    beside: bool = False
    """Files went into a folder, since there is something where they came from."""
    safety: str = ""
    """Id of the run that backed up what was there, before it was replaced."""
    safety_of: Key | None = None
    """Whose run that is; None for the restore's own target."""

    stopped: tuple[str, ...] = ()
    """Containers that were stopped for the while, by name."""
    compared: int = 0
    """Numbers that were counted at the dump and found again."""
    undone: bool = False
    """It failed, and whatever it had done in the container, if anything, was made good."""
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None

    @property
    def final(self) -> bool:
        return self.state != "running"

    @property
    def saved(self) -> Key:
        """Whose run the safety backup is."""
        return self.safety_of or self.target
