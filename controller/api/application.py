"""The application, put together from its routes: contract v1 and the native API under `/v1`.

In an address a target's key stands as it is, `shop/db` or `shop/db/name`. No route reads a request's body.
"""

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from controller.api.exports import Exports
from controller.api.metrics import Metrics
from controller.api.problems import DOCUMENTED, answer_errors
from controller.api.routes.artifacts import artifact_routes
from controller.api.routes.contract import contract_routes
from controller.api.routes.drills import drill_routes
from controller.api.routes.health import health_routes
from controller.api.routes.pruning import prune_routes
from controller.api.routes.restores import restore_routes
from controller.api.routes.runs import run_routes
from controller.api.routes.status import status_routes
from controller.api.routes.targets import target_routes
from controller.views.facade import Sidecar
from controller.views.targets import TargetViews


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
    app.include_router(health_routes(lambda: sidecar.alive, lambda: sidecar.watching, sidecar.expectations))
    views = TargetViews(lambda: sidecar.loaded.secrets, sidecar.catalog, sidecar.expectations, sidecar.next_due)
    metrics = Metrics(
        sidecar.targets,
        sidecar.catalog,
        sidecar.expectations,
        sidecar.events,
        next_due=sidecar.next_due,
        problems=lambda: sidecar.problems,
        pings=sidecar.ping_counts,
        reconnects=lambda: sidecar.reconnects,
    )
    guarded = (
        drill_routes(sidecar.target, sidecar.drills, sidecar.catalog, sidecar.store, redact=sidecar.redact),
        contract_routes(
            sidecar.targets,
            sidecar.target,
            sidecar.catalog,
            sidecar.leases,
            exports,
            respond_within=lambda: sidecar.loaded.settings.api.respond_within,
        ),
        target_routes(sidecar.targets, sidecar.target, views, sidecar.jobs, sidecar.start),
        run_routes(sidecar.jobs, sidecar.catalog, sidecar.store, sidecar.leases, sidecar.verifier),
        artifact_routes(sidecar.jobs, sidecar.store, sidecar.leases, exports),
        prune_routes(sidecar.targets, sidecar.target, sidecar.pruner, sidecar.jobs),
        restore_routes(sidecar.restores, sidecar.jobs),
        status_routes(sidecar.expectations, sidecar.catalog, lambda: sidecar.problems, sidecar.redact, metrics),
    )
    bearer = [Depends(HTTPBearer(auto_error=False, description="The sidecar's token."))]
    for router in guarded:
        app.include_router(router, dependencies=bearer)
    return app
