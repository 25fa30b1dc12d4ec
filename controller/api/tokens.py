"""Who may ask: on the network whoever has the bearer token, on the unix socket whoever can open it."""

import hmac
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from controller.api.problems import Refused
from controller.core.redaction import Redact

OPEN_PATHS = {"/healthz", "/readyz", "/freshz"}


class Authenticated:
    """Lets requests with the bearer token through, and those for health."""

    def __init__(self, app: ASGIApp, token: Callable[[], str], redact: Redact) -> None:
        self._app, self._token, self._redact = app, token, redact

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN_PATHS or self._is_known(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        hint = "Send `Authorization: Bearer <token>` with the sidecar's api.token."
        headers = {"WWW-Authenticate": 'Bearer realm="backup-sidecar"'}
        refused = Refused(401, "unauthorized", "This needs the sidecar's token.", hint=hint, headers=headers)
        await refused.response(self._redact)(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        expected = f"Bearer {self._token()}".encode()
        return hmac.compare_digest(f"{scheme.capitalize()} {token.strip()}".encode("latin-1"), expected)
