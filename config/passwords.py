"""Finds what looks like a password in a command, so that it can be warned about and kept out of every text."""

import re
from collections.abc import Iterator

_PATTERNS = (
    re.compile(r"(?i)(?:^|[\s;&|])\w*(?:PASSWORD|PASSWD|PASS|PWD|TOKEN|SECRET|API_KEY)=[\"']?([^\s\"';$&|]{3,})"),
    re.compile(r"--?(?:password|pass|passwd|token|secret)(?:=|\s+)[\"']?([^\s\"'$;&|-][^\s\"';&|]{2,})"),
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@\"'$]*:([^\s@\"'$]{3,})@"),
    re.compile(r"\b(?:mysql|mariadb)[\w-]*\b.*?\s-p[\"']?([^\s\"'$;&|]{3,})"),
)


def passwords_in(command: str) -> Iterator[str]:
    """The values of an assignment, an option, a URL or mysql's `-p`; a `$VARIABLE` is none."""
    for pattern in _PATTERNS:
        yield from (match[1] for match in pattern.finditer(command))
