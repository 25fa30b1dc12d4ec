"""Forgetting what is gone: targets without a container, runs that are lost or damaged."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query

from controller.api.callers import ADMIN
from controller.api.parameters import TargetKey
from controller.backup.jobs import Jobs
from controller.upkeep.forgetting import Forgetting, Forgot
from controller.upkeep.pruner import Pruner
from controller.views.schemas import ErrorView, JsonObject, RunView, StoredRun, View

DryRun = Annotated[bool, Query(description="Change nothing, and tell what would be.")]
Delete = Annotated[bool, Query(description="Delete what is stored of it too; that can be undone for a while.")]


class ForgetView(View):
    """What became of a target, or would."""

    key: str
    dry_run: bool
    retention: JsonObject | None
    """By which the runs that stay age, as it was set last; None: nobody knows, so all of them stay."""
    runs: tuple[StoredRun, ...]
    """What was stored of it."""
    deleted: tuple[str, ...]
    """Ids of those that were deleted; pinned ones stay."""
    errors: tuple[ErrorView, ...]
    """Why others were not."""

    @classmethod
    def of(cls, shown: Forgot) -> Self:
        rules: Any = shown.retention and shown.retention.model_dump(mode="json", by_alias=True, exclude_none=True)
        return cls(
            key=str(shown.key),
            dry_run=shown.dry_run,
            retention=rules,
            runs=tuple(map(StoredRun.of, shown.runs)),
            deleted=shown.deleted,
            errors=tuple(map(ErrorView.of, shown.errors)),
        )


def forget_routes(forgetting: Forgetting, jobs: Jobs, pruner: Pruner) -> APIRouter:
    routes = APIRouter()

    @routes.post(
        "/v1/targets/{key:path}/forget",
        dependencies=[ADMIN],
        tags=["targets"],
        summary="Take a target whose container is gone off the verdict, until it returns",
    )
    def forget_target(key: TargetKey, dry_run: DryRun = False, delete: Delete = False) -> ForgetView:
        return ForgetView.of(forgetting.forget(key, dry_run=dry_run, delete=delete))

    @routes.post(
        "/v1/runs/{run}/forget",
        dependencies=[ADMIN],
        tags=["runs"],
        summary="Take a run that is lost or damaged off the verdict",
    )
    def forget_run(run: str, dry_run: DryRun = False, delete: Delete = False) -> RunView:
        report = forgetting.forget_run(jobs.report(run), dry_run=dry_run)
        return RunView.of(pruner.delete(report, force=True) if delete and not dry_run else report)

    return routes
