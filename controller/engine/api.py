"""Ordinary requests to the engine, by docker-py; streams take only a fresh socket from here.

docker-py loses the head of an exec's output (docker-py #3332) and reads streams without a deadline, so no stream goes
through it.
"""

import http.client
import re
import socket
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.tls

from controller.core.errors import TargetGone
from controller.engine.address import Address
from controller.engine.context import ExecContext
from controller.engine.errors import refusal, translated
from controller.engine.models import EngineVersion, Inspected, Listed, NetworkInfo

REQUEST_SECONDS = 20.0
"""Seconds that an ordinary request may take."""
OWN_ID = re.compile(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)\b")


@dataclass(frozen=True, slots=True)
class ExecState:
    """What inspecting an exec tells."""

    running: bool
    code: int | None
    """None while it runs, and for an exec that the engine has forgotten."""
    pid: int
    """As the host numbers it; 0 when it never started."""
    known: bool = True
    """False: the engine answers 404, since it was restarted or the container removed."""


class Api:
    """One engine. Connects when it is first needed; thread-safe."""

    def __init__(self, address: str | None = None, *, pool: int = 32) -> None:
        self.address = Address.find(address)
        self._pool = pool
        self._lock = threading.Lock()
        self._client: Any = None

    def connect(self, timeout: float = REQUEST_SECONDS) -> socket.socket:
        """A socket of the caller's own to the engine."""
        with translated("connecting"):
            return self.address.connect(timeout)

    def http(self, timeout: float = REQUEST_SECONDS) -> http.client.HTTPConnection:
        """An HTTP connection of the caller's own, for answers that are read as they come; `timeout` is of each read."""
        connection = http.client.HTTPConnection("engine", timeout=timeout)
        connection.sock = self.connect(timeout)
        return connection

    def path(self, path: str) -> str:
        """The path under the negotiated version: `/v1.45/events`."""
        return f"/v{self.client.api_version}{path}"

    @property
    def client(self) -> Any:
        """docker-py's low-level client; made, and the version negotiated, at first use. Untyped, as docker-py is."""
        with self._lock, translated("negotiating the API version"):
            if self._client is None:
                # docker-py leaks a socket, and says less, when nobody listens.
                self.connect().close()
                self._client = docker.APIClient(
                    base_url=str(self.address).replace("unix://", "http+unix://"),
                    version="auto",
                    timeout=int(REQUEST_SECONDS),
                    num_pools=self._pool,
                    max_pool_size=self._pool,
                    tls=self._tls(),
                )
            return self._client

    def _tls(self) -> Any:
        folder = self.address.certificates
        if folder is None:
            return False
        pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
        return docker.tls.TLSConfig(client_cert=pair, ca_cert=str(folder / "ca.pem"), verify=True)

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def renegotiate(self) -> None:
        """Forget the negotiated version, since an engine that comes back may be another; requests under way go on."""
        with self._lock:
            self._client = None

    def ping(self, timeout: float) -> None:
        """The cheapest question whether the engine is there, by a connection of its own; a refusal is an answer.

        Raises `EngineError`.
        """
        with translated("asking whether it is there"), closing(self.http(timeout)) as connection:
            connection.request("GET", "/_ping")
            answer = connection.getresponse()
            if answer.status >= 500:
                raise refusal(answer.status, answer.read(4096).decode("utf-8", "replace"), "asking whether it is there")

    def version(self) -> EngineVersion:
        client = self.client
        with translated("asking for its version"):
            return EngineVersion(engine=client.version()["Version"], api=client.api_version)

    def containers(self) -> tuple[Listed, ...]:
        client = self.client
        with translated("listing containers"):
            return tuple(Listed.from_json(row) for row in client.containers(all=True))

    def networks(self) -> tuple[NetworkInfo, ...]:
        client = self.client
        with translated("listing networks"):
            return tuple(NetworkInfo(row["Id"], row["Name"], row.get("Labels") or {}) for row in client.networks())

    def inspect(self, container_id: str) -> Inspected:
        client = self.client
        with translated("inspecting the container", container_id):
            return Inspected.from_json(client.inspect_container(container_id))

    def own_container_id(self, mountinfo: Path = Path("/proc/self/mountinfo")) -> str | None:
        """From the files that the engine mounts into each container, else by the host name, which it sets to the id."""
        mounted = OWN_ID.search(mountinfo.read_text("utf-8", "replace")) if mountinfo.exists() else None
        name = mounted[1] if mounted else socket.gethostname()
        if not re.fullmatch(r"[0-9a-f]{12}|[0-9a-f]{64}", name):
            return None
        try:
            return self.inspect(name).id
        except TargetGone:
            return None

    def create_exec(self, context: ExecContext, argv: Sequence[str]) -> str:
        """Prepare an exec with all three streams and never a TTY; gives its id."""
        client = self.client
        with translated("preparing a command", context.container):
            answer = client.exec_create(
                context.container,
                list(argv),
                stdin=True,
                environment=context.variables,
                user=context.user,
                workdir=context.workdir or None,
            )
            return str(answer["Id"])

    def exec_state(self, exec_id: str) -> ExecState:
        client = self.client
        with translated("inspecting a command"):
            try:
                row = client.exec_inspect(exec_id)
            except docker.errors.NotFound:
                return ExecState(running=False, code=None, pid=0, known=False)
        return ExecState(bool(row.get("Running")), row.get("ExitCode"), int(row.get("Pid") or 0))
