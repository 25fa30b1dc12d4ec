#!/usr/bin/env python3
"""A reference orchestrator: takes the leases of backup sidecars, shows the fleet, pulls backups, keeps good ones.

    PUT, DELETE /v1/sidecars/{id}                 a sidecar's signed heartbeat, and its farewell
    GET         /fleet                            who is there, as JSON
    GET         /                                 the same for people
    POST        /sidecars/{id}/backup?target=KEY  have a backup made, and keep it (contract v1)
    GET         /backups                          what is kept

It needs nothing but Python's standard library, and nothing of the sidecar's code: all that the two share goes over the
wire. All but heartbeats needs ORCHESTRATOR_TOKEN: as `Authorization: Bearer ...`, or as the password of any user.

SIDECARS          a file: {"<id>": {"key": "...", "token": "..."}}, with a key of its own for each sidecar
ORCHESTRATOR_KEY, SIDECAR_TOKEN   the same for one sidecar without an entry: the key is that of the first one that comes
ORCHESTRATOR_TOKEN   else one is made, in BACKUPS/state/token      HOSTS   names of this server, with commas
BACKUPS              folder (/backups)                             PORT    5550
"""

import json
import os
import re
import signal
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from access import Door, Sidecar, Sidecars, Verifier, page_token, written
from backups import Backups, Json, Refused, number, utc
from page import page

SCHEMA = 1
LONGEST_LEASE, REMEMBERED = 3600, 86400
"""Seconds that a lease may hold, and that a lost sidecar is still shown."""
MOST_BODY = 8 << 20
NAMES = ("ORCHESTRATOR_KEY", "SIDECAR_TOKEN")
HISTORY = 50
"""Ended runs that are shown of a sidecar."""
NEEDED = {"url", "versions", "lease", "targets", "running", "problems"}
NEEDED_OF_TARGET = {"key", "state", "strategy", "problems"}
"""What a heartbeat has to hold, and each of its targets."""


class Fleet:
    """The sidecars, each with its last heartbeat. Kept in memory: the next heartbeats tell everything again."""

    def __init__(self) -> None:
        self._sidecars: dict[str, Json] = {}
        self._lock = threading.Lock()

    def renew(self, sidecar: str, beat: Json, sender: str, url: str) -> Json:
        """Take a heartbeat; gives the answer to it. Raises `Refused`.

        `url` is where the operator says that it is reached; without that, it is only reached where it speaks from.
        """
        if beat.get("schema") != SCHEMA:
            raise Refused(422, f"schema {beat.get('schema')} is not known here, only {SCHEMA}")
        if beat.get("id") != sidecar:
            raise Refused(422, "the heartbeat is of another sidecar than its address")
        for part, needed in [(beat, NEEDED), *((target, NEEDED_OF_TARGET) for target in beat["targets"])]:
            if missing := needed - part.keys():
                raise Refused(422, f"the heartbeat lacks {', '.join(sorted(missing))}")
        if not url and beat["url"] and urllib.parse.urlsplit(beat["url"]).hostname != sender:
            raise Refused(422, f"it announces {beat['url']}, and speaks from {sender}: name its url in SIDECARS")
        beat["url"] = url or beat["url"]
        seconds = min(max(float(beat["lease"]["ttl_seconds"]), 1.0), LONGEST_LEASE)
        with self._lock:
            known = self._sidecars.get(sidecar, {})
            history = {run["id"]: run for run in [*known.get("history", ()), *beat.pop("ended", ())]}
            self._sidecars[sidecar] = beat | {
                "history": list(history.values())[-HISTORY:],
                "seen": utc(),
                "until": time.monotonic() + seconds,
            }
        return {"lease_seconds": seconds}

    def leave(self, sidecar: str) -> None:
        with self._lock:
            self._sidecars.pop(sidecar, None)

    def all(self) -> list[Json]:
        """Every sidecar with its lease: `live`, or `lost` when it was not renewed."""
        now = time.monotonic()
        with self._lock:
            self._sidecars = {name: one for name, one in self._sidecars.items() if one["until"] > now - REMEMBERED}
            found = [self._sidecars[name] for name in sorted(self._sidecars)]
        return [
            {name: value for name, value in one.items() if name != "until"}
            | {"lease": {"state": "live" if one["until"] > now else "lost", "seconds_left": round(one["until"] - now)}}
            for one in found
        ]

    def live(self, sidecar: str) -> Json:
        """Raises `Refused` for one that is unknown or lost."""
        for one in self.all():
            if one["id"] == sidecar and one["lease"]["state"] == "live":
                return one
        raise Refused(404, "no sidecar with this id has a lease")


# --- HTTP -----------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """One request; every answer but the page is JSON."""

    server: "Orchestrator"
    server_version, sys_version = "orchestrator", ""
    timeout = 60
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        pages = {"/": self._page, "/fleet": self._fleet, "/backups": self._backups}
        self._answer(self._healthy if self._path == "/healthz" else self._for_people(pages.get(self._path)))

    def do_PUT(self) -> None:
        self._answer(self._renew if self._sidecar("/v1/sidecars/") else None)

    def do_DELETE(self) -> None:
        self._answer(self._leave if self._sidecar("/v1/sidecars/") else None)

    def do_POST(self) -> None:
        self._answer(self._for_people(self._pull if self._sidecar("/sidecars/", "/backup") else None))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # The base class names it.
        """Only what `say` tells: heartbeats are too many."""

    @property
    def _path(self) -> str:
        return urllib.parse.urlsplit(self.path).path

    def _sidecar(self, before: str, after: str = "") -> str:
        """The id in the address; empty for another address."""
        found = re.fullmatch(f"{before}([0-9A-Z]{{26}}){after}", self._path)
        return found[1] if found else ""

    def _for_people(self, action: Any) -> Any:
        """The action, for who may come in."""

        def guarded() -> None:
            self.server.door.demand(self.headers)
            if action is None:
                raise Refused(404, "nothing is at this address")
            action()

        return guarded

    def _answer(self, action: Any) -> None:
        """Do it and answer; an error is an answer too."""
        try:
            if action is None:
                raise Refused(404, "nothing is at this address")
            action()
        except Refused as error:
            say(f"{self.command} {self._path} refused: {error}")
            self._send(error.status, error.facts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            say(f"{self.command} {self._path} refused: {type(error).__name__} {error}")
            self._send(422, {"error": "this is not what a sidecar sends"})

    def _send(self, status: int, body: Json | str) -> None:
        text, kind = (body, "text/html") if isinstance(body, str) else (json.dumps(body, indent=1), "application/json")
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="backups: any user, the token as password"')
        self.end_headers()
        self.wfile.write(data)

    def _signed(self) -> Json:
        """The body of a message whose signature was found good."""
        length = number(self.headers, "Content-Length")
        if length is None or length > MOST_BODY:
            raise Refused(413, f"a body needs a length of at most {MOST_BODY}")
        body = self.rfile.read(length)
        request = f"{self.command} {self.path}"
        self.server.verifier.verify(self._sidecar("/v1/sidecars/"), request, self.headers, body, time.time())
        found = json.loads(body)
        if not isinstance(found, dict):
            raise Refused(422, "a message is a JSON object")
        return found

    def _renew(self) -> None:
        sidecar, beat = self._sidecar("/v1/sidecars/"), self._signed()
        url = self.server.sidecars.known(sidecar).url
        self._send(200, self.server.fleet.renew(sidecar, beat, self.client_address[0], url))

    def _leave(self) -> None:
        sidecar = self._sidecar("/v1/sidecars/")
        if self._signed().get("id") != sidecar:
            raise Refused(422, "the farewell is of another sidecar than its address")
        self.server.fleet.leave(sidecar)
        say(f"sidecar {sidecar} left")
        self._send(200, {})

    def _pull(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        target = query.get("target", [""])[0]
        sidecar = self.server.fleet.live(self._sidecar("/sidecars/", "/backup"))
        receipt = self.server.backups.pull(sidecar, target, self.server.sidecars.known(sidecar["id"]).token)
        say(f"kept {receipt['name']}, {receipt['size']} bytes, proof {receipt['proof']}")
        self._send(201, receipt)

    def _fleet(self) -> None:
        self._send(200, {"sidecars": self.server.fleet.all()})

    def _backups(self) -> None:
        self._send(200, {"backups": self.server.backups.all()})

    def _healthy(self) -> None:
        self._send(200, {"status": "ok"})

    def _page(self) -> None:
        self._send(200, page(self.server.fleet.all(), self.server.backups.all()))


class Orchestrator(ThreadingHTTPServer):
    """The parts that its requests share."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], sidecars: Sidecars, door: Door, folder: Path) -> None:
        self.sidecars, self.door = sidecars, door
        self.verifier, self.fleet, self.backups = Verifier(sidecars), Fleet(), Backups(folder)
        super().__init__(address, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, most likely."""
        say(f"request of {client_address[0]} ended by {sys.exc_info()[1]!r}")


def say(text: str) -> None:
    print(f"{utc()} {text!r}" if "\n" in text else f"{utc()} {text}", flush=True)


def main() -> None:
    """Serve until SIGTERM."""
    given = {name: os.environ.get(name, "") for name in (*NAMES, "SIDECARS", "ORCHESTRATOR_TOKEN", "HOSTS")}
    missing = [name for name in NAMES if not given[name]]
    if missing and not given["SIDECARS"]:
        sys.exit(f"set SIDECARS, or {' and '.join(missing)}")
    folder, port = Path(os.environ.get("BACKUPS", "/backups")), int(os.environ.get("PORT", "5550"))
    other = None if missing else Sidecar(*(given[name] for name in NAMES))
    try:
        own = written(given["SIDECARS"]) if given["SIDECARS"] else {}
    except (OSError, ValueError) as error:
        sys.exit(f"SIDECARS cannot be read: {error}")
    token = page_token(folder / "state/token", given["ORCHESTRATOR_TOKEN"])
    door = Door(token, frozenset(given["HOSTS"].split(",")) - {""})
    server = Orchestrator(("", port), Sidecars(own, other, folder / "state/sidecar"), door, folder)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    say(f"listening on port {server.server_port}, keeping backups in {folder}")
    server.serve_forever()


if __name__ == "__main__":
    main()
