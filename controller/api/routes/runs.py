"""Runs: list, show, cancel, verify, accept."""

from typing import Annotated

from fastapi import APIRouter, Query

from controller.api.callers import ADMIN, BACKUP, READ, Asking, demand_may_cancel
from controller.api.parameters import PageQuery
from controller.api.problems import Refused
from controller.backup.jobs import Jobs
from controller.core.run import State
from controller.storage import marks
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.storage.store import Store
from controller.upkeep.verifier import Verifier
from controller.views.schemas import RunView, View


class RunsQuery(PageQuery):
    """Which runs to list."""

    state: State | None = None


class RunList(View):
    """The newest first."""

    runs: tuple[RunView, ...]
    next: str | None
    """What `before` has to be for the next page; None on the last one."""


def run_routes(jobs: Jobs, catalog: Catalog, store: Store, leases: Leases, verifier: Verifier) -> APIRouter:
    routes = APIRouter(tags=["runs"])

    @routes.get("/v1/runs", dependencies=[READ])
    def list_runs(query: Annotated[RunsQuery, Query()]) -> RunList:
        states = [query.state] if query.state else ()
        page = jobs.page(query.key, states=states, before=query.before, limit=query.limit)
        return RunList(runs=tuple(map(RunView.of, page)), next=query.following(page))

    @routes.get("/v1/runs/{run}", dependencies=[READ])
    def show_run(run: str) -> RunView:
        return RunView.of(jobs.report(run))

    @routes.post("/v1/runs/{run}/cancel", dependencies=[BACKUP], status_code=202)
    def cancel_run(run: str, caller: Asking) -> RunView:
        job = jobs.job(run)
        if job is None:
            state = jobs.report(run).state
            raise Refused(409, "run-has-ended", f"Run {run} has ended: {state}.", run=run)
        demand_may_cancel(caller, f"Run {run}", job.report.by)
        job.cancel()
        return RunView.of(job.report)

    @routes.post(
        "/v1/runs/{run}/verify",
        dependencies=[BACKUP],
        summary="Re-read what a run has stored; answers when that is done",
    )
    def verify_run(run: str) -> RunView:
        return RunView.of(verifier.verify(jobs.report(run)))

    @routes.post(
        "/v1/runs/{run}/accept",
        dependencies=[ADMIN],
        summary="Take a suspicious run for good: the next is compared with it",
    )
    def accept_run(run: str) -> RunView:
        report = jobs.report(run)
        if not report.stored or not report.suspicious:
            state = "not suspicious" if report.stored else "pruned" if report.pruned else report.state
            raise Refused(409, "not-suspicious", f"Run {run} is {state}, so there is nothing to accept.", run=run)
        with leases.held(run):
            marks.write(store, report.target, run, "accepted", accepted=True)
            accepted = catalog.amend(run, accepted=True)
        return RunView.of(accepted)

    return routes
