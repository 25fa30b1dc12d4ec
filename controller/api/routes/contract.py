"""Contract v1, which existing orchestrators speak, for all targets and for one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from config.fields import written
from controller.api.callers import BACKUP, READ, Asking
from controller.api.claims import Claim, Claims
from controller.api.download import BYTES, Delivery, echoed
from controller.api.exports import RETRY_AFTER, Export, Exports
from controller.api.parameters import Client, NamedTar, TargetKey
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
    def of(cls, export: Export) -> "Accepted":
        ids, older = ",".join(export.runs), ",".join(export.older)
        status = f"/v1/exports/{ids}" if older or "," in ids else f"/v1/runs/{ids}"
        download = f"{status}/artifacts"
        return cls(job_id=ids, status_url=status, download_url=f"{download}?older={older}" if older else download)


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """What a client of contract v1 may say; unknown parameters are left unread."""

    caller: Asking
    client: Client
    named_tar: NamedTar
    prefer: Annotated[str, Header(description="`respond-async`: answer 202 at once.")] = ""
    drive_folder_id: Annotated[str, Query(description="Comes back as X-Drive-Folder-Id.")] = ""

    @property
    def may_answer_later(self) -> bool:
        return "respond-async" in (item.split(";")[0].strip().lower() for item in self.prefer.split(","))


Asked = Annotated[ExportQuery, Depends()]
EXPORT_ROUTE: dict[str, Any] = {
    "dependencies": [BACKUP],
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
    claims: Claims,
    respond_within: Callable[[], timedelta],
    bundle: Callable[[], bool],
    came: Callable[[], None],
) -> APIRouter:
    """`respond_within`: after which a client that waits is asked to come back; `bundle`: always send a tar.

    `came` is told that somebody has fetched an export, which need not have begun a run.
    """
    routes = APIRouter(tags=["contract v1"])

    async def exported(key: Key | None, query: ExportQuery) -> Response:
        client, by, within, as_tar = (
            query.client,
            str(query.caller),
            respond_within().total_seconds(),
            query.named_tar or bundle(),
        )
        claim = claims.of(client, key)
        claimed = await exports.claimed(key, claim, as_tar=as_tar, by=by) if claim else None
        export, goes_on = claimed or (await exports.join(key, as_tar=as_tar, by=by), False)
        later = Accepted.of(export)
        if query.may_answer_later and not export.bundle.done() and not claimed:
            headers = {"Preference-Applied": "respond-async", "Location": later.status_url, "Retry-After": RETRY_AFTER}
            return JSONResponse(later.model_dump(), 202, headers)
        answer = await exports.answer(export, within)
        if answer is None:
            await run_in_threadpool(claims.enter, client, key, Claim.of(export.contents.reports))
            raise comes_later(later, export.slot_seconds)

        def sent() -> None:
            """A client whose backup takes longer than it may wait has to claim the next one, too."""
            exports.delivered(export.runs)
            is_owed = goes_on or (claimed and export.seconds > within)
            rest = Claim.of(export.contents.reports, delivered=True) if is_owed else None
            claims.settle(client, key, rest)
            came()

        headers = {"Content-Location": later.download_url} | echoed("X-Drive-Folder-Id", query.drive_folder_id)
        return Delivery(answer, leases, headers=headers, on_sent=sent)

    @routes.get("/backup/capabilities", dependencies=[READ], response_model_exclude_none=True)
    def capabilities() -> Capabilities:
        return estimated(catalog, targets())

    @routes.get("/targets/{key:path}/backup/capabilities", dependencies=[READ], response_model_exclude_none=True)
    def target_capabilities(key: TargetKey) -> Capabilities:
        return estimated(catalog, [target(key)])

    @routes.post("/backup/export", **EXPORT_ROUTE)
    async def export(query: Asked) -> Response:
        return await exported(None, query)

    @routes.post("/targets/{key:path}/backup/export", **EXPORT_ROUTE)
    async def target_export(key: TargetKey, query: Asked) -> Response:
        return await exported(key, query)

    return routes


def comes_later(later: Accepted, slot_seconds: float) -> Refused:
    """The answer to a client that has waited for long enough."""
    hint = "Ask again, or fetch download_url once status_url says that it succeeded."
    facts = later.model_dump() | {"run": later.job_id, "slot_seconds": round(slot_seconds, 1)}
    detail = f"The backup goes on; it has waited {written(timedelta(seconds=round(slot_seconds)))} for a slot."
    return Refused(503, "export-under-way", detail, hint=hint, headers={"Retry-After": RETRY_AFTER}, **facts)


def estimated(catalog: Catalog, targets: Sequence[Target]) -> Capabilities:
    """Of the targets that can run, one after the other."""
    able = [target for target in targets if target.state in ("ready", "pending")]
    types = sorted({target.strategy for target in able})
    good = [report for target in able if (report := catalog.last_good(target.key))]
    if not able or len(good) < len(able):
        return Capabilities(types=types)
    seconds, size = sum(report.seconds or 0 for report in good), sum(report.size or 0 for report in good)
    return Capabilities(types=types, est_seconds=ceil(seconds), est_size=size)
