"""What runs have stored: one artifact, a run, several runs as one export."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from controller.api.callers import READ
from controller.api.claims import Claims
from controller.api.download import BYTES, PART, Delivery
from controller.api.exports import RETRY_AFTER, Exports
from controller.api.parameters import Client, NamedTar
from controller.api.problems import Refused, run_failed
from controller.backup.jobs import Jobs
from controller.core.errors import Damaged, UnknownRun
from controller.core.records import rfc3339
from controller.core.run import Report
from controller.storage.bundle import of_artifact, of_runs
from controller.storage.leases import Leases
from controller.storage.store import Store
from controller.upkeep.verifier import REMEDY
from controller.views.schemas import RunView, View

MAX_RUNS_IN_EXPORT = 1000


@dataclass(frozen=True, slots=True)
class FetchQuery:
    """Who asks for whole runs, and in which form."""

    client: Client
    named_tar: NamedTar


Fetch = Annotated[FetchQuery, Depends()]
Older = Annotated[str, Query(description="Ids, with commas, of the runs that stand for stopped targets.")]


class ExportView(View):
    """Several runs as one export."""

    id: str
    state: str
    runs: tuple[RunView, ...]


def artifact_routes(
    jobs: Jobs, store: Store, leases: Leases, exports: Exports, *, claims: Claims, bundle: Callable[[], bool]
) -> APIRouter:
    """`bundle`: always send a run as a tar."""
    routes = APIRouter(tags=["artifacts"])

    @routes.head("/v1/runs/{run}/artifacts", dependencies=[READ], include_in_schema=False)
    @routes.get("/v1/runs/{run}/artifacts", dependencies=[READ], response_class=Response, responses=BYTES | PART)
    def fetch_run(request: Request, query: Fetch, run: str) -> Response:
        return fetched(request, query, (run,))

    @routes.head("/v1/runs/{run}/artifacts/{name}", dependencies=[READ], include_in_schema=False)
    @routes.get("/v1/runs/{run}/artifacts/{name}", dependencies=[READ], response_class=Response, responses=BYTES | PART)
    def fetch_artifact(request: Request, run: str, name: str) -> Response:
        report = fetchable(jobs.report(run))
        return Delivery(of_artifact(store, store.manifest(report.target, run), name), leases, request.headers)

    @routes.get("/v1/exports/{ids}", dependencies=[READ], summary="Several runs as one export")
    def show_export(ids: str) -> ExportView:
        reports = [jobs.report(run) for run in listed(ids)]
        return ExportView(id=ids, state=together(reports), runs=tuple(map(RunView.of, reports)))

    @routes.head("/v1/exports/{ids}/artifacts", dependencies=[READ], include_in_schema=False)
    @routes.get("/v1/exports/{ids}/artifacts", dependencies=[READ], response_class=Response, responses=BYTES | PART)
    def fetch_export(request: Request, query: Fetch, ids: str, older: Older = "") -> Response:
        return fetched(request, query, listed(ids), older.split(","))

    def fetched(request: Request, query: FetchQuery, runs: tuple[str, ...], older: Sequence[str] = ()) -> Response:
        reports = [fetchable(jobs.report(run)) for run in runs]
        with leases.held(*runs):
            stored = [(report.target, report.id) for report in reports]
            answer = of_runs(store, stored, as_tar=query.named_tar or bundle(), older=older)

        def sent() -> None:
            exports.delivered(runs)
            claims.fetched(query.client, runs)

        return Delivery(answer, leases, request.headers, on_sent=sent)

    return routes


def fetchable(report: Report) -> Report:
    """The same; raises `Refused`, `Damaged` where there is nothing to fetch."""
    run = report.id
    if not report.final:
        detail, headers = f"Run {run} is {report.state}.", {"Retry-After": RETRY_AFTER}
        raise Refused(409, "run-in-progress", detail, hint="Ask again later.", headers=headers, run=run)
    if report.state != "succeeded":
        raise run_failed(report)
    if report.pruned:
        detail = f"Run {run} was deleted at {rfc3339(report.pruned)}."
        back = f"`backup-sidecar undelete {run}` brings it back, and " if report.recoverable else ""
        raise Refused(410, "run-pruned", detail, hint=f"{back}`/v1/runs` lists the others.", run=run)
    if report.damaged:
        raise Damaged(f"run {run} is damaged: {report.damaged}", hint=REMEDY)
    return report


def together(reports: Sequence[Report]) -> str:
    """The state of several runs as if they were one."""
    if not all(report.final for report in reports):
        return "running"
    return next((report.state for report in reports if report.state != "succeeded"), "succeeded")


def listed(ids: str) -> tuple[str, ...]:
    """Run ids with commas between them; raises `UnknownRun` for too many."""
    runs = tuple(dict.fromkeys(ids.split(",")))
    if len(runs) > MAX_RUNS_IN_EXPORT:
        raise UnknownRun(f"{len(runs)} runs are no export", hint=f"At most {MAX_RUNS_IN_EXPORT} go together.")
    return runs
