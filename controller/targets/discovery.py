"""Makes targets of the engine's list of containers and of the operator's settings; pure."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
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
from controller.targets.scope import PROJECT, Scope
from controller.targets.target import LIVE, Target, TargetState
from strategies.base import Strategy

SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONEOFF = "com.docker.compose.oneoff"
COMPOSE_NAMES = {PROJECT: r"[a-z0-9][a-z0-9_-]{0,99}", SERVICE: r"[A-Za-z0-9_.-]{1,100}"}
"""What Compose writes into its labels (compose-spec, `name` and `services`); 100 characters are our limit."""

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
    labels = container.labels
    return (
        container.id != scope.own_id
        and any(label.startswith(prefix) for label in labels)
        and labels.get(ONEOFF, "False") != "True"
        and any(endpoint.id in scope.networks for endpoint in container.networks.values())
        and (scope.project is None or labels.get(PROJECT) == scope.project)
    )


def precedence(container: Listed) -> tuple[bool, int, int, str]:
    """Of several containers for one key: the live ones first, then the lowest number, then the oldest.

    Compose counts from 1, so that a container with a made-up number, or none, takes nobody's place.
    """
    number = container.labels.get(NUMBER, "")
    rank = int(number) if re.fullmatch("[1-9][0-9]{0,5}", number, re.ASCII) else 1_000_000
    return (container.state not in LIVE, rank, container.created, container.id)


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
    """The key without a target's name, and what is wrong with Compose's labels, which anybody can write by hand."""
    own = Key(project="_", service=container.name)
    if not container.labels.get(PROJECT):
        return own, None
    labels = {PROJECT: container.labels[PROJECT], SERVICE: container.labels.get(SERVICE, "")}
    for label, pattern in COMPOSE_NAMES.items():
        if not re.fullmatch(pattern, labels[label]):
            hint = "Start the container by Docker Compose, or without this label."
            where = f"container {container.name}, label {label}"
            return own, Problem("forged-label", where, "holds nothing that Compose writes there", hint)
    return Key(project=labels[PROJECT], service=labels[SERVICE]), None


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
    """A replica is listed under its container's name, so that it never takes a target's place."""
    return key.model_copy(update={"service": f"{key.service}@{container.name}"})


def nearest(key: Key, known: Collection[str]) -> str:
    """A hint for a key that nobody has."""
    close = get_close_matches(str(key), known, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known are: {', '.join(sorted(known)) or 'none'}."
