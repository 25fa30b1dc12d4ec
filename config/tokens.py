"""The tokens of the API: each has a name, by which it is known who did something, and a role."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from config.fields import Model, invalid, json_array
from config.problems import Location
from config.secrets import weakness
from config.wording import is_variable_name

Fault = tuple[Location, str, str, str]
"""Path, code, message and hint."""
Role = Literal["read", "backup", "restore", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""
OWN_NAME: str = "api"
"""The name of `api.token`."""
MOST_OF_A_NAME = 2
"""Tokens: an old one and a new one, while clients change."""
MAKE_ONE = "Make one with `openssl rand -hex 32` and put it into `{}`."


def _variable(value: str) -> str:
    if not is_variable_name(value):
        raise invalid("does not name a secret", "Write the name of a variable, not its value.")
    return value


class TokenSettings(Model):
    """One entry of `api.tokens`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    """Who uses it: kept with what was done by it."""
    secret: Annotated[str, AfterValidator(_variable)]
    """Name of the secret that holds it."""
    role: Role
    """What it may do."""


def _entries(value: Any) -> Any:
    return json_array(value) if isinstance(value, str) else value


Tokens = Annotated[tuple[TokenSettings, ...], BeforeValidator(_entries), Field(max_length=100)]
"""A list of entries, in a variable as JSON."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token with its value."""

    name: str
    role: Role
    value: str = field(repr=False)


def own(value: str | None) -> tuple[ApiToken, ...]:
    """`api.token`, where it is set: what existing orchestrators have."""
    return (ApiToken(OWN_NAME, "backup", value),) if value else ()


def faults(tokens: Iterable[tuple[Location, ApiToken]], home: str) -> Iterator[Fault]:
    """What is wrong with tokens of these places; `home` is the file in which they belong."""
    known: list[ApiToken] = []
    for path, token in tokens:
        namesakes = [other for other in known if other.name == token.name]
        if reason := weakness(token.value):
            yield path, "weak-token", reason, MAKE_ONE.format(home)
        elif any(token.value == other.value for other in known):
            yield path, "same-token", "is the same token as another one", MAKE_ONE.format(home)
        elif len(namesakes) == MOST_OF_A_NAME:
            message = f"is one token too many of the name {token.name}"
            yield path, "bad-value", message, "Remove the oldest: two let clients change from one to the next."
        elif any(token.role != other.role for other in namesakes):
            message = f"gives {token.name} another role than its other token"
            yield path, "bad-value", message, "Use a name of its own for each role."
        known.append(token)
