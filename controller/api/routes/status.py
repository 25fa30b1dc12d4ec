"""Whether everything is safe: for people, and for Prometheus."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from config.problems import Problem
from controller.api.metrics import Metrics
from controller.core.redaction import Redact
from controller.storage.catalog import Catalog
from controller.upkeep.expectations import Expectations
from controller.views.schemas import DrillSummary, FreshnessView, ProblemView, StatusView, redacted
from controller.views.targets import last_good_drill


class DrilledFreshness(FreshnessView):
    """The same, and when a restore was last rehearsed."""

    last_good_drill: DrillSummary | None


class FullStatus(StatusView):
    """The same, and what is wrong with the sidecar itself."""

    targets: tuple[DrilledFreshness, ...]
    problems: tuple[ProblemView, ...]


def status_routes(
    expectations: Expectations,
    catalog: Catalog,
    problems: Callable[[], Sequence[Problem]],
    redact: Redact,
    metrics: Metrics,
) -> APIRouter:
    routes = APIRouter(tags=["status"])

    @routes.get("/v1/status", summary="Whether every target has a backup as young as was promised, and if not, why")
    def show_status() -> FullStatus:
        status = expectations.status()
        view = redacted(StatusView.of(status), redact)
        targets = tuple(
            DrilledFreshness(**dict(shown), last_good_drill=last_good_drill(catalog, verdict.key))
            for shown, verdict in zip(view.targets, status.targets, strict=True)
        )
        return FullStatus(**dict(view) | {"targets": targets}, problems=tuple(map(ProblemView.of, problems())))

    @routes.get("/metrics", response_class=Response)
    def scrape() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes
