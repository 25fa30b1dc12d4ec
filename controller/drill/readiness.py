"""Tells whether a throw-away container runs, and whether its main program is already the server."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NoReturn

from controller.core.errors import Unsupported
from controller.engine.client import Engine
from controller.engine.context import ExecContext

SHELLS = {"sh", "bash", "dash", "ash", "busybox"}
INITS = {"docker-init", "tini", "dumb-init", "catatonit"}
"""Programs that only stand above the main one."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Of one container. Raises the engine's errors."""

    engine: Engine
    container: str
    """Id."""

    def demand_running(self) -> None:
        """Raises `Unsupported` when it has stopped."""
        state = self.engine.inspect(self.container)
        if not state.running:
            memory = " (killed for memory: see drills.memory)" if state.oom else ""
            self.give_up(f"ended with exit code {state.exit_code}{memory}")

    def give_up(self, why: str) -> NoReturn:
        """Raises `Unsupported` with the end of the container's log: what it lacks says nothing of the backup."""
        message = f"unsupported: the throw-away container {why}; its log ends: {self.engine.log_tail(self.container)}"
        raise Unsupported(message, hint="See whether its image starts without mounts and network.")

    def is_settling(self) -> bool:
        """Whether its main program is a shell that may become something else; asked before the server is, since what a
        server says that is about to be stopped holds no longer.
        """
        name = self._program("1")
        if name in INITS:
            children = self._read("/proc/1/task/1/children").split()
            name = self._program(children[0]) if children else ""
        return name in SHELLS

    def _program(self, process: str) -> str:
        """By its command line, since the `comm` of a script is the script's own name."""
        return PurePosixPath(self._read(f"/proc/{process}/cmdline").split("\0")[0]).name

    def _read(self, path: str) -> str:
        return self.engine.ask(ExecContext(self.container), ("cat", path)).stdout
