"""The reference orchestrator, as its operator sees it: who is there, and one backup of one target, please."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rehearsal.containers import Failed

PULL = 600.0
"""Seconds that one backup may take."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A backup that the orchestrator has checked and kept."""

    run: str
    path: str
    """In the orchestrator's container."""


class Orchestrator:
    """Its HTTP interface."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._sidecar = ""

    def wait_for(self, keys: Sequence[str], seconds: float) -> None:
        """Until a sidecar with a live lease tells that all these targets are ready; raises `Failed` after `seconds`."""
        deadline = time.monotonic() + seconds
        while not self._knows(keys):
            if time.monotonic() > deadline:
                raise Failed(f"the orchestrator was not told within {seconds:.0f} s that {', '.join(keys)} are ready")
            time.sleep(0.2)

    def pull(self, key: str) -> Pulled:
        """Have it pull one backup of a target by contract v1; raises `Failed` with what it says."""
        query = urllib.parse.urlencode({"target": key})
        receipt = self._ask(f"/sidecars/{self._sidecar}/backup?{query}", "POST", PULL)
        return Pulled(run=receipt["run"], path=receipt["path"])

    def _knows(self, keys: Sequence[str]) -> bool:
        for sidecar in self._ask("/fleet", "GET", 5)["sidecars"]:
            ready = {target["key"] for target in sidecar["targets"] if target["state"] == "ready"}
            if sidecar["lease"]["state"] == "live" and ready.issuperset(keys):
                self._sidecar = sidecar["id"]
                return True
        return False

    def _ask(self, path: str, method: str, seconds: float) -> Any:
        request = urllib.request.Request(
            self._url + path, method=method, headers={"Authorization": f"Bearer {self._token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise Failed(f"the orchestrator refused: {error.read(2000).decode(errors='replace')}") from error
        except OSError as error:
            raise Failed(f"the orchestrator does not answer at {self._url}: {error}") from error
