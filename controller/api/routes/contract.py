"""Contract v1, which existing orchestrators speak, for all targets and for one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from controller.api.download import BYTES, Delivery, echoed
from controller.api.exports import RETRY_AFTER, Exports
from controller.api.parameters import NamedTar, TargetKey
from controller.api.problems import Refused
from controller.core.key import Key
from controller.storage.catalog import Catalog
from controller.storage.leases import Leases
from controller.targets.target import Target


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

    @classmethod
    def of(cls, runs: Sequence[str]) -> "Accepted":
        ids = ",".join(runs)
        status = f"/v1/runs/{ids}" if len(runs) == 1 else f"/v1/exports/{ids}"
        return cls(job_id=ids, status_url=status, download_url=f"{status}/artifacts")


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """What a client of contract v1 may say; unknown parameters are left unread."""

    request: Request
    named_tar: NamedTar
    prefer: Annotated[str, Header(description="`respond-async`: answer 202 at once.")] = ""
    drive_folder_id: Annotated[str, Query(description="Comes back as X-Drive-Folder-Id.")] = ""

    @property
    def may_answer_later(self) -> bool:
        return "respond-async" in (item.split(";")[0].strip().lower() for item in self.prefer.split(","))


Export = Annotated[ExportQuery, Depends()]
EXPORT_ROUTE: dict[str, Any] = {
    "summary": "Run a backup and send it",
    "response_class": Response,
    "responses": BYTES | {202: {"model": Accepted, "description": "Goes on; only on `Prefer: respond-async`."}},
}


def contract_routes(
    targets: Callable[[], Sequence[Target]],
    target: Callable[[Key], Target],
    catalog: Catalog,
    leases: Leases,
    exports: Exports,
    *,
    respond_within: Callable[[], timedelta],
    bundle: Callable[[], bool],
) -> APIRouter:
    """`respond_within`: after which a client that waits is asked to come back; `bundle`: always send a tar."""
    routes = APIRouter(tags=["contract v1"])

    async def exported(key: Key | None, query: ExportQuery) -> Response:
        export = await exports.join(key, as_tar=query.named_tar or bundle())
        later = Accepted.of(export.runs)
        if query.may_answer_later and not export.bundle.done():
            headers = {"Preference-Applied": "respond-async", "Location": later.status_url, "Retry-After": RETRY_AFTER}
            return JSONResponse(later.model_dump(), 202, headers)
        answer = await exports.answer(export, respond_within().total_seconds())
        if answer is None:
            hint = "Ask again, or fetch download_url once status_url says that it succeeded."
            facts = later.model_dump() | {"run": later.job_id}
            headers = {"Retry-After": RETRY_AFTER}
            raise Refused(503, "export-under-way", "The backup goes on.", hint=hint, headers=headers, **facts)
        headers = {"Content-Location": later.download_url} | echoed("X-Drive-Folder-Id", query.drive_folder_id)
        return Delivery(answer, leases, headers=headers, on_sent=lambda: exports.delivered(export.runs))

    @routes.get("/backup/capabilities", response_model_exclude_none=True)
    def capabilities() -> Capabilities:
        return estimated(catalog, targets())

    @routes.get("/targets/{key:path}/backup/capabilities", response_model_exclude_none=True)
    def target_capabilities(key: TargetKey) -> Capabilities:
        return estimated(catalog, [target(key)])

    @routes.post("/backup/export", **EXPORT_ROUTE)
    async def export(query: Export) -> Response:
        return await exported(None, query)

    @routes.post("/targets/{key:path}/backup/export", **EXPORT_ROUTE)
    async def target_export(key: TargetKey, query: Export) -> Response:
        return await exported(key, query)

    return routes


def estimated(catalog: Catalog, targets: Sequence[Target]) -> Capabilities:
    """Of the targets that can run, one after the other."""
    able = [target for target in targets if target.state in ("ready", "pending")]
    types = sorted({target.strategy for target in able})
    good = [report for target in able if (report := catalog.last_good(target.key))]
    if not able or len(good) < len(able):
        return Capabilities(types=types)
    seconds, size = sum(report.seconds or 0 for report in good), sum(report.size or 0 for report in good)
    return Capabilities(types=types, est_seconds=ceil(seconds), est_size=size)
