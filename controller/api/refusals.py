"""Counts who and what was refused or failed before there was a request, and logs it at most once a minute.

Whoever reaches the port can cause any number of these: they may fill neither the log nor the memory.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from loguru import logger

SILENT_SECONDS = 60.0
"""Between two lines about the same kind and address."""
MAX_ADDRESSES = 1000
"""That are told apart at a time; of further ones nothing is logged, but all is counted."""


class Refusals:
    """Belongs to one event loop; the counts may be read from any thread."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._told: dict[tuple[str, str], float] = {}
        """When each kind was logged last for an address, of `time.monotonic()`."""

    def counts(self) -> Mapping[tuple[str], int]:
        """By kind."""
        return {(kind,): count for kind, count in self._counts.copy().items()}

    def note(self, kind: str, address: str, message: str, defect: BaseException | None = None) -> None:
        """One more; of a defect of this program the traceback is logged too."""
        self._counts[kind] += 1
        now = time.monotonic()
        if len(self._told) >= MAX_ADDRESSES:
            self._told = {of: at for of, at in self._told.items() if now - at < SILENT_SECONDS}
        last = self._told.get((kind, address))
        if len(self._told) < MAX_ADDRESSES and (last is None or now - last >= SILENT_SECONDS):
            self._told[kind, address] = now
            bound = logger.bind(code=kind, address=address, count=self._counts[kind])
            bound.opt(exception=defect).warning("{}; it is counted, and told once a minute", message)

    def of_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio complains of, which it would log each time."""
        error, message = context.get("exception"), context["message"]
        if isinstance(error, OSError):
            self.note("connection-failed", "", f"{message}: {error}")
        else:
            self.note("internal-error", "", f"{message}: {error!r}", error)
