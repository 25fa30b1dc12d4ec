"""From the engine's list to targets again and again: only what has changed is worked out anew.

Here a defect ends: one that a container's labels bring about is that container's problem, and the others go on.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loguru import logger

from config.loading import Loaded
from config.problems import Problem
from controller.engine.models import Listed, NetworkInfo
from controller.targets.discovery import Strategies, find, named, targets_of, unseen
from controller.targets.holders import Holders
from controller.targets.scope import Scope, find_scope
from controller.targets.target import Target


@dataclass(frozen=True, slots=True)
class Resolved:
    """What one container's labels asked for, under which configuration."""

    loaded: Loaded
    container: Listed
    targets: tuple[Target, ...]


class Resolution:
    """Remembers what the last look found; to be used from one thread."""

    def __init__(self, strategies: Strategies, holders: Holders | None = None) -> None:
        self._strategies, self._holders = strategies, holders or Holders()
        self._known: dict[str, Resolved] = {}
        """By the container's id."""

    def scope(
        self, loaded: Loaded, own_id: str | None, listed: Sequence[Listed], networks: Iterable[NetworkInfo]
    ) -> Scope:
        """As `scope.find_scope`; says also which containers were meant to be there."""
        scope = find_scope(loaded, own_id, listed, networks)
        missing = unseen(loaded, scope, listed, lambda each: self._targets_of(loaded, each, self._strategies))
        return replace(scope, problems=(*scope.problems, *missing))

    def find(self, loaded: Loaded, scope: Scope, listed: Collection[Listed]) -> Mapping[str, Target]:
        """As `discovery.find`."""
        there = {container.id for container in listed}
        self._known = {each: known for each, known in self._known.items() if each in there}
        return find(loaded, scope, listed, self._strategies, self._targets_of, holders=self._holders)

    def _targets_of(self, loaded: Loaded, container: Listed, strategies: Strategies) -> Iterable[Target]:
        known = self._known.get(container.id)
        if known is None or known.loaded is not loaded or known.container != container:
            known = Resolved(loaded, container, guarded(loaded, container, strategies))
        self._known[container.id] = known
        return known.targets


def guarded(loaded: Loaded, container: Listed, strategies: Strategies) -> tuple[Target, ...]:
    """The targets of a container, or the one that tells of a defect."""
    try:
        return tuple(targets_of(loaded, container, strategies))
    except Exception as error:  # noqa: BLE001  # Nobody's labels may keep the others from being backed up.
        logger.opt(exception=error).error("labels of {}: read by a defect of this program", container.name)
        key, _ = named(container)
        return (Target(key, "problem", container, problems=(defect(container, "its labels cannot be read", error),)),)


def defect(container: Listed, what: str, error: Exception) -> Problem:
    """The problem of a container at which this program failed."""
    message = f"{what}, because of a defect of this program: {type(error).__name__}"
    return Problem("internal-error", f"container {container.name}", message, "Please report it with the log.")
