"""What the operator said at the last good start or change; kept in the work folder for a start with a broken file."""

import socket
from pathlib import Path
from typing import Any

from config.loading import Loaded
from config.problems import Problem
from controller.core.records import Versioned
from controller.storage import journal

FILE = "last-good.json"


class LastGood(Versioned):
    """Holds no value of a secret."""

    written: dict[str, Any] | None
    """`config.yaml` as plain values; None where it held a secret value itself."""
    token_given: bool
    """Whether the operator gave the API's token."""
    host: str
    """Name of the container."""
    copies: tuple[str, ...]
    """Variables of that container that are only Compose's copy of what a file said; see `config.variables.read`."""

    @property
    def own_copies(self) -> tuple[str, ...]:
        """Those of this container, whose environment stays as it was made."""
        return self.copies if self.host == socket.gethostname() else ()


def known(workdir: Path) -> LastGood | None:
    """None before the first good start. Raises `StoreError`."""
    return journal.read(workdir / FILE, LastGood)


def keep(loaded: Loaded, workdir: Path) -> None:
    """Raises `StoreError`."""
    good = LastGood(
        written=None if loaded.written is None else dict(loaded.written),
        token_given=not loaded.token_made,
        host=socket.gethostname(),
        copies=tuple(sorted(loaded.copies)),
    )
    journal.write(workdir / FILE, good)


def not_kept(workdir: Path) -> Problem:
    """Why there is none to go on with."""
    message = "holds no last good config.yaml, because a secret value stood in it"
    return Problem("not-kept", str(workdir / FILE), message, "Write `{secret: NAME}` or `${NAME}` there.", "warning")
