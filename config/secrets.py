"""Knows secrets by how the file, variables and commands hold them, and keeps them out of every text."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr

from config.fields import invalid
from config.wording import is_variable_name

REDACTED = "***"
SHORTEST_SECRET = 4
"""Characters; a shorter value cannot be redacted without spoiling every text."""
_SHORTEST_LINE = 8
SHORTEST_TOKEN = 16
_DEFAULT_TOKEN = re.compile(
    r"(?i)(?:change|me|my|your|this|please|replace|insert|here|super|secret|password|token|key|api|example|default|test"
    r"|admin|backup|sidecar|x{3,}|[\d\W_])+"
)
SENSITIVE = re.compile(r"PASS|PWD|TOKEN|KEY|SECRET|CREDENTIAL|(?:^|_)(?:AUTH|PW)$", re.IGNORECASE)
"""In the name of a variable: its value is secret, though nobody said so."""
_PATH = re.compile(r"(?:/[\w.-]+)+/?")
_URL_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s@]+)@")
_LEAST_BASE64 = 6
_PASSWORDS = (
    re.compile(r"(?i)(?:^|[\s;&|?])\w*(?:PASSWORD|PASSWD|PASS|PWD|TOKEN|SECRET|API_KEY)=[\"']?([^\s\"';$&|]{3,})"),
    re.compile(r"--?(?:password|pass|passwd|token|secret)(?:=|\s+)[\"']?([^\s\"'$;&|-][^\s\"';&|]{2,})"),
)
# Each of these passes over a text once, however it is made.
_BEFORE_AT = re.compile(r"([^\s@\"'$]++)(@?)")
_IN_URL = re.compile(r"[a-z0-9+.-]://[^:/]*+:(.{3,})")
_OF_CLIENT = re.compile(r"(?P<client>\b(?:mysql|mariadb))|\s-p[\"']?(?P<password>[^\s\"';$&|]{3,})|(?P<end>\n)")


class SecretReference(BaseModel):
    """`{secret: NAME}`: the value comes from the environment, `.env` or `NAME_FILE`; no section, though it looks so."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    secret: str


def _secret(value: Any) -> SecretReference | SecretStr:
    if isinstance(value, SecretReference | SecretStr):
        return value
    if isinstance(value, dict) and set(value) == {"secret"} and isinstance(value["secret"], str):
        if not is_variable_name(value["secret"]):
            raise invalid(
                "does not name a secret", "Write `{secret: NAME}` with the name of a variable, not its value."
            )
        return SecretReference(secret=value["secret"])
    if isinstance(value, str):
        return SecretStr(value)
    raise invalid("is not a secret", "Write `{secret: NAME}` and set the variable NAME.")


Secret = Annotated[SecretReference | SecretStr, BeforeValidator(_secret)]
"""`{secret: NAME}`, or the value itself."""


class Secrets(Mapping[str, str]):
    """Values by name; `redact` also knows values that no command gets, such as the API token.

    `repr` and `str` show names only.
    """

    def __init__(self, values: Mapping[str, str] | None = None, also: Iterable[str] = ()) -> None:
        self._values = dict(values or {})
        self._also = frozenset(also)
        forms = {form for value in (*self._values.values(), *self._also) for form in _forms(value)}
        self._patterns = tuple(sorted(forms, key=len, reverse=True))

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def with_also(self, values: Iterable[str]) -> "Secrets":
        """The same secrets, which redact further values: a target's own passwords."""
        return Secrets(self._values, self._also | frozenset(values))

    def redact(self, text: str) -> str:
        """The text with every secret as `***`; multi-line ones also line by line, where a line has 8 characters."""
        for pattern in self._patterns:
            text = text.replace(pattern, REDACTED)
        return text


@lru_cache(4096)
def _forms(value: str) -> tuple[str, ...]:
    """Every spelling in which a value may turn up: whole, line by line, the passwords of its URLs, and encoded."""
    plain = dict.fromkeys((value, value.strip(), *url_passwords(value)))
    forms = [form for each in plain if len(each) >= SHORTEST_SECRET for form in (each, *_encoded(each))]
    return (*forms, *(line for line in map(str.strip, value.splitlines()) if len(line) >= _SHORTEST_LINE))


def _encoded(value: str) -> Iterator[str]:
    """As part of a URL, of JSON, and of base64."""
    for encoded in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield encoded
        yield re.sub("%..", lambda found: found[0].lower(), encoded)
    yield from (json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    for encoded in _in_base64(value.encode(errors="replace")):
        yield encoded
        yield encoded.replace("+", "-").replace("/", "_")


def _in_base64(data: bytes) -> Iterator[str]:
    """Alone, and what it alone decides wherever it stands in something else, such as `user:password`."""
    yield b64encode(data).decode()
    for before in range(3):
        begin, end = -(-8 * before // 6), 8 * (before + len(data)) // 6
        if end - begin >= _LEAST_BASE64:
            yield b64encode(bytes(before) + data).decode()[begin:end]


def sensitive(environment: Mapping[str, str]) -> Iterator[str]:
    """The secret values of variables: of those whose names say so, but for paths; and passwords within any other."""
    for name, value in environment.items():
        if SENSITIVE.search(name) and not _PATH.fullmatch(value):
            yield value
        else:
            yield from passwords_in(value)
            yield from url_passwords(value)


def url_passwords(text: str) -> Iterator[str]:
    """The passwords of the URLs in a text, as they stand and decoded."""
    found = _URL_PASSWORD.findall(text)
    with suppress(ValueError):
        found.append(urlsplit(text).password or "")
    for password in filter(None, found):
        yield from (password, unquote(password))


def passwords_in(command: str) -> Iterator[str]:
    """The values of an assignment, an option, a URL or mysql's `-p`; a `$VARIABLE` is none."""
    for pattern in _PASSWORDS:
        yield from (match[1] for match in pattern.finditer(command))
    for word in _BEFORE_AT.finditer(command):
        if word[2] and (match := _IN_URL.search(word[1])):
            yield match[1]
    is_client = False
    for match in _OF_CLIENT.finditer(command):
        if is_client and match["password"]:
            yield match["password"]
        is_client = match["client"] is not None


def weakness(token: str) -> str | None:
    """Why a token is easily guessed or cannot be sent; None for a good one."""
    if _DEFAULT_TOKEN.fullmatch(token) and re.search(r"(?i)[a-z]", token):
        return "is a well-known default"
    if len(token) < SHORTEST_TOKEN or len(set(token)) < 4:
        return f"has fewer than {SHORTEST_TOKEN} characters, or hardly any different"
    return None if re.fullmatch(r"[\x21-\x7e]+", token) else "holds characters that an HTTP header cannot carry"
