"""Which of a container's own variables are secret, by their names; apart, because survey, log and views all ask."""

import re
from collections.abc import Callable, Mapping

SENSITIVE = re.compile(r"PASS|TOKEN|KEY|SECRET", re.IGNORECASE)

Redact = Callable[[str], str]
"""Takes known secret values out of a text."""


def sensitive(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of the variables whose names say that they are secret; a path is not one."""
    return tuple(value for name, value in environment.items() if SENSITIVE.search(name) and not value.startswith("/"))
