"""The routes, and nothing else: contract v1, which existing orchestrators speak, and the native API under `/v1`.

In an address a target's key stands as it is, `shop/db` or `shop/db/name`. Nothing here reads a request's body.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict

from controller.api.download import BYTES, PART, Delivery, echoed
from controller.api.exports import RETRY_AFTER, Exports
from controller.api.idempotency import Idempotency
from controller.api.metrics import Metrics
from controller.api.problems import DOCUMENTED, Refused, answer_errors, run_failed
from controller.api.routes import drills
from controller.api.routes.pruning import pruning
from controller.api.routes.restores import restores
from controller.api.routes.status import trust
from controller.api.target_keys import TargetKey, parsed
from controller.core.errors import Damaged, UnknownRun
from controller.core.key import Key
from controller.core.records import rfc3339
from controller.core.run import Report, State
from controller.storage.bundle import of_artifact, of_runs
from controller.targets.target import Target
from controller.upkeep.verifier import REMEDY
from controller.views import schemas
from controller.views.facade import Sidecar

MOST_IN_AN_EXPORT = 1000


class Capabilities(BaseModel):
    """What an export would give; the estimates are of the last good runs, and absent where there is none."""

    version: Literal["v1"] = "v1"
    types: list[str]
    est_seconds: int | None = None
    est_size: int | None = None


class Accepted(BaseModel):
    """Where an export that goes on can be asked about and fetched."""

    job_id: str
    status_url: str
    download_url: str


class RunsQuery(BaseModel):
    """Which runs to list."""

    model_config = ConfigDict(extra="forbid")

    target: str | None = None
    state: State | None = None
    limit: Annotated[int, Query(ge=1, le=1000)] = 50
    before: Annotated[str, Query(description="Id of the last run of the page before: its `next`.")] = ""


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """What a client of contract v1 may say; unknown parameters are left unread."""

    request: Request
    prefer: Annotated[str, Header(description="`respond-async`: answer 202 at once.")] = ""
    drive_folder_id: Annotated[str, Query(description="Comes back as X-Drive-Folder-Id.")] = ""

    @property
    def may_answer_later(self) -> bool:
        return "respond-async" in (item.split(";")[0].strip().lower() for item in self.prefer.split(","))


Export = Annotated[ExportQuery, Depends()]
IdempotencyKey = Annotated[str, Header(max_length=255, description="The same key starts the same run only once.")]


def build(sidecar: Sidecar, exports: Exports) -> FastAPI:
    """The application without authentication; `exports` is the caller's to close."""
    app = FastAPI(
        title="Backup sidecar",
        version=sidecar.version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=DOCUMENTED,
    )
    answer_errors(app, sidecar.redact)
    app.include_router(health(sidecar))
    bearer = [Depends(HTTPBearer(auto_error=False, description="The sidecar's token."))]
    guarded = (
        *(drills.drills(sidecar), contract(sidecar, exports), targets(sidecar), runs(sidecar, exports)),
        *(pruning(sidecar), restores(sidecar), trust(sidecar)),
    )
    for router in guarded:
        app.include_router(router, dependencies=bearer)
    return app


def health(sidecar: Sidecar) -> APIRouter:
    """What may be asked without a token, and tells nothing of what is backed up."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="The program's loops live")
    async def healthz() -> dict[str, str]:
        if not sidecar.alive:
            raise Refused(503, "not-alive", "A loop of this program has ended.", hint="Restart the sidecar.")
        return {"status": "ok"}

    @routes.get("/readyz", summary="The engine is being watched")
    async def readyz() -> dict[str, str]:
        if not sidecar.watching:
            raise Refused(503, "not-ready", "The engine is not being watched.", hint="Its log says why.")
        return {"status": "ok"}

    @routes.get("/freshz", summary="Every target has a backup as young as was promised")
    def freshz() -> dict[str, str]:
        if not sidecar.watching or not sidecar.expectations.status().safe:
            hint = "`backup-sidecar status`, or `/v1/status` with the token, says which target, and why."
            raise Refused(503, "not-fresh", "Not every target is known to be fresh.", hint=hint)
        return {"status": "ok"}

    return routes


def contract(sidecar: Sidecar, exports: Exports) -> APIRouter:
    """Contract v1, for all targets and for one."""
    routes = APIRouter(tags=["contract v1"])
    export_route: dict[str, Any] = {
        "summary": "Run a backup and send it",
        "response_class": Response,
        "responses": BYTES | {202: {"model": Accepted, "description": "Goes on; only on `Prefer: respond-async`."}},
    }

    async def exported(key: Key | None, query: ExportQuery) -> Response:
        export = await exports.join(key)
        later = Accepted(job_id=",".join(export.runs), **addresses(export.runs))
        if query.may_answer_later and not export.bundle.done():
            headers = {"Preference-Applied": "respond-async", "Location": later.status_url, "Retry-After": RETRY_AFTER}
            return JSONResponse(later.model_dump(), 202, headers)
        bundle = await exports.answer(export, sidecar.loaded.settings.api.respond_within.total_seconds())
        if bundle is None:
            hint = "Ask again, or fetch download_url once status_url says that it succeeded."
            facts = later.model_dump() | {"run": later.job_id}
            headers = {"Retry-After": RETRY_AFTER}
            raise Refused(503, "export-under-way", "The backup goes on.", hint=hint, headers=headers, **facts)
        headers = {"Content-Location": later.download_url} | echoed("X-Drive-Folder-Id", query.drive_folder_id)
        return Delivery(bundle, sidecar.leases, headers=headers, on_sent=lambda: exports.delivered(export.runs))

    @routes.get("/backup/capabilities", response_model_exclude_none=True)
    def capabilities() -> Capabilities:
        return estimated(sidecar, sidecar.targets())

    @routes.get("/targets/{key:path}/backup/capabilities", response_model_exclude_none=True)
    def target_capabilities(key: TargetKey) -> Capabilities:
        return estimated(sidecar, [sidecar.target(key)])

    @routes.post("/backup/export", **export_route)
    async def export(query: Export) -> Response:
        return await exported(None, query)

    @routes.post("/targets/{key:path}/backup/export", **export_route)
    async def target_export(key: TargetKey, query: Export) -> Response:
        return await exported(key, query)

    return routes


def targets(sidecar: Sidecar) -> APIRouter:
    """Targets, starting a run, metrics."""
    routes = APIRouter(tags=["targets"])
    idempotency, metrics = Idempotency(), Metrics(sidecar)

    @routes.get("/metrics", response_class=Response)
    def scrape() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/v1/targets")
    def list_targets() -> dict[str, Any]:
        return {"targets": [schemas.summary(sidecar, target) for target in sidecar.targets()]}

    @routes.post("/v1/targets/{key:path}/runs", status_code=202)
    def start_run(
        request: Request, response: Response, key: TargetKey, idempotency_key: IdempotencyKey = ""
    ) -> dict[str, Any]:
        trigger = "cli" if request["server"][1] is None else "api"  # A unix socket has no port.
        run = idempotency.run(idempotency_key, key, lambda: sidecar.start(key, trigger).report.id)
        response.headers["Location"] = f"/v1/runs/{run}"
        return schemas.run(sidecar.jobs.report(run))

    @routes.get("/v1/targets/{key:path}")
    def show_target(key: TargetKey) -> dict[str, Any]:
        return schemas.target(sidecar, sidecar.target(key))

    return routes


def runs(sidecar: Sidecar, exports: Exports) -> APIRouter:
    """Runs, and what they made."""
    routes = APIRouter(tags=["runs"])

    @routes.get("/v1/runs")
    def list_runs(query: Annotated[RunsQuery, Query()]) -> dict[str, Any]:
        key = parsed(query.target) if query.target else None
        live = {job.report.id: job.report for job in sidecar.jobs.active()}
        states = [query.state] if query.state else ()
        found = sidecar.catalog.runs(key, states=states, before=query.before, limit=query.limit)
        following = found[-1].id if len(found) == query.limit else None
        return {"runs": [schemas.run(live.get(report.id, report)) for report in found], "next": following}

    @routes.get("/v1/runs/{run}")
    def show_run(run: str) -> dict[str, Any]:
        return schemas.run(sidecar.jobs.report(run))

    @routes.post("/v1/runs/{run}/cancel", status_code=202)
    def cancel_run(run: str) -> dict[str, Any]:
        job = sidecar.jobs.job(run)
        if job is None:
            state = sidecar.jobs.report(run).state
            raise Refused(409, "run-has-ended", f"Run {run} has ended: {state}.", run=run)
        job.cancel()
        return schemas.run(job.report)

    @routes.head("/v1/runs/{run}/artifacts", include_in_schema=False)
    @routes.get("/v1/runs/{run}/artifacts", response_class=Response, responses=BYTES | PART)
    def fetch_run(request: Request, run: str) -> Response:
        return fetched(request, (run,))

    @routes.head("/v1/runs/{run}/artifacts/{name}", include_in_schema=False)
    @routes.get("/v1/runs/{run}/artifacts/{name}", response_class=Response, responses=BYTES | PART)
    def fetch_artifact(request: Request, run: str, name: str) -> Response:
        report = fetchable(sidecar, run)
        bundle = of_artifact(sidecar.store, sidecar.store.manifest(report.target, run), name)
        return Delivery(bundle, sidecar.leases, request.headers)

    @routes.get("/v1/exports/{ids}", summary="Several runs as one export")
    def show_export(ids: str) -> dict[str, Any]:
        reports = [sidecar.jobs.report(run) for run in listed(ids)]
        return {"id": ids, "state": together(reports), "runs": [schemas.run(report) for report in reports]}

    @routes.head("/v1/exports/{ids}/artifacts", include_in_schema=False)
    @routes.get("/v1/exports/{ids}/artifacts", response_class=Response, responses=BYTES | PART)
    def fetch_export(request: Request, ids: str) -> Response:
        return fetched(request, listed(ids))

    def fetched(request: Request, wanted: tuple[str, ...]) -> Response:
        reports = [fetchable(sidecar, run) for run in wanted]
        with sidecar.leases.held(*wanted):
            bundle = of_runs(sidecar.store, [(report.target, report.id) for report in reports])
        return Delivery(bundle, sidecar.leases, request.headers, on_sent=lambda: exports.delivered(wanted))

    return routes


def estimated(sidecar: Sidecar, found: Sequence[Target]) -> Capabilities:
    """Of the targets that can run, one after the other."""
    able = [target for target in found if target.state in ("ready", "pending")]
    types = sorted({target.strategy for target in able})
    good = [report for target in able if (report := sidecar.catalog.last_good(target.key))]
    if not able or len(good) < len(able):
        return Capabilities(types=types)
    seconds, size = sum(report.seconds or 0 for report in good), sum(report.size or 0 for report in good)
    return Capabilities(types=types, est_seconds=ceil(seconds), est_size=size)


def fetchable(sidecar: Sidecar, run: str) -> Report:
    """Raises `UnknownRun`, or `Refused` while there is nothing to fetch."""
    report = sidecar.jobs.report(run)
    if not report.final:
        detail, headers = f"Run {run} is {report.state}.", {"Retry-After": RETRY_AFTER}
        raise Refused(409, "run-in-progress", detail, hint="Ask again later.", headers=headers, run=run)
    if report.state != "succeeded":
        raise run_failed(report)
    if report.pruned:
        detail = f"The artifacts of run {run} were deleted at {rfc3339(report.pruned)}."
        raise Refused(410, "run-pruned", detail, hint="`/v1/runs` lists the runs; later ones have theirs.", run=run)
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
    found = tuple(dict.fromkeys(ids.split(",")))
    if len(found) > MOST_IN_AN_EXPORT:
        raise UnknownRun(f"{len(found)} runs are no export", hint=f"At most {MOST_IN_AN_EXPORT} go together.")
    return found


def addresses(found: Sequence[str]) -> dict[str, str]:
    """Where runs can be asked about and fetched."""
    place = f"/v1/runs/{found[0]}" if len(found) == 1 else f"/v1/exports/{','.join(found)}"
    return {"status_url": place, "download_url": f"{place}/artifacts"}
