"""Who may ask: on the network whoever has a token, on the unix socket whoever can open it."""

import hmac
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from config.tokens import ApiToken
from controller.api.callers import OPERATOR, Caller
from controller.api.problems import Refused
from controller.api.refusals import Refusals
from controller.core.redaction import Redact

OPEN_PATHS = {"/healthz", "/readyz", "/freshz"}


class Authenticated:
    """Lets requests with a token through, as those of its caller, and those for health."""

    def __init__(
        self, app: ASGIApp, tokens: Callable[[], Sequence[ApiToken]], redact: Redact, refusals: Refusals
    ) -> None:
        self._app, self._tokens, self._redact, self._refusals = app, tokens, redact, refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = (scope.get("client") or ("unknown", 0))[0]
        token = self._known(Headers(scope=scope))
        if token is not None:
            scope["caller"] = Caller(token.name, token.role, address)
        if token is not None or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        self._refusals.note("unauthorized", address, f"{address} asked without a token that is known")
        hint = "Send `Authorization: Bearer <token>` with the sidecar's api.token."
        headers = {"WWW-Authenticate": 'Bearer realm="backup-sidecar"'}
        refused = Refused(401, "unauthorized", "This needs the sidecar's token.", hint=hint, headers=headers)
        await refused.response(self._redact)(scope, receive, send)

    def _known(self, headers: Headers) -> ApiToken | None:
        """Compares with every token, in a time that tells nothing of them."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = f"{scheme.capitalize()} {token.strip()}".encode("latin-1")
        matches = [each for each in self._tokens() if hmac.compare_digest(given, f"Bearer {each.value}".encode())]
        return matches[0] if matches else None


class Operators:
    """Every request is one of the operator."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "caller": OPERATOR}, receive, send)
