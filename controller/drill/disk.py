"""What a drill may write on the engine's disk: it is looked at while the drill goes on, and more ends its container.

A container cannot be given a limit for that on most engines (`--storage-opt size` needs XFS with quotas). What the
engine counts is the container's own layer; what lies in its volumes, `du` in the container tells, as far as one may
believe it. So the disk's own free room, which nobody there can forge, has a limit as well.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from controller.core.errors import DrillFailed, SidecarError
from controller.core.loop import Loop
from controller.core.manifest import Manifest
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.restore.room import mebibytes

TIMES = 3
"""How much larger than its dump a database may be: its indexes, its journal, and what is loaded beside it."""
LOOK_SECONDS = 2.0
"""Between two looks; ten times as long as one took, where that is longer."""
DU_SECONDS = 30.0
FREE_BYTES = 1 << 30
"""That a drill leaves free on the engine's disk; half of what was free where there was less than twice that."""


def allowance(manifest: Manifest, beyond: int) -> int:
    """Bytes that a drill of this run may write; `beyond` is `drills.disk`."""
    return beyond + TIMES * sum(max(artifact.plain_size, artifact.disk) for artifact in manifest.artifacts)


def free_room() -> int:
    """Bytes on the disk of this container, which is the engine's where that is the one of this host."""
    return shutil.disk_usage("/").free


@contextmanager
def bounded(engine: Engine, container: str, allowed: int) -> Iterator[None]:
    """While somebody drills in a container; raises `DrillFailed` where that was ended for what it had written."""
    watch = DiskWatch(engine, container, allowed)
    loop = Loop("drill's disk", watch.look, seconds=LOOK_SECONDS)
    loop.start()
    try:
        yield
    except SidecarError as error:
        if watch.excess is None:
            raise
        raise watch.excess from error
    finally:
        loop.stop()
    if watch.excess is not None:
        raise watch.excess


class DiskWatch:
    """Of one container that was created here."""

    def __init__(self, engine: Engine, container: str, allowed: int, free: Callable[[], int] = free_room) -> None:
        """Raises `SidecarError` where the engine cannot tell of the container."""
        self._engine, self._container, self._allowed, self._free = engine, container, allowed, free
        self._left = min(FREE_BYTES, free() // 2)
        self._volumes = [mount.path for mount in engine.inspect(container).mounts if mount.kind == "volume"]
        self.excess: DrillFailed | None = None
        """Why the container was removed."""

    def look(self) -> float:
        """Remove the container where it has written too much; gives the seconds until the next look."""
        began = time.monotonic()
        with suppress(SidecarError):  # It is not there, or the engine is not: the drill itself says so.
            self.excess = self.excess or self._demand_room() or self._demand_little()
            if self.excess:
                self._engine.remove_own_container(self._container)
        return max(LOOK_SECONDS, 10 * (time.monotonic() - began))

    def _demand_room(self) -> DrillFailed | None:
        if (free := self._free()) >= self._left:
            return None
        hint = "Make room there, or drill when less is written; nothing is left of the drill."
        return DrillFailed(f"the engine's disk has only {mebibytes(free)} left", hint=hint, code="disk-full")

    def _demand_little(self) -> DrillFailed | None:
        written = self._engine.written(self._container) + self._in_volumes()
        if written <= self._allowed:
            return None
        message = f"the throw-away container wrote {mebibytes(written)}, and may write {mebibytes(self._allowed)}: "
        message += f"{TIMES} times what it restores, and `drills.disk`"
        hint = "See what `drill.check` and the image's start write; raise `drills.disk` if the server needs that."
        return DrillFailed(message, hint=hint, code="disk-limit")

    def _in_volumes(self) -> int:
        """As `du` there tells; 0 where nobody can start it."""
        if not self._volumes:
            return 0
        context = ExecContext(self._container, user="0")
        with suppress(SidecarError):
            told = self._engine.ask(context, ("du", "-skx", "--", *self._volumes), timeout=DU_SECONDS).stdout
            return sum(int(kibibytes) << 10 for kibibytes in re.findall(r"(?m)^(\d{1,15})\t", told))
        return 0
