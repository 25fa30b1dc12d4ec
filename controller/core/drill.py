"""The report of a drill, while and after it runs."""

from typing import Literal

from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.records import Record, Time

DrillState = Literal["queued", "running", "passed", "failed", "unsupported", "cancelled", "interrupted"]


AUTO = "auto"
"""Trigger of a drill that nobody asked for."""


class Comparison(Record):
    """One thing that was counted at the dump and again after the restore."""

    artifact: str
    what: str
    dumped: int
    restored: int | None
    """None: it was not there."""


class Drill(Record):
    """One drill, and how it ended."""

    id: str
    target: Key
    run: str
    """The run that was rehearsed."""
    state: DrillState = "queued"
    trigger: str
    """Who asked: `cli`, `api`, `schedule`, `auto`."""
    by: str = ""
    """Who asked, by the name of a token and an address, or `socket`; empty for what the sidecar does by itself."""
    rehearsed: str = ""
    """Digest of the structure, image and version of the run; another run of the same need not be rehearsed."""
    created: Time
    started: Time | None = None
    finished: Time | None = None
    seconds: float | None = None
    image: str = ""
    """Id of the image that the throw-away container was made from."""
    remarks: tuple[str, ...] = ()
    """What was not as one would wish, but no reason to fail."""
    compared: tuple[Comparison, ...] = ()
    check: str | None = None
    """What `drill.check` printed, its last lines; None where there is none or it was not reached."""
    failure: Failure | None = None

    @property
    def passed(self) -> bool:
        return self.state == "passed"

    @property
    def final(self) -> bool:
        return self.state not in ("queued", "running")
