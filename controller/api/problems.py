"""Says no: RFC 9457 problem details, whose `type` is the error's code."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loguru import logger
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from controller.core.copy_errors import DestinationError, UnknownDestination
from controller.core.errors import (
    Busy,
    ContainersForbidden,
    EngineError,
    InUse,
    LastGood,
    NoRoom,
    NotAdopted,
    NotEmpty,
    NotGone,
    Pinned,
    RestoreUnderWay,
    SidecarError,
    Stopping,
    StoreFull,
    TargetError,
    UnknownRestore,
    UnknownRun,
    UnknownTarget,
)
from controller.core.redaction import Redact
from controller.core.run import Report
from controller.views.schemas import View

MEDIA_TYPE = "application/problem+json"
STATUS: Mapping[type[SidecarError], int] = {
    UnknownTarget: 404,
    UnknownRun: 404,
    UnknownDestination: 404,
    Busy: 409,
    InUse: 409,
    LastGood: 409,
    Pinned: 409,
    NoRoom: 409,
    NotEmpty: 409,
    NotGone: 409,
    RestoreUnderWay: 409,
    UnknownRestore: 404,
    ContainersForbidden: 403,
    NotAdopted: 422,
    TargetError: 409,
    EngineError: 503,
    DestinationError: 503,
    Stopping: 503,
    StoreFull: 507,
    SidecarError: 500,
}
"""By error; a class that is not named here has its parent's."""
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
ROUTING = {
    404: ("unknown-route", "Nothing is at this address.", "`/openapi.json` lists what there is."),
    405: ("wrong-method", "This address does not know this method.", "The header Allow names those that it knows."),
    408: ("too-slow", "The request's body did not arrive in time.", "Send it in one piece."),
    413: ("too-large", "The request's body is too large.", "Send less."),
}


class ProblemDetails(View):
    """What is wrong, and what to do about it; further members are facts."""

    type: str
    """The error's code."""
    title: str
    status: int
    detail: str
    hint: str = ""
    """The next step."""
    run: str = ""
    """Id of the run that this is about."""


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What is wrong, and what to do about it.",
        "content": {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}},
    }
}


class Refused(Exception):
    """A request that is answered by a problem; `facts` become members of its body."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        **facts: object,
    ) -> None:
        self.status, self.code, self.detail, self.hint = status, code, detail, hint
        self.headers, self.facts = headers, facts
        super().__init__(detail)

    def response(self, redact: Redact) -> JSONResponse:
        """Redacted, since a message may quote what a target said."""
        body: dict[str, object] = {
            "type": self.code,
            "title": self.code.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": redact(self.detail),
        }
        hint = {"hint": redact(self.hint)} if self.hint else {}
        return JSONResponse(body | hint | self.facts, self.status, self.headers, media_type=MEDIA_TYPE)


def status_of(kind: type[SidecarError]) -> int:
    return next(STATUS[parent] for parent in kind.__mro__ if parent in STATUS)


def refused(error: SidecarError) -> Refused:
    """The answer to one of our own errors."""
    status = status_of(type(error))
    if isinstance(error, Busy):
        status_url = f"/v1/runs/{error.run}"
        return Refused(status, error.code, error.message, hint=error.hint, run=error.run, status_url=status_url)
    return Refused(status, error.code, error.message, hint=error.hint)


def run_failed(report: Report) -> Refused:
    """The answer where a run should have given an artifact and did not; always a 5xx, so that nobody stores it."""
    failure = report.failure
    code, message, hint = (failure.code, failure.message, failure.hint) if failure else (report.state, "", "")
    detail = f"run {report.id} of {report.target} {report.state}{': ' if message else ''}{message}"
    status_url = f"/v1/runs/{report.id}"
    return Refused(500, code, detail, hint=hint, run=report.id, target=str(report.target), status_url=status_url)


def answer_errors(app: FastAPI, routes: Sequence[BaseRoute], redact: Redact) -> None:
    """Make every error that a route can raise a problem."""

    async def by_refusal(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused | SidecarError)
        return (error if isinstance(error, Refused) else refused(error)).response(redact)

    async def by_routing(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code, detail, hint = ROUTING.get(error.status_code, ("refused", str(error.detail), ""))
        headers = {"Allow": ", ".join(methods(request, routes))} if error.status_code == 405 else error.headers
        return Refused(error.status_code, code, detail, hint=hint, headers=headers).response(redact)

    async def by_validation(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return Refused(422, "bad-value", "; ".join(map(explained, error.errors()))).response(redact)

    async def by_defect(request: Request, error: Exception) -> JSONResponse:
        logger.opt(exception=error).error("{} {} ended by a defect of this program", request.method, request.url.path)
        hint = "Please report it with the log of this program."
        closes = {"Connection": "close"}  # As the server does after such an error; else the next request would be lost.
        return Refused(500, "internal-error", "A defect of this program.", hint=hint, headers=closes).response(redact)

    for kind in (Refused, SidecarError):
        app.add_exception_handler(kind, by_refusal)
    app.add_exception_handler(HTTPException, by_routing)
    app.add_exception_handler(RequestValidationError, by_validation)
    app.add_exception_handler(Exception, by_defect)


def methods(request: Request, routes: Sequence[BaseRoute]) -> list[str]:
    """Every method of the request's address: each is a route of its own, with the same parameters in the address."""
    asked = {name: request.scope.get(name, "") for name in ("type", "path", "root_path")}
    answers = ((method, route.matches(asked | {"method": method})) for route in routes for method in METHODS)
    return sorted(
        {
            method
            for method, (match, found) in answers
            if match is Match.FULL and found["path_params"] == request.path_params
        }
    )


def explained(error: Mapping[str, Any]) -> str:
    """Where a value was wrong and why, without the value."""
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
