"""What runs have stored: one artifact, a run, several runs as one export."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Request, Response

from controller.api.download import BYTES, PART, Delivery
from controller.api.exports import RETRY_AFTER, Exports
from controller.api.parameters import NamedTar
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


class ExportView(View):
    """Several runs as one export."""

    id: str
    state: str
    runs: tuple[RunView, ...]


def artifact_routes(
    jobs: Jobs, store: Store, leases: Leases, exports: Exports, *, bundle: Callable[[], bool]
) -> APIRouter:
    """`bundle`: always send a run as a tar."""
    routes = APIRouter(tags=["artifacts"])

    @routes.head("/v1/runs/{run}/artifacts", include_in_schema=False)
    @routes.get("/v1/runs/{run}/artifacts", response_class=Response, responses=BYTES | PART)
    def fetch_run(request: Request, run: str, named_tar: NamedTar) -> Response:
        return fetched(request, (run,), named_tar)

    @routes.head("/v1/runs/{run}/artifacts/{name}", include_in_schema=False)
    @routes.get("/v1/runs/{run}/artifacts/{name}", response_class=Response, responses=BYTES | PART)
    def fetch_artifact(request: Request, run: str, name: str) -> Response:
        report = fetchable(jobs.report(run))
        return Delivery(of_artifact(store, store.manifest(report.target, run), name), leases, request.headers)

    @routes.get("/v1/exports/{ids}", summary="Several runs as one export")
    def show_export(ids: str) -> ExportView:
        reports = [jobs.report(run) for run in listed(ids)]
        return ExportView(id=ids, state=together(reports), runs=tuple(map(RunView.of, reports)))

    @routes.head("/v1/exports/{ids}/artifacts", include_in_schema=False)
    @routes.get("/v1/exports/{ids}/artifacts", response_class=Response, responses=BYTES | PART)
    def fetch_export(request: Request, ids: str, named_tar: NamedTar) -> Response:
        return fetched(request, listed(ids), named_tar)

    def fetched(request: Request, runs: tuple[str, ...], named_tar: bool) -> Response:
        reports = [fetchable(jobs.report(run)) for run in runs]
        with leases.held(*runs):
            stored = [(report.target, report.id) for report in reports]
            answer = of_runs(store, stored, as_tar=named_tar or bundle())
        return Delivery(answer, leases, request.headers, on_sent=lambda: exports.delivered(runs))

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
