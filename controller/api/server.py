"""Serves the API: with a token on the network, without it on a unix socket that only its owner can open."""

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn import Server as Uvicorn

from config.tokens import ApiToken
from controller.api.exports import Exports
from controller.api.refusals import Refusals
from controller.api.slow_clients import Limited, PatientProtocol, Unambiguous
from controller.api.tokens import Authenticated, Operators
from controller.core.errors import CannotListen
from controller.core.redaction import Redact

PEER_TIMEOUT_SECONDS = 25
"""After which a peer that takes nothing, or is silently gone, is cut off."""
MAX_CONNECTIONS = 256
"""At a time, on the network and on the unix socket each."""
BACKLOG = 128
"""Connections that wait to be accepted; asyncio tries as many times at once, also where no descriptor is left."""
FOLLOW_SECONDS = 0.2
"""Between two looks whether the addresses to listen on have changed."""
SHUTDOWN_GRACE_SECONDS = 5
"""That downloads get when the server stops."""


class Server:
    """One thread with one event loop, and two servers: one for all addresses, one for the unix socket."""

    def __init__(
        self,
        application: ASGIApp,
        exports: Exports,
        addresses: Callable[[], Sequence[str]],
        port: int,
        socket: Path,
        *,
        tokens: Callable[[], Sequence[ApiToken]],
        redact: Redact,
        refusals: Refusals,
    ) -> None:
        """`addresses` are those to listen on now, the first of which has to be there at the start."""
        self._addresses, self.port = addresses, port
        self.socket, self._exports = socket, exports
        limited = Limited(application, redact)
        network, local = Authenticated(limited, tokens, redact, refusals), Operators(limited)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = min(MAX_CONNECTIONS, descriptors // 4)  # The rest is for the engine, the store and the other server.
        self._protocol, self._refusals = partial(PatientProtocol, most, refusals), refusals
        self._servers = tuple(silent(Unambiguous(app, redact), self._protocol) for app in (network, local))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; returns once requests are answered. Raises `CannotListen`."""
        with ExitStack() as stack:
            first, *_ = self._addresses()
            sockets = [stack.enter_context(self._tcp(first)), stack.enter_context(self._unix())]
            serving = partial(asyncio.run, self._serve(first, sockets))
            self._thread = threading.Thread(target=serving, name="api", daemon=True)
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

    async def _serve(self, first: str, sockets: list[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._refusals.of_loop)
        serving = [server.serve([listener]) for server, listener in zip(self._servers, sockets, strict=True)]
        await asyncio.gather(*serving, self._follow(first))

    async def _follow(self, first: str) -> None:
        """Listen on the addresses of now, as they change, and on no others."""
        network, listening = self._servers[0], None
        while not network.should_exit:
            if network.started:
                listening = {first: network.servers[0]} if listening is None else listening
                await self._listen(network, listening)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _listen(self, network: Uvicorn, listening: dict[str, asyncio.Server]) -> None:
        wanted = self._addresses()
        for address in listening.keys() - set(wanted):
            listening[address].close()
            network.servers.remove(listening.pop(address))
        for address in wanted:
            if address not in listening:
                make = partial(self._protocol, network.config, network.server_state, {})
                try:
                    server = await asyncio.get_running_loop().create_server(make, sock=self._tcp(address))
                except CannotListen as error:
                    self._refusals.note("cannot-listen", address, error.message)
                else:
                    listening[address] = server
                    network.servers.append(server)

    def _tcp(self, host: str) -> socket.socket:
        """Its options hold for every connection that it accepts (Linux copies them)."""
        try:
            listener = socket.create_server((host, self.port), family=family(host), backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            hint = "Set api.host and api.port to an address that is free."
            raise CannotListen(f"cannot listen on {host} port {self.port}: {error}", hint=hint) from error
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


def silent(app: ASGIApp, protocol: partial[PatientProtocol]) -> Uvicorn:
    """A server that says nothing of its own: errors are logged where they happen."""
    config = Config(
        app,
        loop="asyncio",
        http=protocol,  # type: ignore[arg-type]  # Whatever makes a protocol.
        backlog=BACKLOG,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,  # Whoever asks would choose the address that is kept.
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
    )
    return Uvicorn(config)


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
