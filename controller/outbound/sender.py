"""One request of our own to somebody else's HTTP server; apart, because heartbeat and pings fail in the same ways.

It uses `urllib`: one small request now and then needs no pool, and a client with one takes a tenth of the memory that
the program may have.
"""

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException

ANSWER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    """0: nothing."""
    body: bytes = b""
    """At most 64 KiB; empty for an error."""
    reason: str = ""
    """Of an error, in the server's words or the system's."""

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


def send(method: str, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
    """Send a body to a URL of http or https and wait for the answer, `timeout` seconds for each step; never raises."""
    try:
        request = urllib.request.Request(url, body, dict(headers), method=method)  # noqa: S310  # http or https: checked.
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return Answer(response.status, response.read(ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, reason=error.reason)
    except (OSError, HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        return Answer(0, reason=str(cause) or type(cause).__name__)
