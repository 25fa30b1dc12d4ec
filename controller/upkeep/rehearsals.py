"""Rehearses by itself what has not been rehearsed: a target's first good run, and the first after a change.

A change is one of the data's structure, of the image, or of this program's version. It happens at night, one at a time,
and never beside a run: one that begins ends it, and it is tried again.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from config.target import TargetSettings
from controller.core.drill import AUTO, Drill
from controller.core.errors import Busy, SidecarError, Stopping, UnknownRun
from controller.core.events import RunBegan
from controller.core.key import Key
from controller.core.run import Report
from controller.core.structure import rehearsable
from controller.drill.drills import Drills
from controller.storage.catalog import Catalog
from controller.storage.store import Store
from controller.targets.target import Target

HOURS = range(6)
"""Of the target's zone, in which it may begin."""
YOUNG = timedelta(days=1)
"""Age up to which a run is rehearsed by itself."""
PAUSE = timedelta(days=7)
"""Between two of one target."""
AGAIN = timedelta(hours=1)
"""After one that a run has ended."""
LARGEST_BYTES = 5 << 30
"""Of a run's plain dumps together."""
ROOM = 3
"""Times these bytes that have to be free for the engine."""
CUT = ("cancelled", "interrupted")
"""States of drills that say nothing."""
REMEMBERED = 100
"""Drills of a target that are looked through for one of the same state."""


class Rehearsals:
    """Call `look` every few seconds, from one thread."""

    def __init__(
        self,
        drills: Drills,
        catalog: Catalog,
        store: Store,
        targets: Callable[[], Sequence[Target]],
        *,
        wanted: bool,
        busy: Callable[[], bool],
        free: Callable[[], int],
        clock: Callable[[], datetime],
    ) -> None:
        """`wanted` is the operator's word; `busy` tells of runs and restores, `free` bytes of the engine's disk."""
        self._drills, self._catalog, self._store, self._targets = drills, catalog, store, targets
        self._wanted, self._busy, self._free, self._clock = wanted, busy, free, clock
        self._states: dict[str, tuple[str, str]] = {}
        """By target: the newest good run, and the state that it is of."""

    def look(self) -> None:
        """Start the first one that is due, unless something else is under way."""
        if not (self._wanted and self._drills.allowed) or self._drills.busy or self._busy():
            return
        for target in self._targets():
            if target.state == "ready" and target.settings and self._is_due(target.key, target.settings):
                with suppress(Busy, UnknownRun, Stopping):
                    self._drills.start(target.key, AUTO)
                return

    def run_began(self, _: RunBegan) -> None:
        """Give way to a run; the engine is not waited for."""
        if not self._drills.busy:
            return
        threading.Thread(target=self._drills.cancel, args=(AUTO, "a run began"), name="give-way", daemon=True).start()

    def _is_due(self, key: Key, settings: TargetSettings) -> bool:
        now = self._clock()
        if not settings.drill.auto or now.astimezone(ZoneInfo(settings.timezone)).hour not in HOURS:
            return False
        run = self._catalog.last_good(key)
        if run is None or now - run.created > YOUNG or not self._is_small(run):
            return False
        state, last = self._state(key, run), self._catalog.last_drill(key)
        if last and last.state not in CUT and last.rehearsed == state:  # The usual case, which is to cost little.
            return False
        drills = self._catalog.page(Drill, key, limit=REMEMBERED)
        if any(self._is_recent(drill, now) for drill in drills if drill.trigger == AUTO):
            return False
        return all(drill.rehearsed != state for drill in drills if drill.state not in CUT)

    def _is_small(self, run: Report) -> bool:
        size = sum(artifact.plain_size for artifact in run.artifacts)
        return size <= LARGEST_BYTES and ROOM * size <= self._free()

    def _is_recent(self, drill: Drill, now: datetime) -> bool:
        return now - drill.created < (AGAIN if drill.state in CUT else PAUSE)

    def _state(self, key: Key, run: Report) -> str:
        """What the run's rehearsal would say something about; of one that cannot be read nothing is known."""
        known, state = self._states.get(str(key), ("", ""))
        if known != run.id:
            state = ""
            with suppress(SidecarError):
                state = rehearsable(self._store.manifest(key, run.id))
            self._states[str(key)] = run.id, state
        return state
