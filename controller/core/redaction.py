"""Which of a container's own variables are secret, and what takes secrets out of a text."""

from collections.abc import Callable, Mapping

from config.secrets import SENSITIVE

Redact = Callable[[str], str]
"""Takes known secret values out of a text."""


def sensitive(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of the variables whose names say that they are secret; a path is not one."""
    return tuple(value for name, value in environment.items() if SENSITIVE.search(name) and not value.startswith("/"))
