"""Knows secrets by how the file, variables and commands hold them, and keeps them out of every text."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

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
SENSITIVE = re.compile(r"PASS|TOKEN|KEY|SECRET", re.IGNORECASE)
"""In the name of a variable: its value is secret, though nobody said so."""
_PASSWORDS = (
    re.compile(r"(?i)(?:^|[\s;&|])\w*(?:PASSWORD|PASSWD|PASS|PWD|TOKEN|SECRET|API_KEY)=[\"']?([^\s\"';$&|]{3,})"),
    re.compile(r"--?(?:password|pass|passwd|token|secret)(?:=|\s+)[\"']?([^\s\"'$;&|-][^\s\"';&|]{2,})"),
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@\"'$]*:([^\s@\"'$]{3,})@"),
    re.compile(r"\b(?:mysql|mariadb)[\w-]*\b.*?\s-p[\"']?([^\s\"'$;&|]{3,})"),
)


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


def _forms(value: str) -> Iterator[str]:
    """Every spelling in which a value may turn up: whole, line by line, as part of a URL."""
    candidates = [value, value.strip(), quote(value, safe=""), *_password(value)]
    yield from (form for form in candidates if len(form) >= SHORTEST_SECRET)
    yield from (line for line in map(str.strip, value.splitlines()) if len(line) >= _SHORTEST_LINE)


def _password(value: str) -> tuple[str, ...]:
    """The password in a URL, as it stands and decoded."""
    try:
        password = urlsplit(value).password or ""
    except ValueError:
        return ()
    return (password, unquote(password))


def passwords_in(command: str) -> Iterator[str]:
    """The values of an assignment, an option, a URL or mysql's `-p`; a `$VARIABLE` is none."""
    for pattern in _PASSWORDS:
        yield from (match[1] for match in pattern.finditer(command))


def weakness(token: str) -> str | None:
    """Why a token is easily guessed or cannot be sent; None for a good one."""
    if _DEFAULT_TOKEN.fullmatch(token) and re.search(r"(?i)[a-z]", token):
        return "is a well-known default"
    if len(token) < SHORTEST_TOKEN or len(set(token)) < 4:
        return f"has fewer than {SHORTEST_TOKEN} characters, or hardly any different"
    return None if re.fullmatch(r"[\x21-\x7e]+", token) else "holds characters that an HTTP header cannot carry"
