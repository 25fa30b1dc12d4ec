"""Layers of settings and their merge: a flat map from the path of keys to a value that knows where it came from.

Flat, because then "maps merge by key, lists and scalars replace" is one dictionary update.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Path = tuple[str, ...]
Author = Literal["file", "label"]
COMMAND = "command"
"""The strategy of those who bring a command of their own."""
_UNIT = frozenset({"strategy", "commands", "options"})
"""First keys of what is dropped when a later layer names a strategy; options are at `("options", strategy, ...)`."""


@dataclass(frozen=True, slots=True)
class Sourced:
    """One value as it was written."""

    value: Any = field(repr=False)
    source: str
    """`config.yaml:12 defaults.schedule`, `environment SIDECAR_STRATEGY_TYPE`, `label backup.schedule`."""
    author: Author


Layer = Mapping[Path, Sourced]


def flatten(values: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is not a mapping, by its path."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, (*path, key))
        else:
            yield (*path, key), value


def nest(flat: Mapping[Path, Any]) -> dict[str, Any]:
    """The opposite of `flatten`; a path that runs through another path's value takes its place."""
    values: dict[str, Any] = {}
    for path in sorted(flat, key=len):
        section = values
        for key in path[:-1]:
            inner = section.get(key)
            if not isinstance(inner, dict):
                inner = section[key] = {}
            section = inner
        section[path[-1]] = flat[path]
    return values


def brings_command(layer: Layer) -> bool:
    """Whether a layer holds `commands.backup` that is not an empty list."""
    command = layer.get(("commands", "backup"))
    return command is not None and command.value not in ([], (), "[]")


def settled(layer: Layer) -> Layer:
    """The layer with its one strategy: a command of its own replaces a named strategy and that one's options."""
    if not brings_command(layer):
        return layer
    command = layer["commands", "backup"]
    kept = {path: value for path, value in layer.items() if path[0] not in {"strategy", "options"}}
    return kept | {("strategy",): Sourced(COMMAND, command.source, command.author)}


def merge(layers: Iterable[Layer]) -> Layer:
    """Later layers win key by key; one that names a strategy drops type, commands and options of those before."""
    merged: dict[Path, Sourced] = {}
    for layer in map(settled, layers):
        if ("strategy",) in layer:
            merged = {path: value for path, value in merged.items() if path[0] not in _UNIT}
        merged |= layer
    return merged
