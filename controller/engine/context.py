"""Where and how a command runs: in which container, as whom, until when, under which marker."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from controller.core.cancelling import Cancellable
from strategies.base import Shell


def _ignore(stream: Cancellable) -> None:
    """Nobody wants to cancel it."""


@dataclass(frozen=True, slots=True)
class ExecContext:
    """Everything that an exec needs but its argv, given as a whole, so that no part of it is forgotten on the way."""

    container: str
    """Id, or name."""
    shell: Shell | None = None
    """With one, commands run under the seal."""
    user: str = ""
    workdir: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    run: str = ""
    """The marker of everything that is started, by which `Engine.kill` finds it."""
    deadline: float | None = None
    """Of `time.monotonic()`."""
    stall: float | None = None
    """Seconds without a byte."""
    reading: Callable[[Cancellable], None] = _ignore
    """Hears what is read from or written to next, before it is opened; may raise."""

    lasting: bool = False
    """What it starts may live on behind it, as what `pre` and `post` start does; it carries no marker."""

    def within(self, seconds: float) -> "ExecContext":
        """The same, with a deadline after so many seconds, if not sooner."""
        deadline = time.monotonic() + seconds
        return replace(self, deadline=deadline if self.deadline is None else min(self.deadline, deadline))

    @property
    def variables(self) -> dict[str, str]:
        """The environment of an exec, with the marker."""
        return {**self.environment, **({"BACKUP_RUN": self.run} if self.run and not self.lasting else {})}
