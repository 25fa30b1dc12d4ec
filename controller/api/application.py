"""The application, put together from its routes: contract v1 and the native API under `/v1`.

In an address a target's key stands as it is, `shop/db` or `shop/db/name`. Only the routes of
adoption read a request's body.
"""

from collections.abc import Iterable

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer

from controller.api.callers import role_of
from controller.api.problems import DOCUMENTED, answer_errors
from controller.core.redaction import Redact


def build(version: str, health: APIRouter, guarded: Iterable[APIRouter], redact: Redact) -> FastAPI:
    """All of it; each guarded route says which role it needs, and the document says so too. Raises ValueError."""
    app = FastAPI(
        title="Backup sidecar",
        version=version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=DOCUMENTED,
    )
    routers = tuple(guarded)
    answer_errors(app, [*app.routes, *health.routes, *(route for router in routers for route in router.routes)], redact)
    app.include_router(health)
    bearer = [
        Depends(HTTPBearer(auto_error=False, description="A token of the sidecar; `x-role` says which role it needs."))
    ]
    for router in routers:
        for route in router.routes:
            route.openapi_extra = {"x-role": role_of(route)}  # type: ignore[attr-defined]
        app.include_router(router, dependencies=bearer)
    return app
