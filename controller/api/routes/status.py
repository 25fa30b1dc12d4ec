"""How far what is stored can be trusted: status, verifying a run, accepting a suspicious one."""

from typing import Any

from fastapi import APIRouter

from controller.api.problems import Refused
from controller.core.key import Key
from controller.storage import marks
from controller.views import schemas
from controller.views.facade import Sidecar


def trust(sidecar: Sidecar) -> APIRouter:
    routes = APIRouter(tags=["trust"])

    @routes.get("/v1/status", summary="Whether every target has a backup as young as was promised, and if not, why")
    def status() -> dict[str, Any]:
        found: dict[str, Any] = schemas.redacted(sidecar.expectations.status().as_dict(), sidecar.redact)
        for target in found["targets"]:
            target["last_good_drill"] = schemas.outcome(sidecar.drills.last_good(Key.parse(target["key"])))
        return found | {"problems": [problem.as_dict() for problem in sidecar.problems]}

    @routes.post("/v1/runs/{run}/verify", summary="Re-read what a run has stored; answers when that is done")
    def verify_run(run: str) -> dict[str, Any]:
        return schemas.run(sidecar.verifier.verify(sidecar.jobs.report(run)))

    @routes.post("/v1/runs/{run}/accept", summary="Take a suspicious run for good: the next is compared with it")
    def accept_run(run: str) -> dict[str, Any]:
        report = sidecar.jobs.report(run)
        if not report.stored or not report.suspicious:
            state = "not suspicious" if report.stored else "pruned" if report.pruned else report.state
            raise Refused(409, "not-suspicious", f"Run {run} is {state}, so there is nothing to accept.", run=run)
        with sidecar.leases.held(run):
            marks.write(sidecar.store, report.target, run, "accepted", accepted=True)
            accepted = report.model_copy(update={"accepted": True})
            sidecar.catalog.put(accepted)
        return schemas.run(accepted)

    return routes
