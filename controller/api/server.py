"""Serves the API: with the token on the network, without it on a unix socket that only its owner can open."""

import asyncio
import hmac
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn import Server as Uvicorn

from controller.api.application import build
from controller.api.exports import Exports
from controller.api.problems import Refused
from controller.api.slow_clients import PATIENCE, PatientProtocol
from controller.core.errors import CannotListen
from controller.core.redaction import Redact
from controller.views.facade import Sidecar

OPEN = {"/healthz", "/readyz", "/freshz"}
"""Paths that need no token."""
MOST_BODY = 64 << 10
"""Bytes of a request's body."""
GONE_AFTER = 25
"""Seconds after which a peer that takes nothing, or is silently gone, is cut off."""
GRACE = 5
"""Seconds that downloads get when the server stops."""


class Authenticated:
    """Lets requests with the bearer token through, and those for health."""

    def __init__(self, app: ASGIApp, token: Callable[[], str], redact: Redact) -> None:
        self._app, self._token, self._redact = app, token, redact

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN or self._is_known(Headers(scope=scope)):
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


class Limited:
    """Refuses large bodies, whether announced or not, and those that take too long to come."""

    def __init__(self, app: ASGIApp, redact: Redact) -> None:
        self._app, self._redact = app, redact

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        announced = Headers(scope=scope).get("content-length", "0")
        if len(announced) < 10 and int(announced) <= MOST_BODY:
            await self._app(scope, bounded(receive), send)
            return
        detail, hint = f"A body may have {MOST_BODY} bytes.", "Send less."
        # The rest of the body would be taken for the next request.
        refused = Refused(413, "too-large", detail, hint=hint, headers={"Connection": "close"})
        await refused.response(self._redact)(scope, receive, send)


def bounded(receive: Receive) -> Receive:
    """The same, for a body of at most `MOST_BODY` bytes whose pieces come within `PATIENCE`; raises `HTTPException`."""
    left, whole = MOST_BODY, False

    async def received() -> Message:
        nonlocal left, whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), PATIENCE)
        except TimeoutError:
            raise HTTPException(408) from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413)
        whole = not message.get("more_body", False)
        return message

    return received


class Server:
    """One thread with one event loop for both sockets."""

    def __init__(self, sidecar: Sidecar) -> None:
        loaded = sidecar.loaded
        self.host, self.port, self.socket = loaded.settings.api.host, loaded.settings.api.port, sidecar.socket
        self._exports = Exports(sidecar.targets, sidecar.start, sidecar.jobs, sidecar.store, sidecar.leases)
        local = Limited(build(sidecar, self._exports), sidecar.redact)
        network = Authenticated(local, lambda: sidecar.loaded.api_token, sidecar.redact)
        self._servers = (silent(network), silent(local))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; returns once requests are answered. Raises `CannotListen`."""
        with ExitStack() as stack:
            sockets = [stack.enter_context(self._tcp()), stack.enter_context(self._unix())]
            self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(sockets)), name="api", daemon=True)
            self._thread.start()
            while not all(server.started for server in self._servers):
                if not self._thread.is_alive():
                    raise CannotListen("the API ended while it started", hint="Please report it with this log.")
                time.sleep(0.005)
            stack.pop_all()

    def stop(self) -> None:
        """Refuse new requests, let running ones end for a few seconds, cut what is left."""
        if self._thread is None or self._loop is None:
            return
        with suppress(RuntimeError):  # The loop has ended by itself.
            self._loop.call_soon_threadsafe(self._exports.close)
        for server in self._servers:
            server.should_exit = True
        self._thread.join()
        self.socket.unlink(missing_ok=True)

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    async def _serve(self, sockets: list[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(server.serve([one]) for server, one in zip(self._servers, sockets, strict=True)))

    def _tcp(self) -> socket.socket:
        """Its options hold for every connection that it accepts (Linux copies them)."""
        try:
            found = socket.create_server((self.host, self.port), family=family(self.host), backlog=128)
        except (OSError, OverflowError) as error:
            hint = "Set api.host and api.port to an address that is free."
            raise CannotListen(f"cannot listen on {self.host} port {self.port}: {error}", hint=hint) from error
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER * 1000)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sets it on sockets of its own only.
        self.port = found.getsockname()[1]
        return found

    def _unix(self) -> socket.socket:
        """Bound and closed to others before it listens, so that nobody else ever gets in."""
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.unlink(missing_ok=True)
            found.bind(str(self.socket))
            self.socket.chmod(0o600)
        except OSError as error:
            found.close()
            hint = "Check that paths.workdir is writable and its path is below 90 characters."
            raise CannotListen(f"cannot listen on {self.socket}: {error}", hint=hint) from error
        return found


def silent(app: ASGIApp) -> Uvicorn:
    """A server that says nothing of its own: errors are logged where they happen."""
    config = Config(
        app,
        loop="asyncio",
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    return Uvicorn(config)


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
