"""Routes about drills, and about the chain of proof that ends with one."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from controller.api.target_keys import TargetKey
from controller.views import proof, schemas
from controller.views.facade import Sidecar

RunId = Annotated[str, Query(max_length=64, description="Which run; by default the last good one.")]


def drills(sidecar: Sidecar) -> APIRouter:
    """Starting, asking, and the proof."""
    routes = APIRouter(tags=["drills"])

    @routes.post("/v1/targets/{key:path}/drills", status_code=202, summary="Rehearse a restore")
    def start_drill(request: Request, response: Response, key: TargetKey, run: RunId = "") -> dict[str, Any]:
        sidecar.target(key).demand_runnable()
        trigger = "cli" if request["server"][1] is None else "api"  # A unix socket has no port.
        drill = sidecar.drills.start(key, trigger, run or None)
        response.headers["Location"] = f"/v1/drills/{drill.id}"
        return schemas.drill(drill)

    @routes.get("/v1/drills/{drill}")
    def show_drill(drill: str) -> dict[str, Any]:
        return schemas.drill(sidecar.drills.get(drill))

    @routes.get("/v1/targets/{key:path}/proof", summary="When dumped, how proved, when restored, what was compared")
    def show_proof(key: TargetKey, run: RunId = "") -> dict[str, Any]:
        return proof.chain(sidecar, key, run or None)

    return routes
