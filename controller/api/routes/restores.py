"""Routes of restores: decide, start, watch, cancel."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict

from controller.api.idempotency import Idempotency
from controller.api.problems import Refused
from controller.api.target_keys import TargetKey
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.restore.plan import Asked
from controller.views import schemas
from controller.views.facade import Sidecar


class RestoreQuery(BaseModel):
    """What to restore and where to."""

    model_config = ConfigDict(extra="forbid")

    at: Annotated[AwareDatetime | None, Query(description="The newest good run that began by then.")] = None
    to: Annotated[str, Query(max_length=128, description="Name or id of another container in scope.")] = ""
    into: Annotated[str, Query(max_length=4096, description="Folder for files.")] = ""
    replace: Annotated[bool, Query(description="What is there may go, after a backup of it.")] = False
    in_place: Annotated[bool, Query(description="Files go where they came from.")] = False
    dry_run: Annotated[bool, Query(description="Only answer with the plan.")] = False

    def asked(self, key: Key, run: str) -> Asked:
        """Raises `Refused` for what contradicts itself."""
        if self.into and self.in_place:
            raise Refused(422, "bad-value", "`into` and `in_place` exclude each other.", hint="Give one of them.")
        if run and self.at:
            raise Refused(422, "bad-value", "`run` and `at` exclude each other.", hint="Give one of them.")
        return Asked(key, run, self.at, self.to, self.replace, self.in_place, self.into)


class TargetRestoreQuery(RestoreQuery):
    """The same for a target, whose run may be named."""

    run: Annotated[str, Query(max_length=64, description="Id of the run; the newest good one without.")] = ""


IdempotencyKey = Annotated[str, Header(max_length=255, description="The same key starts the same restore only once.")]


def restores(sidecar: Sidecar) -> APIRouter:
    """Restores of runs, into their target or another container."""
    routes, idempotency = APIRouter(tags=["restores"]), Idempotency()

    def begun(response: Response, asked: Asked, dry_run: bool, idempotency_key: str) -> dict[str, Any]:
        if dry_run:
            response.status_code = 200
            prepared = sidecar.restores.plan(asked)
            plan: dict[str, Any] = schemas.redacted(prepared.as_dict(), prepared.session.redact)
            return plan
        name = idempotency.run(idempotency_key, asked.key, lambda: sidecar.restores.start(asked).id)
        response.headers["Location"] = f"/v1/restores/{name}"
        return shown(sidecar.restores.report(name))

    @routes.post("/v1/targets/{key:path}/restore", status_code=202)
    def restore_target(
        response: Response,
        key: TargetKey,
        query: Annotated[TargetRestoreQuery, Query()],
        idempotency_key: IdempotencyKey = "",
    ) -> dict[str, Any]:
        return begun(response, query.asked(key, query.run), query.dry_run, idempotency_key)

    @routes.post("/v1/runs/{run}/restore", status_code=202)
    def restore_run(
        response: Response, run: str, query: Annotated[RestoreQuery, Query()], idempotency_key: IdempotencyKey = ""
    ) -> dict[str, Any]:
        key = sidecar.jobs.report(run).target
        return begun(response, query.asked(key, run), query.dry_run, idempotency_key)

    @routes.get("/v1/restores")
    def list_restores(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
        return {"restores": [shown(report) for report in sidecar.restores.list(limit)]}

    @routes.get("/v1/restores/{name}")
    def show_restore(name: str) -> dict[str, Any]:
        return shown(sidecar.restores.report(name))

    @routes.post("/v1/restores/{name}/cancel", status_code=202)
    def cancel_restore(name: str) -> dict[str, Any]:
        report = sidecar.restores.report(name)
        if report.final:
            raise Refused(409, "restore-has-ended", f"Restore {name} has ended: {report.state}.")
        return shown(sidecar.restores.cancel(name))

    return routes


def shown(report: Restoration) -> dict[str, Any]:
    return report.model_dump(mode="json") | {"key": str(report.target)}
