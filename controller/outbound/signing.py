"""Signatures as Standard Webhooks define them (standardwebhooks.com); apart, because both sides of a wire need them.

`webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`; several may
stand there, separated by spaces. The key is `whsec_` and base64, or any text, whose UTF-8 bytes then are the key.

The second entry is `v1r`: the same over `<webhook-id>.<webhook-timestamp>.<METHOD> <path>.<body>`, so that no message
is taken for another one. Who knows only the standard skips it, as that demands of versions that are not known.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping

from controller.core.ulid import new_ulid

PREFIX = "whsec_"
TOLERANCE = 300
"""Seconds that two clocks may differ."""


class BadSignature(Exception):
    """A message that is not proved to come from a holder of the key, or not now."""


def key_bytes(key: str) -> bytes:
    """The bytes of a key; text after `whsec_` that is no base64 counts as text like any other."""
    if key.startswith(PREFIX):
        try:
            return base64.b64decode(key.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            pass
    return key.encode()


def signature(key: str, message_id: str, timestamp: str, body: bytes, request: str = "") -> str:
    """`v1,<base64>`; with a request, such as `PUT /v1/x`, `v1r,<base64>`."""
    head = (message_id, timestamp, request) if request else (message_id, timestamp)
    digest = hmac.digest(key_bytes(key), b".".join((*(part.encode() for part in head), body)), "sha256")
    return f"{'v1r' if request else 'v1'},{base64.b64encode(digest).decode()}"


def signed_headers(key: str, body: bytes, now: float, request: str) -> dict[str, str]:
    """The three headers for a new message; `now` is Unix time, `request` as in `signature`."""
    message_id, timestamp = f"msg_{new_ulid()}", str(int(now))
    signatures = (signature(key, message_id, timestamp, body, signed) for signed in ("", request))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def verify(key: str, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Gives the message's id, which the caller has to refuse when it was seen before; raises `BadSignature`.

    `headers` by lower-case names.
    """
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    expected = signature(key, message_id, timestamp, body).encode()
    found = headers.get("webhook-signature", "").encode().split()
    if not message_id or not any(hmac.compare_digest(one, expected) for one in found):
        raise BadSignature("the signature does not match")
    if not (timestamp.isascii() and timestamp.isdecimal()) or abs(now - int(timestamp[:15])) > TOLERANCE:
        raise BadSignature(f"the timestamp is more than {TOLERANCE} s away from this clock")
    return message_id
