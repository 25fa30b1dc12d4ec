"""Exports of contract v1 that are under way or not yet fetched; requests share them.

An export is one run, or one of each target. Its answer is kept until it was delivered whole, at most ten minutes: so a
client whose connection broke gets it, and the next one gets a new backup. What a client that was told to come back may
claim lasts longer: see `claims.py`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from loguru import logger
from starlette.concurrency import run_in_threadpool

from controller.api.claims import Claim
from controller.api.export_runs import ExportPlanner, ExportRuns
from controller.api.problems import Refused, run_failed
from controller.core.errors import SidecarError
from controller.core.key import Key
from controller.core.run import Report
from controller.storage.bundle import Bundle, of_runs
from controller.storage.leases import Leases
from controller.storage.store import Store

KEEP_SECONDS = 600.0
"""For which an answer that nobody fetched is kept."""
RETRY_AFTER = "10"
"""Seconds after which a client is asked to come back."""
CLAIMED_AGE = timedelta(hours=12)
"""A claimed run that is older than this has a new one begun beside it."""


class Export:
    """One export: its runs, and the bundle that will come of them."""

    def __init__(self, contents: ExportRuns, bundle: Coroutine[Any, Any, Bundle]) -> None:
        self.contents, self.bundle = contents, asyncio.create_task(bundle)

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(report.id for report in self.contents.reports)

    @property
    def older(self) -> tuple[str, ...]:
        """Those of its runs that stand for a target which is stopped."""
        return tuple(report.id for report in self.contents.older)

    @property
    def has_run(self) -> bool:
        """Whether all its runs have ended; it may still be packed."""
        return all(job.future.done() for job in self.contents.jobs)

    @property
    def slot_seconds(self) -> float:
        """The longest time that one of its runs has waited for a slot."""
        return max((job.slot_seconds for job in self.contents.jobs), default=0.0)

    @property
    def seconds(self) -> float:
        """How long its runs took, one after the other."""
        return sum(report.seconds or 0 for report in self.contents.reports)


class Exports:
    """Belongs to one event loop. A target's key stands for an export of that target, None for one of all."""

    def __init__(self, planner: ExportPlanner, store: Store, leases: Leases, *, clock: Callable[[], datetime]) -> None:
        self._planner, self._store, self._leases, self._clock = planner, store, leases, clock
        self._open: dict[str, Export] = {}
        self._joining, self._closing = asyncio.Lock(), asyncio.Event()

    async def join(self, key: Key | None, *, as_tar: bool, by: str) -> Export:
        """The export that is under way, else a new one, which `by` has started. Raises `SidecarError`, `Refused`."""
        async with self._joining:
            name = name_of(key, as_tar)
            if name not in self._open:
                contents = await run_in_threadpool(self._planner.begun, key, by)
                export = Export(contents, self._packed(contents, as_tar))
                self._leases.take(export.runs)
                export.bundle.add_done_callback(lambda bundle: self._keep(export, bundle))
                self._open[name] = export
            return self._open[name]

    async def claimed(self, key: Key | None, claim: Claim, *, as_tar: bool, by: str) -> tuple[Export, bool] | None:
        """What a claim gives at once, and whether a new export goes on beside it, since it is old.

        None where there is not yet a run for each target. Raises `SidecarError`, `Refused`.
        """
        contents = await run_in_threadpool(self._planner.covered, key, claim)
        if contents is None:
            return None
        unfetched = self._open.get(name_of(key, as_tar))
        if unfetched and unfetched.has_run:
            self.delivered(unfetched.runs)  # Nobody gets it after what may be newer.
        is_old = any(self._clock() - report.time > CLAIMED_AGE for report in contents.claimed)
        return Export(contents, self._packed(contents, as_tar)), is_old and await self._renewed(key, as_tar, by)

    async def answer(self, export: Export, within: float) -> Bundle | None:
        """What comes of it, None after `within` seconds or when the server stops. Raises `SidecarError`, `Refused`."""
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait({export.bundle, closing}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not export.bundle.done():
            return None
        if export.bundle.exception():
            self.delivered(export.runs)
        return export.bundle.result()

    def delivered(self, runs: tuple[str, ...]) -> None:
        """The next export of these runs' targets is a new one, and nothing keeps these from being deleted."""
        for name, export in list(self._open.items()):
            if set(export.runs) == set(runs):
                del self._open[name]
                self._leases.give(export.runs)

    def close(self) -> None:
        """Let everybody who waits go."""
        self._closing.set()

    def _keep(self, export: Export, bundle: asyncio.Task[Bundle]) -> None:
        """Until it is fetched, and not for ever."""
        if not bundle.cancelled():
            bundle.exception()  # Seen, also when no client is left to be told.
        asyncio.get_running_loop().call_later(KEEP_SECONDS, self.delivered, export.runs)

    async def _packed(self, contents: ExportRuns, as_tar: bool) -> Bundle:
        ran = await asyncio.gather(*(ended(job.future) for job in contents.jobs))
        for report in ran:
            if report.state != "succeeded":
                raise run_failed(report)
        runs = [(report.target, report.id) for report in contents.reports]
        older = {report.id for report in contents.older}
        with self._leases.held(*(run for _, run in runs)):
            return await run_in_threadpool(of_runs, self._store, runs, as_tar=as_tar, older=older)

    async def _renewed(self, key: Key | None, as_tar: bool, by: str) -> bool:
        """Whether an export goes on; one that cannot be started keeps nobody from what there is."""
        try:
            await self.join(key, as_tar=as_tar, by=by)
        except (SidecarError, Refused) as error:
            logger.warning("no new export was begun beside an old one: {}", error)
            return False
        return True


def name_of(key: Key | None, as_tar: bool) -> str:
    return f"{key or ''} {'tar' if as_tar else ''}"


async def ended(future: Future[Report]) -> Report:
    """The final report; shielded, since to cancel the waiting would cancel a run that is still queued."""
    return await asyncio.shield(asyncio.wrap_future(future))
