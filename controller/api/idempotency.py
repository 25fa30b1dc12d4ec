"""Makes a repeated start the same start, by the client's `Idempotency-Key`."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from controller.api.problems import Refused
from controller.core.key import Key

MAX_KEYS = 1000
"""That are remembered, the newest; a restart forgets them."""


class Idempotency:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[Key, str]] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, idempotency_key: str, target: Key, start: Callable[[], str]) -> str:
        """The id of the run that was started under this key, else of a new one; raises `Refused` for another target."""
        if not idempotency_key:
            return start()
        with self._lock:
            if idempotency_key not in self._seen:
                self._seen[idempotency_key] = (target, start())
                if len(self._seen) > MAX_KEYS:
                    self._seen.popitem(last=False)
            known, run = self._seen[idempotency_key]
        if known != target:
            hint = "Use a new Idempotency-Key for each start."
            raise Refused(422, "key-reused", f"This Idempotency-Key started a run of {known}.", hint=hint, run=run)
        return run
