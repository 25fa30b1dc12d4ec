"""Drills, and the chain of proof that ends with one."""

from collections.abc import Callable

from fastapi import APIRouter, Response

from controller.api.callers import READ, RESTORE, Asking, demand_may_cancel
from controller.api.parameters import Page, RunId, TargetKey
from controller.api.problems import Refused
from controller.core.drill import Drill
from controller.core.errors import UnknownRun
from controller.core.key import Key
from controller.core.redaction import Redact
from controller.core.restoration import Restoration
from controller.drill.drills import Drills
from controller.storage.catalog import Catalog
from controller.storage.store import Store
from controller.targets.target import Target
from controller.views.proof import ProofView, chain
from controller.views.schemas import DrillView, View, redacted


class DrillList(View):
    """The newest first."""

    drills: tuple[DrillView, ...]
    next: str | None
    """What `before` has to be for the next page; None on the last one."""


def drill_routes(
    target: Callable[[Key], Target],
    drills: Drills,
    catalog: Catalog,
    store: Store,
    *,
    redact: Redact,
) -> APIRouter:
    routes = APIRouter(tags=["drills"])

    @routes.post("/v1/targets/{key:path}/drills", dependencies=[RESTORE], status_code=202, summary="Rehearse a restore")
    def start_drill(response: Response, key: TargetKey, caller: Asking, run: RunId = "") -> DrillView:
        target(key).runnable()
        drill = drills.start(key, caller.trigger, run or None, by=str(caller))
        response.headers["Location"] = f"/v1/drills/{drill.id}"
        return DrillView.of(drill)

    @routes.get("/v1/drills", dependencies=[READ])
    def list_drills(query: Page) -> DrillList:
        page = drills.page(query.key, before=query.before, limit=query.limit)
        return DrillList(drills=tuple(map(DrillView.of, page)), next=query.following(page))

    @routes.get("/v1/drills/{drill}", dependencies=[READ])
    def show_drill(drill: str) -> DrillView:
        return DrillView.of(drills.report(drill))

    @routes.post("/v1/drills/{drill}/cancel", dependencies=[RESTORE], status_code=202)
    def cancel_drill(drill: str, caller: Asking) -> DrillView:
        activity = drills.active(drill)
        if activity is None:
            raise Refused(409, "drill-has-ended", f"Drill {drill} has ended: {drills.report(drill).state}.")
        demand_may_cancel(caller, f"Drill {drill}", activity.report.by)
        activity.cancel()
        return DrillView.of(activity.report)

    @routes.get(
        "/v1/targets/{key:path}/proof",
        dependencies=[READ],
        summary="When dumped, how proved, when restored, what was compared",
    )
    def show_proof(key: TargetKey, run: RunId = "") -> ProofView:
        manifest = store.manifest(key, run or newest(key))
        drill, restored = catalog.last_of(Drill, manifest.run), catalog.last_of(Restoration, manifest.run)
        proof = chain(manifest, drill, restored, origin=catalog.get(manifest.run).origin)
        return redacted(proof, redact)

    def newest(key: Key) -> str:
        good = catalog.last_good(key)
        if good is None:
            raise UnknownRun(f"{key} has no good run", hint="Back it up first.")
        return good.id

    return routes
