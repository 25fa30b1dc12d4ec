"""From the engine's list of containers and the operator's settings to targets; pure, so that each rule has its test."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import ValidationError

from config.labels import LabelPart, parse
from config.loading import Loaded
from config.problems import Problem
from config.resolve import Resolved, resolve
from config.target import TargetSettings
from config.validation import problems_from
from controller.core.errors import TargetGone, TargetUnsuitable
from controller.core.redaction import SENSITIVE
from controller.core.report import Key
from controller.engine.models import Listed, NetworkInfo
from controller.targets.survey import Survey
from strategies.base import Archive, Exec, Options, Strategy

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONEOFF = "com.docker.compose.oneoff"
NETWORK = "com.docker.compose.network"
COMPOSE_NAMES = {PROJECT: r"[a-z0-9][a-z0-9_-]{0,99}", SERVICE: r"[A-Za-z0-9_.-]{1,100}"}
"""What Compose writes into its labels (compose-spec, `name` and `services`); 100 characters are our limit."""

Strategies = Mapping[str, Strategy[Any]]
"""By every name and alias."""
LIVE = {"running", "paused", "restarting"}
TargetState = Literal["ready", "pending", "problem", "disabled", "replica", "absent"]


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to back up, and whether that is possible."""

    key: Key
    state: TargetState
    """`pending`: being asked; `problem`: see `problems`; `replica`: of a scaled service; `absent`: not running."""
    container: Listed
    resolved: Resolved | None = None
    options: Options | None = None
    """The strategy's, validated; None where something is wrong with the labels."""
    problems: tuple[Problem, ...] = ()
    survey: Survey | None = None

    @property
    def strategy(self) -> str:
        return (self.settings.strategy if self.settings else None) or ""

    @property
    def settings(self) -> TargetSettings | None:
        """None where something is wrong with the labels."""
        return self.resolved.settings if self.resolved else None

    def demand_runnable(self) -> None:
        """Raises `TargetGone` or `TargetUnsuitable` for a target that no run can be started for."""
        if self.state == "absent":
            raise TargetGone(f"{self.key} has no running container", hint="Start it.")
        if self.options is None or self.state == "replica":
            told = "; ".join(f"{problem.place}: {problem.message}" for problem in self.problems)
            hint = "`backup-sidecar targets` shows each problem with its remedy."
            if self.state == "disabled":
                hint = "Set `backup.enable=true` on it."
            code = self.problems[0].code if self.problems else self.state
            raise TargetUnsuitable(f"{self.key} cannot be backed up: {told or self.state}", hint=hint, code=code)

    def asked(self) -> tuple[TargetSettings, Options]:
        """Settings and options of a target that can run; raises like `demand_runnable`."""
        self.demand_runnable()
        assert self.settings is not None and self.options is not None  # noqa: PT018  # A state that cannot be.
        return self.settings, self.options

    def as_dict(self) -> dict[str, Any]:
        """For API, CLI and heartbeat; values of variables whose names say that they are secret are left out."""
        return {
            "key": str(self.key),
            "state": self.state,
            "strategy": self.strategy,
            "container": {"id": self.container.id, "name": self.container.name, "image": self.container.image},
            "problems": [problem.as_dict() for problem in self.problems],
            "settings": shown(self.settings) if self.settings else {},
            "provenance": dict(self.resolved.provenance) if self.resolved else {},
            "plan": planned(self.survey) if self.survey else None,
        }

    def with_survey(self, survey: Survey) -> "Target":
        return replace(self, state="ready", survey=survey, problems=self.resolved.problems if self.resolved else ())

    def with_problem(self, problem: Problem) -> "Target":
        known = self.resolved.problems if self.resolved else ()
        return replace(self, state="problem", survey=None, problems=(*known, problem))


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look: network ids, and the Compose project, None for any."""

    networks: frozenset[str]
    project: str | None
    own_id: str | None
    address: str | None = None
    """The sidecar's IPv4 on `scope.external`, where the orchestrator can reach it."""
    problems: tuple[Problem, ...] = ()


def scope(loaded: Loaded, own_id: str | None, listed: Iterable[Listed], networks: Iterable[NetworkInfo]) -> Scope:
    """The sidecar's own place in the engine; says what it lacks there."""
    settings, networks = loaded.settings.scope, tuple(networks)
    own = next((container for container in listed if container.id == own_id), None)
    if own is None and settings.project == "own":
        hint = "Run it as a service of the application's Compose project, or set scope.project to any."
        message = "runs in no container of this engine, so no project is its own"
        return Scope(frozenset(), None, own_id, problems=(Problem("not-in-container", "sidecar", message, hint),))
    project = own.labels.get(PROJECT) if own and settings.project == "own" else None
    if project is None and settings.project == "own":
        hint = "Start it by Docker Compose, or set scope.project to any."
        problem = Problem("no-project", "sidecar", "belongs to no Compose project", hint)
        return Scope(frozenset(), None, own_id, problems=(problem,))
    internal, external = called(settings.network, networks), called(settings.external, networks)
    joined = internal & {end.id for end in own.networks.values()} if own else internal
    address = next((end.ipv4 for end in own.networks.values() if end.id in external), None) if own else None
    problems = []
    if not joined:
        hint = f"Add the network {settings.network} to the sidecar's service, or set scope.network."
        problems.append(Problem("not-on-network", "sidecar", f"is on no network called {settings.network}", hint))
    if own and address is None:
        hint = f"Run `docker network create {settings.external}` and add it to the sidecar's service."
        message = f"is not on {settings.external}, so no orchestrator can reach it"
        problems.append(Problem("not-on-network", "sidecar", message, hint, severity="warning"))
    return Scope(frozenset(joined), project, own_id, address, tuple(problems))


def called(name: str, networks: Iterable[NetworkInfo]) -> set[str]:
    """Ids of the networks with this Compose name or plain name."""
    return {network.id for network in networks if name in (network.labels.get(NETWORK), network.name)}


def find(loaded: Loaded, place: Scope, listed: Iterable[Listed], strategies: Strategies) -> dict[str, Target]:
    """Every target in scope by key."""
    prefix = loaded.settings.label_prefix
    found: dict[str, Target] = {}
    for container in sorted(filter(lambda one: in_scope(one, place, prefix), listed), key=precedence):
        for target in of_container(loaded, container, strategies):
            first = found.get(str(target.key))
            if first is None:
                found[str(target.key)] = target
            elif container.state in LIVE and first.state != "disabled":
                replica = replace(target, state="replica", key=replica_key(target.key, container), problems=())
                found[str(replica.key)] = replica
    return found


def in_scope(container: Listed, place: Scope, prefix: str) -> bool:
    labels = container.labels
    return (
        container.id != place.own_id
        and any(label.startswith(prefix) for label in labels)
        and labels.get(ONEOFF, "False") != "True"
        and any(endpoint.id in place.networks for endpoint in container.networks.values())
        and (place.project is None or labels.get(PROJECT) == place.project)
    )


def precedence(container: Listed) -> tuple[bool, int, int, str]:
    """Of several containers for one key: the live ones first, then the lowest number, then the oldest.

    Compose counts from 1, so that a container with a made-up number, or none, takes nobody's place.
    """
    number = container.labels.get(NUMBER, "")
    rank = int(number) if re.fullmatch("[1-9][0-9]{0,5}", number, re.ASCII) else 1_000_000
    return (container.state not in LIVE, rank, container.created, container.id)


def of_container(loaded: Loaded, container: Listed, strategies: Strategies) -> Iterable[Target]:
    """The targets that one container's labels ask for."""
    parsed = parse(container.labels, container.name, prefix=loaded.settings.label_prefix, strategies=strategies.keys())
    base, forged = named(container)
    for part in parsed.parts:
        key = base.model_copy(update={"name": part.name})
        if part.state == "disabled":
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
            place = f"container {container.name}, label {label}"
            return own, Problem("forged-label", place, "holds nothing that Compose writes there", hint)
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


def shown(settings: TargetSettings) -> dict[str, Any]:
    """Settings as JSON by the labels' names, without secret values."""
    values: dict[str, Any] = settings.model_dump(mode="json", by_alias=True)
    values["env"] = {name: "***" if SENSITIVE.search(name) else value for name, value in settings.env.items()}
    return values


def planned(survey: Survey) -> dict[str, Any]:
    """A plan as JSON: what would run, what would come out, how it would be proved."""
    return {
        "shell": survey.facts.shell,
        "helper": survey.helper is not None,
        "warnings": list(survey.plan.warnings),
        "dumps": [
            {
                "name": dump.name,
                "format": dump.format,
                "argv": list(dump.source.argv) if isinstance(dump.source, Exec) else [],
                "archive": dump.source.path if isinstance(dump.source, Archive) else None,
                "check": dump.check is not None,
            }
            for dump in survey.plan.dumps
        ],
    }


def replica_key(key: Key, container: Listed) -> Key:
    """A replica is listed under its container's name, so that it never takes a target's place."""
    return key.model_copy(update={"service": f"{key.service}@{container.name}"})


def nearest(key: Key, known: Collection[str]) -> str:
    """A hint for a key that nobody has."""
    close = get_close_matches(str(key), known, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known are: {', '.join(sorted(known)) or 'none'}."
