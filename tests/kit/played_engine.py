"""An engine that answers whatever a test wants, byte by byte, on a unix socket."""

import contextlib
import gc
import json
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

VERSION = {"Version": "28.0.0", "ApiVersion": "1.48"}
ID = "0123456789abcdef" * 4
NETWORK = "fedcba9876543210" * 4
NETWORKS = [{"Id": NETWORK, "Name": "shop_app_internal", "Labels": {"com.docker.compose.network": "app_internal"}}]
LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "backup.enable": "true"} | {
    "backup.strategy": "filesystem",
    "backup.filesystem.paths": "/data",
}
LISTED = {
    "Id": ID,
    "Names": ["/shop-web-1"],
    "Image": "web",
    "ImageID": "sha256:1",
    "Labels": LABELS,
    "State": "running",
    "Created": 1,
    "NetworkSettings": {"Networks": {"shop_app_internal": {"NetworkID": NETWORK, "IPAddress": "10.0.0.2"}}},
    "Mounts": [{"Type": "volume", "Destination": "/data", "Name": "v", "Source": "/var/v"}],
}
INSPECTED = LISTED | {
    "Name": "/shop-web-1",
    "State": {"Status": "running", "Running": True, "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z", "Pid": 7},
    "Config": {"Image": "web", "Labels": LABELS, "Env": ["A=b"], "Cmd": ["web"]},
    "HostConfig": {"Tmpfs": {"/run": ""}, "AutoRemove": False, "Memory": 0},
}
EVENT = {"Type": "container", "Action": "start", "timeNano": 1} | {"Actor": {"ID": ID, "Attributes": {"name": "web"}}}
IMAGE = {"Id": "sha256:1", "Config": {"Labels": None}}
EXEC = {"ID": ID, "Running": False, "ExitCode": 0, "Pid": 9}

Bytes = bytes | Iterable[bytes]
Script = Callable[[str], Bytes]
"""From `GET /containers/json?all=1`, without the version, to everything that is sent."""


def answer(body: object, status: int = 200, *headers: str) -> bytes:
    """A whole answer; what is no bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (f"HTTP/1.1 {status} Some", "Connection: close", f"Content-Length: {len(content)}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + content


def well(request: str) -> bytes:
    """What a real one would answer, as far as discovery asks."""
    known = {"/version": VERSION, "/networks": NETWORKS, "/containers/json": [LISTED], "/events": EVENT}
    path = request.split()[1].partition("?")[0]
    if path == "/events":
        return b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(EVENT).encode() + b"\n"
    return answer(IMAGE if path.startswith("/images/") else known.get(path, INSPECTED))


class PlayedEngine(ThreadingUnixStreamServer):
    """Answers one request a connection, then closes it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path, script: Script = well) -> None:
        self.script = script
        super().__init__(str(path), Handler)

    @property
    def address(self) -> str:
        return f"unix://{self.server_address!s}"


class Handler(StreamRequestHandler):
    server: PlayedEngine

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # Who asks may go, also before a word.
            method, path, _ = self.rfile.readline().decode().split(" ")
            size = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                size = int(value) if name.lower() == b"content-length" else size
            self.rfile.read(size)
            version, slash, rest = path[1:].partition("/")
            sent = self.server.script(f"{method} {slash}{rest}" if version.startswith("v1.") else f"{method} {path}")
            for part in [sent] if isinstance(sent, bytes) else sent:
                self.wfile.write(part)


@contextmanager
def playing(folder: Path, script: Script = well) -> Iterator[PlayedEngine]:
    """Of an answer that contradicts itself urllib3 leaves the socket to the collector, which is no defect of a test."""
    with PlayedEngine(folder / "played.sock", script) as engine:
        threading.Thread(target=engine.serve_forever, args=(0.02,), daemon=True).start()
        yield engine
        engine.shutdown()
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()
