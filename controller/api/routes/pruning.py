"""Deleting stored runs, by the policy and by hand."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from controller.api.target_keys import parsed
from controller.core.records import rfc3339
from controller.upkeep.pruner import Outcome
from controller.upkeep.retention import series_of
from controller.views import schemas
from controller.views.facade import Sidecar


def pruning(sidecar: Sidecar) -> APIRouter:
    """Prune, or only ask what would go; delete one run."""
    routes = APIRouter(tags=["runs"])

    @routes.post("/v1/prune", summary="Delete what the policy does not keep")
    def prune(
        target: Annotated[str, Query(description="Key of the only target; else all.")] = "",
        dry_run: Annotated[bool, Query(description="Delete nothing, and tell what would go.")] = False,
    ) -> dict[str, Any]:
        targets = [sidecar.target(parsed(target))] if target else sidecar.targets()
        found = [(one, sidecar.pruner.prune(one, dry_run=dry_run)) for one in targets]
        return {"dry_run": dry_run, "runs": [shown(outcome) for _, outcomes in found for outcome in outcomes]}

    @routes.delete("/v1/runs/{run}", summary="Delete what a run has stored")
    def delete_run(
        run: str, force: Annotated[bool, Query(description="Also the target's last good run.")] = False
    ) -> dict[str, Any]:
        return schemas.run(sidecar.pruner.delete(sidecar.jobs.report(run), force=force))

    return routes


def shown(outcome: Outcome) -> dict[str, Any]:
    """What became of one run, or would."""
    verdict = outcome.verdict
    return {
        "run": verdict.run.id,
        "target": str(verdict.run.target),
        "time": rfc3339(verdict.run.time),
        "size": verdict.run.size,
        "series": series_of(verdict.run),
        "stays": verdict.stays,
        "rules": verdict.rules,
        "cause": verdict.cause,
        "deleted": outcome.deleted,
        "error": outcome.error.as_dict() if outcome.error else None,
    }
