"""Where the engine listens and how to open a socket to it; apart, for streams need a socket of their own."""

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from controller.core.errors import EngineError

DEFAULT = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Address:
    """An engine's address: a unix socket's path, or host and port, the latter perhaps with TLS."""

    path: str = ""
    host: str = ""
    port: int = 0
    certificates: Path | None = None
    """Folder with `ca.pem`, `cert.pem` and `key.pem`, as DOCKER_CERT_PATH has it; None without TLS."""

    @classmethod
    def find(cls, text: str | None = None, environment: Mapping[str, str] = os.environ) -> "Address":
        """From the text, else DOCKER_HOST, else the unix socket. Raises `EngineError` for other kinds."""
        text = text or environment.get("DOCKER_HOST") or DEFAULT
        if text.startswith("/"):
            return cls(path=text)
        parts = urlsplit(text)
        if parts.scheme == "unix" and parts.path:
            return cls(path=parts.path)
        if parts.scheme not in ("tcp", "http", "https") or not parts.hostname:
            raise EngineError(
                f"cannot use the engine address {text!r}",
                hint="Use unix:///path/to/docker.sock or tcp://host:port.",
            )
        secure = parts.scheme == "https" or bool(environment.get("DOCKER_TLS_VERIFY"))
        folder = environment.get("DOCKER_CERT_PATH") or str(Path.home() / ".docker")
        return cls(
            host=parts.hostname,
            port=parts.port or (2376 if secure else 2375),
            certificates=Path(folder) if secure else None,
        )

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificates else 'tcp'}://{host}:{self.port}"

    def connect(self, timeout: float) -> socket.socket:
        """A new connection, for one owner. Raises `OSError`; `timeout` is in seconds and stays set on the socket."""
        if self.path:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(timeout)
                connection.connect(self.path)
            except OSError:
                connection.close()
                raise
            return connection
        connection = socket.create_connection((self.host, self.port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.certificates is None:
            return connection
        try:
            return self._tls(self.certificates).wrap_socket(connection, server_hostname=self.host)
        except OSError:
            connection.close()
            raise

    @staticmethod
    def _tls(folder: Path) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return context
