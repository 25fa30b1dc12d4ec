"""Makes targets of the engine's list of containers and of the operator's settings; pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from config.labels import LabelPart, parse
from config.loading import Loaded
from config.problems import Problem
from config.resolve import resolve
from config.settings import EVERY
from config.target import TargetSettings
from config.validation import problems_from
from config.wording import escaped
from controller.core.key import Key
from controller.engine.models import Listed
from controller.targets.holders import Holders, Seats, claim_one, precedence
from controller.targets.origin import COMPOSE_NAMES, is_one_off, is_task, origin
from controller.targets.runnable import RunnableTarget
from controller.targets.scope import Scope
from controller.targets.target import IMAGE_LABELS, LIVE, Target, TargetState
from strategies.base import Strategy

KEY_TAKEN = "key-taken"
"""Code of the problem of a container that claims another one's key."""
Strategies = Mapping[str, Strategy[Any]]
"""By every name and alias."""


def find(
    loaded: Loaded,
    scope: Scope,
    listed: Collection[Listed],
    strategies: Strategies,
    of_container: Callable[[Loaded, Listed, Strategies], Iterable[Target]] | None = None,
    *,
    holders: Holders | None = None,
) -> dict[str, Target]:
    """Every target in scope by key.

    `of_container` may remember what it has made of the same container before, `holders` who has which key.
    """
    of_container = of_container or targets_of
    claims: dict[str, list[Listed]] = {}
    within = (each for each in listed if in_scope(each, scope, loaded.settings.label_prefix))
    for container in sorted(within, key=precedence):
        claims.setdefault(str(named(container)[0]), []).append(container)
    targets: dict[str, Target] = {}
    for key, seats in (holders or Holders()).settle(claims, listed).items():
        for container in seats.seated:
            for target in of_container(loaded, container, strategies):
                enter(targets, target)
        for container in (rival for rival in seats.rivals if rival.state in LIVE):
            problem = key_taken(key, container, seats)
            for target in of_container(loaded, container, strategies):
                if target.state != "disabled":
                    enter_rival(targets, target, problem, disputed=seats.disputed)
    return targets


def enter(targets: dict[str, Target], target: Target) -> None:
    """The first one of a key is its target, those that live beside it are replicas."""
    first = targets.setdefault(str(target.key), target)
    if first is not target and target.container.state in LIVE and first.state != "disabled":
        replica = replace(target, state="replica", key=replica_key(target.key, target.container), problems=())
        targets[str(replica.key)] = replica


def enter_rival(targets: dict[str, Target], target: Target, problem: Problem, *, disputed: bool) -> None:
    """One that claims another one's key is listed beside it; where nobody has the key, the first one stands for it.

    Swarm lets two tasks share a slot while it updates a service, so that there it is no error.
    """
    key = target.key
    if not disputed or str(key) in targets:
        key = replica_key(key, target.container)
    state: TargetState = "problem"
    if is_task(target.container) and not disputed:
        state, problem = "replica", replace(problem, severity="warning")
    targets[str(key)] = Target(key, state, target.container, problems=(problem,))


def key_taken(key: str, rival: Listed, seats: Seats) -> Problem:
    """The problem of a container that claims what another one has, or claims too."""
    others = [each for each in (*seats.seated, *seats.rivals) if each is not rival and claim_one(each, rival)]
    names = " and ".join(each.name for each in others[:3])
    message = f"claims {key} as {names} does, so that neither is backed up"
    hint = "Remove the container that does not belong there; `docker inspect` tells whence each comes."
    if others and others[0] in seats.seated:
        message = f"claims {key}, which {names} has and keeps"
        hint = f"Remove {rival.name} if it does not belong there; if it is to take over, remove {names}."
    return Problem(KEY_TAKEN, f"container {rival.name}", message, hint)


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


def targets_of(loaded: Loaded, container: Listed, strategies: Strategies) -> Iterable[Target]:
    """The targets that one container's labels ask for, and those that its image's would, which count for nothing."""
    base, forged = named(container)
    counting = words(loaded, container)
    parts = {part.name: part for part in parts_of(loaded, container, counting, strategies)}
    silenced = counting is not container.labels
    raw = parts_of(loaded, container, container.labels, strategies) if silenced else ()
    doubt = about_image(container, base, silenced=any(part.enabled for part in raw))
    for part in parts.values():
        key, problems = base.model_copy(update={"name": part.name}), (*part.problems, *doubt)
        if not part.enabled:
            yield Target(key, "disabled", container, problems=problems)
        elif forged:
            yield Target(key, "problem", container, problems=(forged,))
        else:
            yield enabled(loaded, key, replace(part, problems=problems), container, strategies)
    for part in raw:
        if part.enabled and part.name not in parts:
            yield Target(base.model_copy(update={"name": part.name}), "disabled", container, problems=doubt)


def parts_of(
    loaded: Loaded, container: Listed, labels: Mapping[str, str], strategies: Strategies
) -> Sequence[LabelPart]:
    return parse(labels, container.name, prefix=loaded.settings.label_prefix, strategies=strategies.keys())


def words(loaded: Loaded, container: Listed) -> Mapping[str, str]:
    """The labels that count: all, or those without the image's, which only the operator's policy lets count."""
    key, _ = named(container)
    if not container.of_image or {EVERY, str(key)} & {*loaded.settings.policy.image_labels}:
        return container.labels
    return {label: value for label, value in container.labels.items() if label not in container.of_image}


def about_image(container: Listed, key: Key, *, silenced: bool) -> tuple[Problem, ...]:
    """What is to be said of the labels of an image: that they count for nothing, or that nobody knows them."""
    place = f"container {container.name}"
    if container.image_unseen is not None:
        reason, hint = container.image_unseen
        message = f"labels of its image count like the operator's, since nobody can tell them apart: {reason}"
        return (Problem("image-unseen", place, message, hint, "warning"),)
    if not silenced:
        return ()
    labels = ", ".join(escaped(label[:120]) for label in sorted(container.of_image)[:5])
    message = f"{labels} come from the image, as nothing tells them from labels of the compose file that say the same"
    hint = "Write them into the compose file in other words (`yes` for `true`), or set "
    hint += f"`policy.image-labels: [{key}]` in config.yaml."
    return (Problem(IMAGE_LABELS, place, f"{message}; they count for nothing", hint, "warning"),)


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


def elsewhere(loaded: Loaded, target: Target, strategies: Strategies) -> RunnableTarget | None:
    """A target for a restore into another container, where its labels say neither user, environment nor commands.

    None where nothing is left that could be restored by.
    """
    container = target.container
    parts = parts_of(loaded, container, words(loaded, container), strategies)
    part = next((part for part in parts if part.name == target.key.name and part.enabled), None)
    return enabled(loaded, target.key, part.elsewhere(), container, strategies).described if part else None


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
