"""Deleting stored runs, by the policy and by hand, undoing that, and keeping what no rule may delete."""

from collections.abc import Callable, Sequence
from typing import Annotated, Self

from fastapi import APIRouter, Query

from controller.api.callers import ADMIN
from controller.api.parameters import Note, parsed
from controller.backup.jobs import Jobs
from controller.core.key import Key
from controller.core.records import Time
from controller.storage.room import Room
from controller.targets.target import Target
from controller.upkeep.pruner import Outcome, Pruner
from controller.upkeep.retention import Series, series_of
from controller.views.schemas import ErrorView, RunView, View


class PruneOutcome(View):
    """What became of one run, or would."""

    run: str
    target: str
    time: Time
    size: int | None
    series: Series
    stays: bool
    rules: tuple[str, ...]
    """What keeps it."""
    cause: str
    """Why it goes."""
    deleted: bool
    """Softly: `undelete` brings it back until `policy.undelete` is over, or a run needs its room."""
    error: ErrorView | None
    """Why it is still there, though nothing keeps it."""

    @classmethod
    def of(cls, shown: Outcome) -> Self:
        verdict, run = shown.verdict, shown.verdict.run
        return cls(
            run=run.id,
            target=str(run.target),
            time=run.time,
            size=run.size,
            series=series_of(run),
            stays=verdict.stays,
            rules=verdict.rules,
            cause=verdict.cause,
            deleted=shown.deleted,
            error=ErrorView.of(shown.error) if shown.error else None,
        )


class PruneView(View):
    """What was deleted and what stays, or would."""

    dry_run: bool
    runs: tuple[PruneOutcome, ...]
    freed: int
    """Bytes of what goes, which the next runs can take."""
    free: int
    """Bytes that runs can take without it: what rules have deleted before counts as free."""


def prune_routes(
    targets: Callable[[], Sequence[Target]], target: Callable[[Key], Target], pruner: Pruner, jobs: Jobs, room: Room
) -> APIRouter:
    routes = APIRouter(tags=["runs"])
    find = target

    @routes.post("/v1/prune", dependencies=[ADMIN], summary="Delete what the policy does not keep")
    def prune(
        target: Annotated[str, Query(description="Key of the only target; else all.")] = "",
        dry_run: Annotated[bool, Query(description="Delete nothing, and tell what would go.")] = False,
    ) -> PruneView:
        key = parsed(target) if target else None
        outcomes = pruner.prune_forgotten(key, dry_run=dry_run)
        pruned = targets() if key is None else [] if outcomes else [find(key)]
        outcomes = [*(outcome for each in pruned for outcome in pruner.prune(each, dry_run=dry_run)), *outcomes]
        rows = tuple(map(PruneOutcome.of, outcomes))
        freed = sum(row.size or 0 for row in rows if row.deleted or (dry_run and not row.stays))
        return PruneView(dry_run=dry_run, runs=rows, freed=freed, free=room.free() - (0 if dry_run else freed))

    @routes.delete("/v1/runs/{run}", dependencies=[ADMIN], summary="Delete a run; for a while it can be brought back")
    def delete_run(
        run: str,
        force: Annotated[bool, Query(description="Also the target's last good run.")] = False,
        purge: Annotated[bool, Query(description="For good, also a run that is deleted already.")] = False,
    ) -> RunView:
        return RunView.of(pruner.delete(jobs.report(run), force=force, purge=purge))

    @routes.post(
        "/v1/runs/{run}/undelete", dependencies=[ADMIN], summary="Bring a deleted run back, until it is purged"
    )
    def undelete_run(run: str) -> RunView:
        return RunView.of(pruner.undelete(jobs.report(run)))

    @routes.put("/v1/runs/{run}/pin", dependencies=[ADMIN], summary="Keep a run, whatever the rules say")
    def pin_run(run: str, note: Annotated[Note, Query(description="Why.")] = "") -> RunView:
        return RunView.of(pruner.pin(jobs.report(run), note))

    @routes.delete("/v1/runs/{run}/pin", dependencies=[ADMIN], summary="Leave a run to the rules again")
    def unpin_run(run: str) -> RunView:
        return RunView.of(pruner.unpin(jobs.report(run)))

    return routes
