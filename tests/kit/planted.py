"""Secrets that tests plant, and the search for them in everything that a sidecar gives away.

What a test gives to a container, or to an operator's `.env`, under the name of a secret is remembered here. A
sidecar's log, its answers, what its commands print, and at its end its work folder, catalog and manifests hold none of
them, neither plainly nor in base64, as part of a URL or of JSON. What is found fails the test, by the secret's name.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, urlsplit

import httpx
from dotenv import dotenv_values

from config.secrets import SENSITIVE

SHORTEST = 8
"""Of a secret; a shorter word may stand there by chance."""
TEXTS = ("application/json", "application/problem+json", "text/")
PLANTED: dict[bytes, str] = {}
"""Every spelling of a secret, and what the secret is called."""


def plant(name: str, value: str) -> str:
    """Remember a secret; gives its value."""
    lines = [line.strip() for line in value.splitlines() if not line.startswith("-----")]
    for each in {value.strip(), *lines, *filter(None, [password_of(value)])}:
        if len(each) >= SHORTEST:
            PLANTED.update(dict.fromkeys(spellings(each), name))
    return value


def plant_all(values: Mapping[str, str | None]) -> None:
    """Those whose names say that they are secret, and not where one lies, or that are URLs with a password."""
    for name, value in values.items():
        if value and ((SENSITIVE.search(name) and not name.endswith("_FILE")) or password_of(value)):
            plant(name, value)


def plant_file(path: Path) -> None:
    """Those of an `.env`, where there is one."""
    if path.is_file():
        plant_all(dotenv_values(path, interpolate=False))


def password_of(value: str) -> str | None:
    try:
        return urlsplit(value).password
    except ValueError:
        return None


def spellings(value: str) -> Iterator[bytes]:
    """Also in the middle of something else that is in base64, as far as the value alone decides that."""
    yield from (text.encode() for text in (value, quote(value), quote(value, safe=""), quote_plus(value)))
    yield json.dumps(value)[1:-1].encode()
    for before in range(3):
        first, last = -(-8 * before // 6), 8 * (before + len(value.encode())) // 6
        inner = b64encode(bytes(before) + value.encode())[first:last]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


def demand_nothing_of_it(where: str, content: bytes | str) -> None:
    """Fails by the names of the secrets that are in there, and shows none."""
    data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    found = sorted({name for spelling, name in PLANTED.items() if spelling in data})
    assert not found, f"{where} shows what is secret: {', '.join(found)}"


def listen(response: httpx.Response) -> None:
    """For the event hooks of a client; what is no text is a backup, and holds what it likes."""
    if response.headers.get("content-type", "").startswith(TEXTS):
        response.read()
        demand_nothing_of_it(f"the answer to {response.request.method} {response.request.url.path}", response.content)
