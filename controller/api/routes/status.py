"""Whether everything is safe: for people, and for Prometheus."""

from collections.abc import Callable, Sequence
from datetime import datetime

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from config.problems import Problem
from controller.api.callers import READ
from controller.api.metrics import Metrics
from controller.core.key import Key
from controller.core.records import Time
from controller.core.redaction import Redact
from controller.storage.catalog import Catalog
from controller.targets.target import Target
from controller.upkeep.situation import Situation
from controller.views.schemas import DrillSummary, FreshnessView, ProblemView, StatusView, redacted
from controller.views.targets import last_good_drill


class TargetStatus(FreshnessView):
    """The same, when a restore was last rehearsed, and when the next run is due."""

    last_good_drill: DrillSummary | None
    next_due: Time | None
    timezone: str
    """Of its schedule."""


class FullStatus(StatusView):
    """The same, and what is wrong with the sidecar itself."""

    targets: tuple[TargetStatus, ...]
    problems: tuple[ProblemView, ...]


def status_routes(
    situation: Situation,
    catalog: Catalog,
    targets: Callable[[], Sequence[Target]],
    *,
    next_due: Callable[[Target], datetime | None],
    problems: Callable[[], Sequence[Problem]],
    redact: Redact,
    metrics: Metrics,
) -> APIRouter:
    routes = APIRouter(tags=["status"])

    @routes.get("/v1/status", dependencies=[READ], summary="Whether anything is wrong, and what")
    def show_status() -> FullStatus:
        status = situation.status()
        view = redacted(StatusView.of(status), redact)
        known = {str(target.key): target for target in targets()}
        shown = tuple(
            whole(one, known.get(str(fresh.key)), fresh.key)
            for one, fresh in zip(view.targets, status.targets, strict=True)
        )
        return FullStatus(**dict(view) | {"targets": shown}, problems=tuple(map(ProblemView.of, problems())))

    def whole(shown: FreshnessView, target: Target | None, key: Key) -> TargetStatus:
        settings = target.settings if target else None
        return TargetStatus(
            **dict(shown),
            last_good_drill=last_good_drill(catalog, key),
            next_due=next_due(target) if target else None,
            timezone=settings.timezone if settings else "UTC",
        )

    @routes.get("/metrics", dependencies=[READ], response_class=Response)
    def scrape() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes
