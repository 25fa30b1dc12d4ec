"""Copies at other places: how they are, and what an administrator asks of a destination."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from config.fields import written
from controller.api.callers import ADMIN, BACKUP, READ
from controller.api.parameters import parsed
from controller.api.problems import Refused
from controller.core.copy import Copy
from controller.storage.copies.orders import Check, Checked, Hear, Heard, Prepare, Receive, Verified, Verify
from controller.upkeep.copier import Copier
from controller.upkeep.copy_worker import OrderFailed
from controller.upkeep.situation import Situation
from controller.views.schemas import CopyView, ErrorView, Keyed, View

ORDER_SECONDS, VERIFY_SECONDS = 60.0, 24 * 3600.0
TakeOver = Annotated[bool, Query(description="Also where another sidecar has written; that one stops.")]
Only = Annotated[str | None, Query(description="Key of the only target; else all.")]
ALL_BYTES = 1 << 62
MOST_RECEIPT, MOST_RECEIPTS = 64 << 10, 1000
"""Characters of one, and how many at a time."""


class CopyProgress(Keyed, Copy):
    """One run at one destination, while it is copied and afterwards."""


class DestinationView(View):
    """One place for copies."""

    name: str
    kind: str
    waiting: int
    """Runs that it lacks."""
    missed: int
    """Runs that were deleted here before they were copied."""
    kept: int
    """Copies that no rule keeps and the destination does; as of the last time that it was decided what goes."""
    lock: str | None
    """How long the destination keeps each copy at least, whoever wants it gone: `35d`."""
    delete: bool
    """Whether copies that no rule keeps are deleted there; else the destination sees to that."""
    current: CopyProgress | None
    failure: ErrorView | None
    """Why nothing can be copied there at the moment."""
    targets: tuple[CopyView, ...]


class CopiesView(View):
    """All of them, in the order of the file."""

    destinations: tuple[DestinationView, ...]


class Waiting(View):
    """How many runs a destination lacks now."""

    destination: str
    waiting: int


class Receipts(BaseModel):
    """What a rehearsal has printed."""

    receipts: Annotated[tuple[Annotated[str, Field(max_length=MOST_RECEIPT)], ...], Field(max_length=MOST_RECEIPTS)]


class Prepared(View):
    """A destination is this sidecar's."""

    destination: str


class CheckedView(View, Checked):
    """A destination takes and gives what a copy needs."""

    destination: str


def copy_routes(copier: Copier, situation: Situation) -> APIRouter:
    routes = APIRouter(tags=["copies"])

    @routes.get("/v1/copies", dependencies=[READ], summary="How fresh the copies at each destination are")
    def show_copies() -> CopiesView:
        copies = situation.status().copies
        return CopiesView(
            destinations=tuple(
                shown(name, [CopyView.of(each) for each in copies if each.destination == name])
                for name in copier.destinations
            )
        )

    def shown(name: str, targets: list[CopyView]) -> DestinationView:
        lane, settings = copier.lane(name), copier.destinations[name]
        return DestinationView(
            name=name,
            kind=settings.kind,
            kept=copier.kept(name),
            lock=written(settings.lock) if settings.lock else None,
            delete=settings.delete,
            waiting=len(copier.waiting(name)),
            missed=copier.missed(name),
            current=CopyProgress.of(lane.current) if lane.current else None,
            failure=ErrorView.of(lane.failure) if lane.failure else None,
            targets=tuple(targets),
        )

    @routes.post("/v1/copies/{destination}/send", dependencies=[BACKUP], summary="Try at once to copy what it lacks")
    def send(destination: str, key: Only = None) -> Waiting:
        lane = copier.lane(destination)
        lane.forgive()
        lane.work_if_due()
        only = parsed(key) if key else None
        waiting = [run for run in copier.waiting(destination) if only in (None, run.target)]
        return Waiting(destination=destination, waiting=len(waiting))

    @routes.post("/v1/copies/{destination}/prepare", dependencies=[ADMIN], summary="Make a place this sidecar's")
    def prepare(destination: str, take_over: TakeOver = False) -> Prepared:
        asked(copier, destination, Prepare(take_over=take_over), ORDER_SECONDS)
        copier.lane(destination).work_if_due()
        return Prepared(destination=destination)

    @routes.post("/v1/copies/{destination}/check", dependencies=[ADMIN], summary="Try all that a copy needs")
    def check(destination: str) -> CheckedView:
        found = Checked.model_validate(asked(copier, destination, Check(), ORDER_SECONDS))
        hear(copier, destination, Hear())
        copier.lane(destination).work_if_due()
        warnings = found.warnings
        if copier.destinations[destination].delete and not found.deletes:
            warnings += ("nothing can be deleted there: give the key that right, or set `delete: false`",)
        return CheckedView(destination=destination, **found.model_dump(exclude={"warnings"}), warnings=warnings)

    @routes.post("/v1/copies/{destination}/verify", dependencies=[BACKUP], summary="Read all of it again")
    def verify(destination: str) -> Verified:
        order = Verify(before=copier.now(), budget=ALL_BYTES)
        found = Verified.model_validate(asked(copier, destination, order, VERIFY_SECONDS))
        copier.verified(destination, found)
        hear(copier, destination, Hear())
        return found

    @routes.post("/v1/copies/{destination}/receipts", dependencies=[ADMIN], summary="Put receipts of rehearsals there")
    def receive(destination: str, brought: Receipts) -> Heard:
        return hear(copier, destination, Receive(receipts=brought.receipts))

    return routes


def hear(copier: Copier, destination: str, order: Hear | Receive) -> Heard:
    """Which copies there were rehearsed; raises as `asked`."""
    found = Heard.model_validate(asked(copier, destination, order, ORDER_SECONDS))
    copier.heard(destination, found)
    return found


def asked(copier: Copier, destination: str, order: BaseModel, seconds: float) -> Any:
    """What the worker answers; raises `Refused`, `SidecarError`."""
    try:
        return copier.lane(destination).ask(order, seconds)
    except OrderFailed as error:
        failure = error.failure
        raise Refused(503, failure.code, f"{failure.message}.", hint=failure.hint) from error
