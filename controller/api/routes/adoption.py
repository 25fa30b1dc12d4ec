"""Taking in what was backed up elsewhere: bodies as large as backups, which only administrators may send."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, AwareDatetime
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from controller.api.callers import ADMIN
from controller.api.parameters import TargetKey, one_line
from controller.api.problems import refused
from controller.backup.adoption import Adopted, Adoption
from controller.core.errors import NotAdopted, SidecarError
from controller.core.records import Time
from controller.views.schemas import ErrorView, RunView, View

Answer = TypeVar("Answer")
Origin = Annotated[
    str, Query(min_length=1, max_length=200, description="Where it comes from."), AfterValidator(one_line)
]
Name = Annotated[str, Query(min_length=1, max_length=255, description="What the file is called.")]


class AdoptedRun(View):
    """What has become of one run that came along."""

    outcome: Literal["adopted", "known", "refused"]
    run: str = ""
    folder: str = ""
    """In the archive, of a run that was refused."""
    key: str = ""
    time: Time | None = None
    """When it was begun, as its manifest says."""
    size: int | None = None
    error: ErrorView | None
    """Why it was refused."""

    @classmethod
    def of(cls, shown: Adopted) -> "AdoptedRun":
        error = ErrorView.of(shown.error) if shown.error else None
        view = cls(outcome=shown.outcome, folder=shown.place, error=error)
        if (manifest := shown.manifest) is None:
            return view
        facts = {"run": manifest.run, "key": str(manifest.target), "time": manifest.started, "size": manifest.size}
        return view.model_copy(update=facts)


class AdoptionView(View):
    """By their folders' names."""

    runs: tuple[AdoptedRun, ...]


def adoption_routes(adoption: Adoption) -> APIRouter:
    routes = APIRouter(tags=["adoption"])

    @routes.post("/v1/adopt", dependencies=[ADMIN], summary="Take in runs of another store: the body is a tar of them")
    async def adopt_runs(request: Request, origin: Origin) -> AdoptionView:
        outcomes = await receiving(request, lambda chunks: adoption.runs(chunks, origin))
        return AdoptionView(runs=tuple(map(AdoptedRun.of, outcomes)))

    @routes.post(
        "/v1/targets/{key:path}/adopt", dependencies=[ADMIN], summary="Take in a bare file as a run of a target"
    )
    async def adopt_file(request: Request, key: TargetKey, origin: Origin, name: Name, made: AwareDatetime) -> RunView:
        report = await receiving(request, lambda chunks: adoption.file(key, chunks, name, made, origin))
        return RunView.of(report)

    return routes


async def receiving(request: Request, work: Callable[[Iterator[bytes]], Answer]) -> Answer:
    """What `work`, in a thread of its own, makes of the request's body."""
    loop, pieces = asyncio.get_running_loop(), request.stream()

    def chunks() -> Iterator[bytes]:
        try:
            while (piece := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not None:
                yield piece
        except ClientDisconnect:
            raise NotAdopted("the connection ended before everything had arrived") from None

    async def following() -> bytes | None:
        return await anext(pieces, None)

    try:
        return await run_in_threadpool(work, chunks())
    except SidecarError as error:
        answer = refused(error)
        answer.headers = {"Connection": "close"}  # What is still on its way is not waited for.
        raise answer from error
