"""Which stored runs are in use, so that nothing deletes what is being downloaded, verified or restored."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from controller.core.errors import InUse, UnknownRun


class Leases:
    """Safe to use from several threads; a run may be held any number of times, and not while it is being deleted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._going: set[str] = set()

    def take(self, runs: Iterable[str]) -> None:
        """Hold runs until `give`; raises `UnknownRun` for one that is being deleted, and then holds none."""
        ids = tuple(runs)
        with self._lock:
            if going := self._going.intersection(ids):
                raise UnknownRun(f"run {min(going)} is being deleted", hint="`backup-sidecar runs` lists the others.")
            self._held.update(ids)

    def give(self, runs: Iterable[str]) -> None:
        """The opposite of `take`."""
        with self._lock:
            self._held.subtract(Counter(runs))
            self._held = +self._held

    @contextmanager
    def held(self, *runs: str) -> Iterator[None]:
        """`take` and `give`."""
        self.take(runs)
        try:
            yield
        finally:
            self.give(runs)

    @contextmanager
    def deleting(self, run: str) -> Iterator[None]:
        """Keep others from a run; raises `InUse` while somebody holds it."""
        with self._lock:
            if self._held[run] or run in self._going:
                hint = "Try again when its download, verification or restore has ended."
                raise InUse(f"run {run} is in use", hint=hint)
            self._going.add(run)
        try:
            yield
        finally:
            with self._lock:
                self._going.discard(run)
