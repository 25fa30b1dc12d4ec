"""Exports of contract v1 that are under way or not yet fetched; requests share them.

An export is one run, or one of each target. Its answer is kept until it was delivered whole, at most ten minutes: so a
client whose connection broke, or that was told to come back, gets it, and the next one gets a new backup.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from starlette.concurrency import run_in_threadpool

from controller.api.problems import Refused, run_failed
from controller.backup.jobs import Job, Jobs
from controller.core.errors import Busy, TargetUnsuitable
from controller.core.key import Key
from controller.core.run import Report
from controller.storage.bundle import Bundle, of_runs
from controller.storage.leases import Leases
from controller.storage.store import Store
from controller.targets.target import Target

KEEP_SECONDS = 600.0
"""For which an answer that nobody fetched is kept."""
RETRY_AFTER = "10"
"""Seconds after which a client is asked to come back."""
EXPORTED = ("ready", "pending", "problem")
"""States of the targets that an export of everything is about."""


class Export:
    """One export: its runs, and the bundle that will come of them."""

    def __init__(self, jobs: tuple[Job, ...], bundle: asyncio.Task[Bundle]) -> None:
        self.runs = tuple(job.report.id for job in jobs)
        self.bundle = bundle


class Exports:
    """Belongs to one event loop."""

    def __init__(
        self,
        targets: Callable[[], Sequence[Target]],
        start: Callable[[Key, str], Job],
        jobs: Jobs,
        store: Store,
        leases: Leases,
    ) -> None:
        self._targets, self._start_run = targets, start
        self._jobs, self._store, self._leases = jobs, store, leases
        self._open: dict[str, Export] = {}
        self._joining, self._closing = asyncio.Lock(), asyncio.Event()

    async def join(self, key: Key | None, *, as_tar: bool) -> Export:
        """The export of a target, None for all; started unless there is one. Raises `SidecarError`, `Refused`."""
        async with self._joining:
            name = f"{key or ''} {'tar' if as_tar else ''}"
            if name not in self._open:
                jobs = await run_in_threadpool(self._start, key)
                export = Export(jobs, asyncio.create_task(self._packed(jobs, as_tar)))
                self._leases.take(export.runs)
                export.bundle.add_done_callback(lambda bundle: self._keep(export, bundle))
                self._open[name] = export
            return self._open[name]

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

    async def _packed(self, jobs: tuple[Job, ...], as_tar: bool) -> Bundle:
        reports = await asyncio.gather(*(ended(job.future) for job in jobs))
        for report in reports:
            if report.state != "succeeded":
                raise run_failed(report)
        runs = [(report.target, report.id) for report in reports]
        return await run_in_threadpool(of_runs, self._store, runs, as_tar=as_tar)

    def _start(self, key: Key | None) -> tuple[Job, ...]:
        return tuple(self._start_one(key) for key in ([key] if key else self._all()))

    def _start_one(self, key: Key) -> Job:
        """A new run, or the one that the target has under way."""
        while True:
            try:
                return self._start_run(key, "export")
            except Busy as busy:
                if job := self._jobs.job(busy.run):
                    return job

    def _all(self) -> list[Key]:
        """Raises `TargetUnsuitable` when one is broken: a backup of everything may not lack it in silence."""
        targets = [target for target in self._targets() if target.state in EXPORTED]
        if not targets:
            hint = "Set `backup.enable=true` and `backup.strategy` on a container; `backup-sidecar targets` lists them."
            raise Refused(409, "no-targets", "There is nothing to back up.", hint=hint)
        broken = [str(target.key) for target in targets if target.state == "problem"]
        if broken:
            hint = "`/v1/targets` says what is wrong; export the others each by `/targets/<key>/backup/export`."
            raise TargetUnsuitable(f"cannot be backed up: {', '.join(broken)}", hint=hint, code="unsuitable")
        return [target.key for target in targets]


async def ended(future: Future[Report]) -> Report:
    """The final report; shielded, since to cancel the waiting would cancel a run that is still queued."""
    return await asyncio.shield(asyncio.wrap_future(future))
