"""Ordinary requests to the engine, by docker-py; streams take only a fresh socket from here.

docker-py loses the head of an exec's output (docker-py #3332) and reads streams without a deadline, so no stream goes
through it.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import docker

from controller.core.errors import EngineError, ImageGone, TargetGone
from controller.engine import transport
from controller.engine.address import Address
from controller.engine.context import ExecContext
from controller.engine.errors import message_of, refusal, translated
from controller.engine.models import (
    EngineVersion,
    ExecState,
    Inspected,
    Listed,
    NetworkInfo,
    identifier,
    labels,
    text,
    value,
)
from controller.engine.transport import REQUEST_SECONDS, Connection, Patience

API_VERSION = re.compile(r"1\.[0-9]{1,3}")
OWN_ID = re.compile(r"/(?:[a-z]+-)?containers/([0-9a-f]{64})/(?:userdata/)?(?:hostname|hosts|resolv\.conf)\b")
"""Where Docker, and Podman, keep these files of each container."""


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

    def http(self, timeout: float = REQUEST_SECONDS, patience: Patience | None = None) -> Connection:
        """A connection of the caller's own; `timeout` is of each write and of the whole answer.

        With `patience`, which is asked before each read, the answer is a stream of any size.
        """
        return Connection(self.connect(timeout), timeout, patience)

    def path(self, path: str) -> str:
        """The path under the negotiated version: `/v1.45/events`."""
        return f"/v{self.client.api_version}{path}"

    @property
    def client(self) -> Any:
        """docker-py's low-level client; made, and the version negotiated, at first use. Untyped, as docker-py is."""
        with self._lock, translated("negotiating the API version"):
            if self._client is None:
                self._client = transport.client(self._negotiated(), self.connect, self._pool)
            return self._client

    def _negotiated(self) -> str:
        """The newest version of the API that the engine speaks."""
        with closing(self.http()) as connection:
            connection.request("GET", "/version")
            answer = connection.getresponse()
            if answer.status != 200:
                raise refusal(answer.status, message_of(answer.read(4096)), "negotiating the API version")
            version = text(json.loads(answer.read()), "ApiVersion")
        if not API_VERSION.fullmatch(version):
            raise ValueError(f"{version[:80]!r} is no version of the API")
        return version

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
                raise refusal(answer.status, message_of(answer.read(4096)), "asking whether it is there")

    def version(self) -> EngineVersion:
        client = self.client
        with translated("asking for its version"):
            return EngineVersion(engine=text(client.version(), "Version"), api=client.api_version)

    def containers(self) -> tuple[Listed, ...]:
        client = self.client
        with translated("listing containers"):
            return tuple(map(Listed.from_json, a_list(client.containers(all=True))))

    def networks(self) -> tuple[NetworkInfo, ...]:
        client = self.client
        with translated("listing networks"):
            return tuple(map(NetworkInfo.from_json, a_list(client.networks())))

    def inspect(self, container_id: str) -> Inspected:
        client = self.client
        with translated("inspecting the container", container_id):
            return Inspected.from_json(client.inspect_container(container_id))

    def image_labels(self, image_id: str) -> dict[str, str]:
        client = self.client
        with translated("asking for an image's labels"):
            try:
                return labels(value(client.inspect_image(image_id), "Config", dict))
            except (docker.errors.NotFound, docker.errors.NullResource):
                raise ImageGone(f"the engine has no image {image_id[:19]} any more", hint="Pull it again.") from None

    def demand_done(self, container_id: str, what: str, is_done: Callable[[Inspected], bool], seconds: float) -> None:
        """Wait so long until it is to be seen that the engine did what it says.

        Raises `EngineError` where it is not, `TargetGone`.
        """
        limit = time.monotonic() + seconds
        while not is_done(now := self.inspect(container_id)):
            if time.monotonic() > limit:
                message = f"the engine says that it did {what} container {now.name}, which is {now.status} all the same"
                raise EngineError(message, hint=f"Look at the engine's log; then `docker {what} {now.name}`.")
            time.sleep(0.05)

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
            made = client.exec_create(
                context.container,
                list(argv),
                stdin=True,
                environment=context.variables,
                user=context.user,
                workdir=context.workdir or None,
            )
            return identifier(made)

    def exec_state(self, exec_id: str) -> ExecState:
        client = self.client
        with translated("inspecting a command"):
            try:
                return ExecState.from_json(client.exec_inspect(exec_id))
            except docker.errors.NotFound:
                return ExecState(running=False, code=None, pid=0, known=False)


def a_list(answer: Any) -> list[Any]:
    """An answer that is a list. A null, which Go makes of an empty one, is none: there is always something."""
    if not isinstance(answer, list):
        raise TypeError(f"a list was asked for, and not {type(answer).__name__}")
    return answer
