"""Makes targets of the engine's list of containers and of the operator's settings; pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from config.labels import LabelPart, parse
from config.loading import Loaded
from config.problems import Problem
from config.resolve import resolve
from config.target import TargetSettings
from config.validation import problems_from
from controller.core.key import Key
from controller.engine.models import Listed
from controller.targets.origin import COMPOSE_NAMES, is_one_off, origin
from controller.targets.scope import Scope
from controller.targets.target import LIVE, Target, TargetState
from strategies.base import Strategy

LAST = 1_000_000
"""The place of a container without a number, behind all those that have one."""

Strategies = Mapping[str, Strategy[Any]]
"""By every name and alias."""


def find(
    loaded: Loaded,
    scope: Scope,
    listed: Iterable[Listed],
    strategies: Strategies,
    of_container: Callable[[Loaded, Listed, Strategies], Iterable[Target]] | None = None,
) -> dict[str, Target]:
    """Every target in scope by key; `of_container` may remember what it has made of the same container before."""
    prefix, of_container = loaded.settings.label_prefix, of_container or targets_of
    targets: dict[str, Target] = {}
    for container in sorted((each for each in listed if in_scope(each, scope, prefix)), key=precedence):
        for target in of_container(loaded, container, strategies):
            first = targets.get(str(target.key))
            if first is None:
                targets[str(target.key)] = target
            elif container.state in LIVE and first.state != "disabled":
                replica = replace(target, state="replica", key=replica_key(target.key, container), problems=())
                targets[str(replica.key)] = replica
    return targets


def in_scope(container: Listed, scope: Scope, prefix: str) -> bool:
    return is_labelled(container, prefix) and scope.reaches(container)


def is_labelled(container: Listed, prefix: str) -> bool:
    """Whether its labels say something of backups, and it is none that only passes by."""
    return any(label.startswith(prefix) for label in container.labels) and not is_one_off(container)


def unseen(
    loaded: Loaded, scope: Scope, listed: Iterable[Listed], of_container: Callable[[Listed], Iterable[Target]]
) -> Iterator[Problem]:
    """The running containers of the sidecar's own project that opt in, and are not on its network."""
    network = loaded.settings.scope.network
    for container in listed:
        is_meant = container.state in LIVE and is_labelled(container, loaded.settings.label_prefix)
        if not is_meant or not scope.misses(container):
            continue
        if any(target.state != "disabled" for target in of_container(container)):
            message = f"opts in, but is on no network called {network}, so it is not backed up"
            yield Problem("not-on-network", f"container {container.name}", message, joining(container, network))


def joining(container: Listed, network: str) -> str:
    """How a container comes to a network and stays on its own ones."""
    mode = container.network_mode
    if mode in ("host", "none") or mode.startswith("container:"):
        line = f"`networks: [default, {network}]`"
        return f"In the compose file replace the line `network_mode` of its service ({mode[:22]}) by {line}."
    project = origin(container).project
    own = sorted(name.removeprefix(f"{project}_") for name in container.networks) or ["default"]
    return f"In the compose file add the line `networks: [{', '.join([*own, network])}]` to its service."


def precedence(container: Listed) -> tuple[bool, int, int, str]:
    """Of several containers for one key: the live ones first, then the lowest number, then the oldest.

    Of those that do not live the newest, whose labels hold until another one comes.
    """
    is_live, number = container.state in LIVE, origin(container).number
    created = container.created if is_live else -container.created
    return (not is_live, LAST if number is None else number, created, container.id)


def targets_of(loaded: Loaded, container: Listed, strategies: Strategies) -> Iterable[Target]:
    """The targets that one container's labels ask for."""
    prefix = loaded.settings.label_prefix
    base, forged = named(container)
    for part in parse(container.labels, container.name, prefix=prefix, strategies=strategies.keys()):
        key = base.model_copy(update={"name": part.name})
        if not part.enabled:
            yield Target(key, "disabled", container, problems=part.problems)
        elif forged:
            yield Target(key, "problem", container, problems=(forged,))
        else:
            yield enabled(loaded, key, part, container, strategies)


def named(container: Listed) -> tuple[Key, Problem | None]:
    """The key without a target's name, and what is wrong with the labels for it, which anybody can write by hand."""
    place = origin(container)
    if place.forged is None:
        return Key(project=place.project or "_", service=place.service), None
    hint = "Start the container by Docker Compose or `docker stack deploy`, or without this label."
    message = f"holds nothing that {'Compose' if place.forged in COMPOSE_NAMES else 'Swarm'} writes there"
    problem = Problem("forged-label", f"container {container.name}, label {place.forged}", message, hint)
    return Key(project="_", service=container.name), problem


def enabled(loaded: Loaded, key: Key, part: LabelPart, container: Listed, strategies: Strategies) -> Target:
    """A target that is wanted: its settings, or what is wrong with them."""
    canonical = {name: strategy.names[0] for name, strategy in strategies.items()}
    resolved = resolve(loaded, str(key), part, container.name, canonical)
    problems, options = resolved.problems, None
    if resolved.settings is not None and resolved.settings.strategy:
        kind = strategies[resolved.settings.strategy].options
        try:
            options = kind.model_validate(raw_options(resolved.settings))
        except ValidationError as error:
            problems = (*problems, *problems_from(error, resolved.place_of_option, kind))
    state: TargetState = "problem" if options is None else "pending" if container.state in LIVE else "absent"
    return Target(key, state, container, resolved, options, problems)


def raw_options(settings: TargetSettings) -> dict[str, Any]:
    """The strategy's options as they were written; those of `command` are the commands themselves."""
    if settings.strategy != "command":
        return settings.options
    return {"commands": settings.commands.backup, "restore": settings.commands.restore}


def replica_key(key: Key, container: Listed) -> Key:
    """A replica is listed under a name of its own, so that it never takes a target's place."""
    return key.model_copy(update={"service": f"{key.service}@{origin(container).instance}"})


def nearest(key: Key, known: Collection[str]) -> str:
    """A hint for a key that nobody has."""
    close = get_close_matches(str(key), known, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known are: {', '.join(sorted(known)) or 'none'}."
