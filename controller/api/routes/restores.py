"""Restores: decide, start, watch, cancel."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict

from controller.api.idempotency import Idempotency
from controller.api.parameters import IdempotencyKey, Page, TargetKey
from controller.api.problems import Refused
from controller.backup.jobs import Jobs
from controller.core.key import Key
from controller.restore.plan import RestoreOrder
from controller.restore.restores import Restores
from controller.views.restore_plan import RestorePlan
from controller.views.schemas import RestoreView, View, redacted


class RestoreQuery(BaseModel):
    """What to restore and where to."""

    model_config = ConfigDict(extra="forbid")

    at: Annotated[AwareDatetime | None, Query(description="The newest good run that began by then.")] = None
    to: Annotated[str, Query(max_length=300, description="Another target's key, service or container in scope.")] = ""
    into: Annotated[str, Query(max_length=4096, description="Folder for files.")] = ""
    replace: Annotated[bool, Query(description="What is there may go, after a backup of it.")] = False
    in_place: Annotated[bool, Query(description="Files go where they came from.")] = False
    with_passwords: Annotated[
        bool, Query(description="Roles and accounts that exist get the run's passwords, too.")
    ] = False
    dry_run: Annotated[bool, Query(description="Only answer with the plan.")] = False

    def order(self, key: Key, run: str) -> RestoreOrder:
        """Raises `Refused` for what contradicts itself."""
        if self.into and self.in_place:
            raise Refused(422, "bad-value", "`into` and `in_place` exclude each other.", hint="Give one of them.")
        if run and self.at:
            raise Refused(422, "bad-value", "`run` and `at` exclude each other.", hint="Give one of them.")
        return RestoreOrder(key, run, self.at, self.to, self.replace, self.in_place, self.into, self.with_passwords)


class TargetRestoreQuery(RestoreQuery):
    """The same for a target, whose run may be named."""

    run: Annotated[str, Query(max_length=64, description="Id of the run; the newest good one without.")] = ""


class RestoreList(View):
    """The newest first."""

    restores: tuple[RestoreView, ...]
    next: str | None
    """What `before` has to be for the next page; None on the last one."""


def restore_routes(restores: Restores, jobs: Jobs) -> APIRouter:
    """Of runs, into their target or another container."""
    routes, idempotency = APIRouter(tags=["restores"]), Idempotency()
    start_route: dict[str, Any] = {
        "status_code": 202,
        "response_model": RestoreView,
        "responses": {200: {"model": RestorePlan, "description": "What would be done; only on `dry_run`."}},
    }

    def begun(response: Response, order: RestoreOrder, dry_run: bool, idempotency_key: str) -> RestoreView | Response:
        if dry_run:
            prepared = restores.plan(order)
            plan = redacted(RestorePlan.of(prepared), prepared.session.redact)
            return JSONResponse(plan.model_dump(mode="json", exclude_none=True))
        name = idempotency.run(idempotency_key, order.key, lambda: restores.start(order).id)
        response.headers["Location"] = f"/v1/restores/{name}"
        return RestoreView.of(restores.report(name))

    @routes.post("/v1/targets/{key:path}/restore", **start_route)
    def restore_target(
        response: Response,
        key: TargetKey,
        query: Annotated[TargetRestoreQuery, Query()],
        idempotency_key: IdempotencyKey = "",
    ) -> RestoreView | Response:
        return begun(response, query.order(key, query.run), query.dry_run, idempotency_key)

    @routes.post("/v1/runs/{run}/restore", **start_route)
    def restore_run(
        response: Response, run: str, query: Annotated[RestoreQuery, Query()], idempotency_key: IdempotencyKey = ""
    ) -> RestoreView | Response:
        return begun(response, query.order(jobs.report(run).target, run), query.dry_run, idempotency_key)

    @routes.get("/v1/restores")
    def list_restores(query: Page) -> RestoreList:
        page = restores.page(query.key, before=query.before, limit=query.limit)
        return RestoreList(restores=tuple(map(RestoreView.of, page)), next=query.following(page))

    @routes.get("/v1/restores/{name}")
    def show_restore(name: str) -> RestoreView:
        return RestoreView.of(restores.report(name))

    @routes.post("/v1/restores/{name}/cancel", status_code=202)
    def cancel_restore(name: str) -> RestoreView:
        running = restores.active(name)
        if running is None:
            raise Refused(409, "restore-has-ended", f"Restore {name} has ended: {restores.report(name).state}.")
        running.cancel()
        return RestoreView.of(running.report)

    return routes
