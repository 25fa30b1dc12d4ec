"""What may be asked without a token, and tells nothing of what is backed up."""

from collections.abc import Callable

from fastapi import APIRouter

from controller.api.problems import Refused
from controller.upkeep.situation import Situation


def health_routes(alive: Callable[[], bool], watching: Callable[[], bool], situation: Situation) -> APIRouter:
    """`alive`: the loops live; `watching`: the list of containers is current."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="The program's loops live")
    async def healthz() -> dict[str, str]:
        if not alive():
            raise Refused(503, "not-alive", "A loop of this program has ended.", hint="Restart the sidecar.")
        return {"status": "ok"}

    @routes.get("/readyz", summary="The engine is being watched")
    async def readyz() -> dict[str, str]:
        if not watching():
            raise Refused(503, "not-ready", "The engine is not being watched.", hint="Its log says why.")
        return {"status": "ok"}

    @routes.get("/freshz", summary="Nothing is wrong, as `status` sees it")
    def freshz() -> dict[str, str]:
        if not situation.status().safe:
            hint = "`backup-sidecar status`, or `/v1/status` with the token, says what is wrong."
            raise Refused(503, "not-fresh", "Not every target is known to be safe.", hint=hint)
        return {"status": "ok"}

    return routes
