"""Restores: decide, start, watch, cancel."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict

from controller.api.callers import READ, RESTORE, Asking, Caller, demand_may_cancel
from controller.api.idempotency import Idempotency
from controller.api.parameters import IdempotencyKey, Page, TargetKey
from controller.api.problems import Refused
from controller.backup.jobs import Jobs
from controller.core.key import Key
from controller.restore.plan import RestoreOrder
from controller.restore.restores import Restores
from controller.views.restore_plan import RestorePlan
from controller.views.schemas import RestoreView, View, redacted

SEARCH_PATH = r'^$|^ *(?:[A-Za-z_][A-Za-z0-9_$]*|"[^"\x00\n]+")(?: *, *(?:[A-Za-z_][A-Za-z0-9_$]*|"[^"\x00\n]+"))* *$'
"""Names of schemas, which go into a statement as they are."""


class RestoreQuery(BaseModel):
    """What to restore and where to."""

    model_config = ConfigDict(extra="forbid")

    at: Annotated[AwareDatetime | None, Query(description="The newest good run that began by then.")] = None
    to: Annotated[str, Query(max_length=300, description="Another target's key, service or container in scope.")] = ""
    into: Annotated[str, Query(max_length=4096, description="Folder for files.")] = ""
    replace: Annotated[bool, Query(description="What is there may go, after a backup of it.")] = False
    in_place: Annotated[bool, Query(description="Files go where they came from, also where something is there.")] = (
        False
    )
    mirror: Annotated[
        bool, Query(description="`in_place` and `replace`, and what is there and not in the run is removed.")
    ] = False
    with_passwords: Annotated[
        bool, Query(description="Roles and accounts that exist get the run's passwords, too.")
    ] = False
    drop_first: Annotated[
        bool, Query(description="Where both do not fit: what is there is dropped before it is loaded.")
    ] = False
    without_safety_backup: Annotated[bool, Query(description="What is replaced is not backed up before.")] = False
    force: Annotated[bool, Query(description="MariaDB and MySQL: end the sessions that do not let go of a table.")] = (
        False
    )
    stop: Annotated[
        str, Query(max_length=4096, description="Services, between commas, whose containers are stopped for the while.")
    ] = ""
    accept_differences: Annotated[
        bool, Query(description="What was restored is kept, although it is not what was counted at the dump.")
    ] = False
    search_path: Annotated[
        str,
        Query(max_length=1000, pattern=SEARCH_PATH, description="PostgreSQL: the search path of the load, by commas."),
    ] = ""
    dry_run: Annotated[bool, Query(description="Only answer with the plan.")] = False

    def order(self, key: Key, run: str, caller: Caller) -> RestoreOrder:
        """Raises `Refused` for what contradicts itself."""
        if self.into and (self.in_place or self.mirror):
            name = "mirror" if self.mirror else "in_place"
            raise Refused(422, "bad-value", f"`into` and `{name}` exclude each other.", hint="Give one of them.")
        if run and self.at:
            raise Refused(422, "bad-value", "`run` and `at` exclude each other.", hint="Give one of them.")
        if self.drop_first and self.without_safety_backup:
            message = "`drop_first` and `without_safety_backup` exclude each other."
            raise Refused(422, "bad-value", message, hint="What is dropped first comes back from its backup only.")
        stop = tuple(filter(None, map(str.strip, self.stop.split(","))))
        given = self.model_dump(exclude={"run", "dry_run", "stop"})
        implied = {"in_place": True, "replace": True} if self.mirror else {}
        return RestoreOrder(key, run, stop=stop, by=str(caller), **given | implied)


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
        "dependencies": [RESTORE],
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
        caller: Asking,
        query: Annotated[TargetRestoreQuery, Query()],
        idempotency_key: IdempotencyKey = "",
    ) -> RestoreView | Response:
        return begun(response, query.order(key, query.run, caller), query.dry_run, idempotency_key)

    @routes.post("/v1/runs/{run}/restore", **start_route)
    def restore_run(
        response: Response,
        run: str,
        caller: Asking,
        query: Annotated[RestoreQuery, Query()],
        idempotency_key: IdempotencyKey = "",
    ) -> RestoreView | Response:
        return begun(response, query.order(jobs.report(run).target, run, caller), query.dry_run, idempotency_key)

    @routes.get("/v1/restores", dependencies=[READ])
    def list_restores(query: Page) -> RestoreList:
        page = restores.page(query.key, before=query.before, limit=query.limit)
        return RestoreList(restores=tuple(map(RestoreView.of, page)), next=query.following(page))

    @routes.get("/v1/restores/{name}", dependencies=[READ])
    def show_restore(name: str) -> RestoreView:
        return RestoreView.of(restores.report(name))

    @routes.post("/v1/restores/{name}/cancel", dependencies=[RESTORE], status_code=202)
    def cancel_restore(name: str, caller: Asking) -> RestoreView:
        running = restores.active(name)
        if running is None:
            raise Refused(409, "restore-has-ended", f"Restore {name} has ended: {restores.report(name).state}.")
        demand_may_cancel(caller, f"Restore {name}", running.report.by)
        running.cancel()
        return RestoreView.of(running.report)

    return routes
