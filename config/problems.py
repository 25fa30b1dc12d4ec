"""A problem says what is wrong with a label or with the operator's file: where, what, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
Location = tuple[str | int, ...]
"""The keys and indices that lead to a setting: `("secrets", 0)`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding that names its place and its remedy, and never shows a secret.

    An `error` keeps its own target (or, for the file, the program) from running; a `warning` does not.
    """

    code: str
    """Stable kebab-case name, the same in log, CLI, API, metrics and heartbeat: `unknown-label`, `bad-value`."""
    place: str
    """Container and label, or file, line and key: `container shop-db-1, label backup.stratgy`."""
    message: str
    """What was found and what is allowed, one sentence."""
    hint: str
    """The user's next step, one sentence in the imperative."""
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.place}: {self.message} [{self.code}] {self.hint}"


class ConfigurationError(Exception):
    """The operator's file, `.env` or environment cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
