"""The engine's version is negotiated, and anew when it is asked for; a refusal shows that somebody is there."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from controller.core.errors import EngineError, EngineLost
from controller.engine.client import Engine


class Played(ThreadingUnixStreamServer):
    """An engine that says which version it is, and answers a ping with `status` after `pause` seconds."""

    daemon_threads = True
    api, status, pause = "1.45", 200, 0.0


class Handler(BaseHTTPRequestHandler):
    server: Played

    def do_GET(self) -> None:
        time.sleep(self.server.pause)
        body = json.dumps({"Version": "1", "ApiVersion": self.server.api}).encode()
        self.send_response(self.server.status if self.path == "/_ping" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return ""

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    with Played(str(tmp_path / "engine.sock"), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield server
        server.shutdown()


@pytest.fixture
def engine(played: Played) -> Iterator[Engine]:
    found = Engine(f"unix://{played.server_address}")
    yield found
    found.close()


def test_an_engine_that_became_another_is_asked_for_its_version_again(played: Played, engine: Engine) -> None:
    assert engine.version().api == "1.45"
    played.api = "1.41"
    assert engine.version().api == "1.45"
    engine.renegotiate()
    assert engine.version().api == "1.41"


@pytest.mark.parametrize("status", [200, 403])
def test_any_answer_shows_that_the_engine_is_there(played: Played, engine: Engine, status: int) -> None:
    played.status = status
    engine.ping()


def test_an_engine_that_answers_500_is_not_well(played: Played, engine: Engine) -> None:
    played.status = 500
    with pytest.raises(EngineError, match="500"):
        engine.ping()


def test_an_engine_that_is_silent_is_not_waited_for(played: Played, engine: Engine) -> None:
    played.pause = 2.0
    with pytest.raises(EngineLost):
        engine.ping(0.2)
