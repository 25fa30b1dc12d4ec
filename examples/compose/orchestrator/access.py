"""Who may speak: a sidecar as its own id, by a key of its own; and people by one token, from no other site's page."""

import base64
import binascii
import hmac
import ipaddress
import json
import os
import re
import secrets
import threading
import urllib.parse
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

from backups import Refused

TOLERANCE = 300
"""Seconds that a sidecar's clock may differ from ours."""


@dataclass(frozen=True)
class Sidecar:
    """What the operator has written of a sidecar."""

    key: str = field(repr=False)
    """That signs its heartbeats, and those of no other."""
    token: str = field(repr=False)
    """Of its API."""
    url: str = ""
    """Where it is reached, if it announces another address than the one that it speaks from."""


class Sidecars:
    """By id: those of the file, and the first one that came with the key of the environment, whose that is then."""

    def __init__(self, own: dict[str, Sidecar], other: Sidecar | None, bound: Path) -> None:
        """`bound` is where the id of that one is kept."""
        self._own, self._other, self._bound = own, other, bound
        self._lock = threading.Lock()

    def known(self, sidecar: str) -> Sidecar:
        """Raises `Refused` (401) for an id that has no key."""
        with self._lock:
            return self._known(sidecar)

    def bind(self, sidecar: str) -> None:
        """Its signature was good; raises `Refused` (401) where another one was faster."""
        with self._lock:
            if self._known(sidecar) is self._other and not self._bound.exists():
                keep(self._bound, sidecar)

    def _known(self, sidecar: str) -> Sidecar:
        if found := self._own.get(sidecar):
            return found
        first = self._bound.read_text().strip() if self._bound.exists() else sidecar
        if self._other is None or sidecar != first:
            raise Refused(401, f"sidecar {sidecar} has no key here: give it an entry in the file of SIDECARS")
        return self._other


class Verifier:
    """Standard Webhooks, with method and path in what is signed; a message counts once, and only when it is fresh.

    The signature is the entry `v1r` of `webhook-signature`: HMAC-SHA256 over `id.timestamp.METHOD path.body`. The entry
    `v1`, without method and path, is for orchestrators that know no more than the standard.
    """

    def __init__(self, sidecars: Sidecars) -> None:
        self._sidecars = sidecars
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def verify(self, sidecar: str, request: str, headers: Message, body: bytes, now: float) -> None:
        """`request` is `PUT /v1/sidecars/...`. Raises `Refused` (401)."""
        message, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        key = secret(self._sidecars.known(sidecar).key)
        digest = hmac.digest(key, b".".join((message.encode(), stamp.encode(), request.encode(), body)), "sha256")
        expected = b"v1r," + base64.b64encode(digest)
        signatures = headers.get("webhook-signature", "").encode().split()
        if not message or not any(hmac.compare_digest(one, expected) for one in signatures):
            raise Refused(401, "the signature does not match")
        if not re.fullmatch(r"[0-9]{1,12}", stamp) or abs(now - int(stamp)) > TOLERANCE:
            raise Refused(401, f"the clocks differ by more than {TOLERANCE} s, or the message is old")
        with self._lock:
            self._seen = {one: until for one, until in self._seen.items() if until > now}
            if message in self._seen:
                raise Refused(401, "this message came before")
            self._seen[message] = now + 2 * TOLERANCE
        self._sidecars.bind(sidecar)


class Door:
    """Lets in who brings the token, as `Bearer`, or as the password that a browser asks for."""

    def __init__(self, token: str, hosts: frozenset[str]) -> None:
        """`hosts` are the names, besides addresses and `localhost`, by which people call this server."""
        self._token, self._hosts = token, hosts | {"localhost"}

    def demand(self, headers: Message) -> None:
        """Raises `Refused`: 403 for a page of another site, whatever it brings, and 401 without the token."""
        host = headers.get("Host", "")
        if not self._is_ours(host):
            raise Refused(403, "this server is not called so: name it in HOSTS")
        origin = headers.get("Origin")
        if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
            raise Refused(403, "another site's page may not ask this")
        kind, _, given = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            given = password(given)
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Refused(401, "this needs the token")

    def _is_ours(self, host: str) -> bool:
        """An address is never somebody else's name for this server, as it is after DNS rebinding."""
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._hosts
        return True


def password(basic: str) -> str:
    """Empty for what is none."""
    try:
        return base64.b64decode(basic, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def secret(key: str) -> bytes:
    """`whsec_` and base64, or any text."""
    try:
        return base64.b64decode(key[6:], validate=True) if key.startswith("whsec_") else key.encode()
    except binascii.Error:
        return key.encode()


def written(path: str) -> dict[str, Sidecar]:
    """The file of SIDECARS: `{"<id>": {"key": ..., "token": ..., "url": ...}}`; raises ValueError."""
    found = json.loads(Path(path).read_text())
    try:
        own = {sidecar: Sidecar(**facts) for sidecar, facts in found.items()}
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not {{id: {{key, token, url}}}}") from error
    if len({one.key for one in own.values()}) < len(own):
        raise ValueError(f"{path} gives one key to two sidecars")
    return own


def page_token(path: Path, given: str) -> str:
    """The one of the environment, else one that is made once and kept."""
    if given:
        return given
    if not path.exists():
        keep(path, secrets.token_urlsafe(24))
    return path.read_text().strip()


def keep(path: Path, text: str) -> None:
    """For our own eyes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")
