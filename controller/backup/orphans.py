"""Ends what runs left behind in their targets, when nobody could at the time: the sidecar had died, the target was
paused, the engine was away.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable

from loguru import logger

from controller.core.errors import CommandFailed, SidecarError, StillRunning
from controller.core.key import Key
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.targets.runnable import RunnableTarget
from controller.targets.target import LIVE, Target


class Orphans:
    """Run ids by target, each until its target was looked through; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs: defaultdict[str, dict[str, threading.Lock]] = defaultdict(dict)
        self._lock, self._looking = threading.Lock(), threading.Lock()

    def add(self, key: Key, run: str) -> None:
        """Something of this run may be left in its target."""
        with self._lock:
            self._runs[str(key)][run] = threading.Lock()

    def end(self, target: RunnableTarget) -> None:
        """End what earlier runs left in the target, and look that it is gone, before another is begun there.

        Raises `StillRunning` when it is not, and the engine's errors. A target in which nobody can look is let be.
        """
        with self._lock:
            runs = dict(self._runs[str(target.key)])
        for run, lock in runs.items():
            with lock:
                self._end(target, run)

    def end_all(self, targets: Iterable[Target]) -> None:
        """The same for all that are live, in a thread; what cannot be ended now stays for the next time."""
        with self._lock:
            keys = {key for key, runs in self._runs.items() if runs}
        waiting = [target for target in targets if str(target.key) in keys and target.container.state in LIVE]
        described = [known for target in waiting if (known := target.described)]
        if described and self._looking.acquire(blocking=False):
            threading.Thread(target=self._end_each, args=(described,), name="orphans", daemon=True).start()

    def _end_each(self, targets: list[RunnableTarget]) -> None:
        try:
            for target in targets:
                try:
                    self.end(target)
                except SidecarError as error:
                    logger.bind(target=str(target.key), code=error.code).warning("{}", error)
        finally:
            self._looking.release()

    def _end(self, target: RunnableTarget, run: str) -> None:
        if run not in self._runs[str(target.key)]:
            return
        bound = logger.bind(target=str(target.key), run=run)
        context = ExecContext(target.container.id, user=target.settings.user or "", run=run)
        try:
            left = self._engine.kill(context)
        except CommandFailed as error:
            bound.warning("{}", error)
            left = ()
        if left:
            hint = f"End it by hand, or restart container {target.container.name}."
            raise StillRunning(f"of run {run} there is still in {target.key}: {', '.join(left)}", hint=hint)
        with self._lock:
            del self._runs[str(target.key)][run]
        bound.info("looked through the target: nothing of the run is left")
