"""Serves the API: with the token on the network, without it on a unix socket that only its owner can open."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn import Server as Uvicorn

from controller.api.exports import Exports
from controller.api.slow_clients import Limited, PatientProtocol
from controller.api.tokens import Authenticated
from controller.core.errors import CannotListen
from controller.core.redaction import Redact

PEER_TIMEOUT_SECONDS = 25
"""After which a peer that takes nothing, or is silently gone, is cut off."""
SHUTDOWN_GRACE_SECONDS = 5
"""That downloads get when the server stops."""


class Server:
    """One thread with one event loop for both sockets."""

    def __init__(
        self,
        application: ASGIApp,
        exports: Exports,
        address: tuple[str, int],
        socket: Path,
        *,
        token: Callable[[], str],
        redact: Redact,
    ) -> None:
        """`address` is the one on the network."""
        self.host, self.port = address
        self.socket, self._exports = socket, exports
        local = Limited(application, redact)
        network = Authenticated(local, token, redact)
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
        await asyncio.gather(
            *(server.serve([listener]) for server, listener in zip(self._servers, sockets, strict=True))
        )

    def _tcp(self) -> socket.socket:
        """Its options hold for every connection that it accepts (Linux copies them)."""
        try:
            listener = socket.create_server((self.host, self.port), family=family(self.host), backlog=128)
        except (OSError, OverflowError) as error:
            hint = "Set api.host and api.port to an address that is free."
            raise CannotListen(f"cannot listen on {self.host} port {self.port}: {error}", hint=hint) from error
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_SECONDS * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sets it on sockets of its own only.
        self.port = listener.getsockname()[1]
        return listener

    def _unix(self) -> socket.socket:
        """Bound and closed to others before it listens, so that nobody else ever gets in."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.unlink(missing_ok=True)
            listener.bind(str(self.socket))
            self.socket.chmod(0o600)
        except OSError as error:
            listener.close()
            hint = "Check that paths.workdir is writable and its path is below 90 characters."
            raise CannotListen(f"cannot listen on {self.socket}: {error}", hint=hint) from error
        return listener


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
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
    )
    return Uvicorn(config)


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
