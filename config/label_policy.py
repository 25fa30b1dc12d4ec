"""Says which labels the operator's policy refuses, by whatever name a setting is called; pure."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from config.labels import OLD_NAMES
from config.layers import Layer, Path, brings_command
from config.settings import LabelPolicy
from config.wording import dotted


@dataclass(frozen=True, slots=True)
class LabelRules:
    """`policy.labels`, to be asked for the canonical path of a label."""

    policy: LabelPolicy
    strategies: Mapping[str, str]
    """The canonical name for every known name."""
    prefix: str
    """Of labels; a pattern may have it."""

    def refusal(self, path: Path, layer: Layer) -> Literal["lock", "allow"] | None:
        """Which of the two lists refuses a label of a layer; None: neither.

        A command that replaces the strategy sets that too.
        """
        replaces = path == ("commands", "backup") and brings_command(layer)
        if self._named(path, self.policy.lock) or (replaces and self._named(("strategy",), self.policy.lock)):
            return "lock"
        return "allow" if self.policy.allow and not self._named(path, self.policy.allow) else None

    def _named(self, path: Path, patterns: Collection[str]) -> bool:
        """Whether a pattern names the setting, or a section in which it stands."""
        spelt = {dotted(name[:length]) for name in self._names(path) for length in range(1, len(name) + 1)}
        return any(fnmatchcase(name, pattern.removeprefix(self.prefix)) for name in spelt for pattern in patterns)

    def _names(self, path: Path) -> Iterator[Path]:
        """Every spelling of a setting's path."""
        if path[0] == "options":
            others = [name for name, canonical in self.strategies.items() if canonical == path[1]]
            yield from ((name, *path[2:]) for name in {path[1], *others})
        else:
            yield path
            yield from ((old,) for old, name in OLD_NAMES.items() if (name,) == path)
