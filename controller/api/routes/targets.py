"""Targets, and starting their runs."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Response

from config.problems import Problem
from controller.api.callers import BACKUP, READ, Asking
from controller.api.idempotency import Idempotency
from controller.api.parameters import IdempotencyKey, TargetKey
from controller.backup.jobs import Job, Jobs
from controller.core.key import Key
from controller.targets.target import Target
from controller.views.schemas import ProblemView, RunView, View
from controller.views.targets import TargetSummary, TargetView, TargetViews


class TargetList(View):
    """By key, and what is wrong with the sidecar itself."""

    targets: tuple[TargetSummary, ...]
    problems: tuple[ProblemView, ...]


def target_routes(
    targets: Callable[[], Sequence[Target]],
    target: Callable[[Key], Target],
    *,
    views: TargetViews,
    jobs: Jobs,
    start: Callable[[Key, str, str], Job],
    problems: Callable[[], Sequence[Problem]],
) -> APIRouter:
    routes, idempotency = APIRouter(tags=["targets"]), Idempotency()

    @routes.get("/v1/targets", dependencies=[READ])
    def list_targets() -> TargetList:
        shown = tuple(map(ProblemView.of, problems()))
        return TargetList(targets=tuple(map(views.brief, targets())), problems=shown)

    @routes.post("/v1/targets/{key:path}/runs", dependencies=[BACKUP], status_code=202)
    def start_run(response: Response, key: TargetKey, caller: Asking, idempotency_key: IdempotencyKey = "") -> RunView:
        run = idempotency.run(idempotency_key, key, lambda: start(key, caller.trigger, str(caller)).report.id)
        response.headers["Location"] = f"/v1/runs/{run}"
        return RunView.of(jobs.report(run))

    @routes.get("/v1/targets/{key:path}", dependencies=[READ])
    def show_target(key: TargetKey) -> TargetView:
        return views.whole(target(key))

    return routes
