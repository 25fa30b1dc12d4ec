"""Dead man's switches, as healthchecks.io has them; apart, because they are the operator's, and no label sets one."""

import re
from urllib.parse import urlsplit

from config.fields import Model, Secret
from config.target import TargetLayer

HINT = "Write `https://host/uuid` or the like, without user, password and fragment."


class Ping(Model):
    """A check elsewhere that raises the alarm when nobody pings it any more."""

    url: Secret | None = None
    """URL of the check; `/start` and `/fail` are appended to it. It works like a password: use `{secret: NAME}`."""


class OwnTarget(TargetLayer):
    """`targets.<key>` of the file: what labels may set, and what they may not."""

    ping: Ping = Ping()
    """A check that is told when a run starts, succeeds or fails."""


def is_check(url: str) -> bool:
    """Whether it can be pinged as it stands: http or https, without user, password, fragment and blanks."""
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        return False
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and is_whole and not parts.fragment and "@" not in parts.netloc
