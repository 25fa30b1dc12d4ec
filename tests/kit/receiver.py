"""A check as healthchecks.io has them: takes pings and remembers them. Also a program, which prints each as JSON."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Receiver(ThreadingHTTPServer):
    """`answer` decides status and body by the number of pings so far."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], take: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.pings: list[dict[str, Any]] = []
        self.answer: Callable[[int], tuple[int, str]] = lambda _: (200, "OK")
        self.take = take or self.pings.append
        super().__init__(address, Handler)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    @property
    def paths(self) -> list[str]:
        return [ping["path"] for ping in self.pings]

    def wait(self, count: int, seconds: float = 15) -> list[dict[str, Any]]:
        until = time.monotonic() + seconds
        while len(self.pings) < count:
            assert time.monotonic() < until, self.paths
            time.sleep(0.01)
        return self.pings


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        status, text = self.server.answer(len(self.server.pings))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.take({"path": url.path, "query": query, "body": body, "time": time.monotonic()})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None: ...


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver(("127.0.0.1", 0))
    thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()
        thread.join()


if __name__ == "__main__":
    Receiver(("", int(sys.argv[1])), lambda ping: print(json.dumps(ping), flush=True)).serve_forever()
