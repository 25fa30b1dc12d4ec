"""Where a restore goes: a container in scope, named by a target's key, a service, or the container itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.core.errors import TargetGone, TargetUnsuitable, UnknownTarget
from controller.core.key import Key
from controller.engine.client import Engine
from controller.engine.models import Listed
from controller.targets.discovery import KEY_TAKEN, nearest
from controller.targets.holders import seats_of
from controller.targets.origin import origin
from controller.targets.runnable import RunnableTarget
from controller.targets.scope import Scope
from controller.targets.target import LIVE, Target

SHORTEST_ID = 12
"""Characters of an id that are taken for one."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a restore goes."""

    container: Listed
    target: RunnableTarget
    """Whose settings hold there: the target that was named, one of the container, or the run's own."""
    targets: tuple[Target, ...]
    """Those whose container it is."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """Finds them in what the engine and the last look at it tell."""

    engine: Engine
    targets: Callable[[], Sequence[Target]]
    scope: Callable[[], Scope | None]
    elsewhere: Callable[[Target], RunnableTarget | None]
    """As `discovery.elsewhere`."""

    def choose(self, key: Key, to: str, strategy: str) -> Destination:
        """For a run of this key, into the place that `to` names, else where it came from.

        Raises `UnknownTarget`, `TargetGone`, `TargetUnsuitable`.
        """
        everything = self.targets()
        named = self._target(to, everything) if "/" in to else None
        own = next((target for target in everything if target.key == key), None)
        if to and named is None:
            container = self._container(to)
        elif target := named or own:
            container = target.container
        else:
            hint = "Name a place with --to, or write the dump to a file with --to-file."
            raise UnknownTarget(f"no target {key}", hint=hint)
        target = named or (None if to else own)
        if container.state not in LIVE or (target and target.state == "absent"):
            message = f"{target.key} has no running container" if target else f"container {container.name} does not run"
            raise TargetGone(message, hint="Start it, or name another place with --to.")
        there = tuple(target for target in everything if target.container.id == container.id)
        for target in (named, *sorted(there, key=lambda target: target.key != key)):
            if target and (described := target.described) and target.strategy == strategy:
                return Destination(container, described, there)
        if own and own.described and own.strategy == strategy:
            return Destination(container, self._far(own, container), there)
        if not to and own and own.described is None:
            own.runnable()
        raise TargetUnsuitable(
            f"the run was made by {strategy}, and neither {key} nor {container.name} has that strategy now",
            hint=f"Restore into a target whose strategy is {strategy}, or take --to-file.",
            code="other-strategy",
        )

    def _far(self, own: Target, container: Listed) -> RunnableTarget:
        """The run's target for a container that is not its own; raises `TargetUnsuitable`."""
        far = self.elsewhere(own)
        if far is None or far.strategy != own.strategy:
            message = f"the commands of {own.key} are in its labels, which say nothing in container {container.name}"
            hint = f"Write them into `targets.{own.key}` of config.yaml, or label {container.name}, or take --to-file."
            raise TargetUnsuitable(message, hint=hint, code="labels-of-another")
        return far

    def _target(self, name: str, everything: Sequence[Target]) -> Target:
        """By its key; raises `UnknownTarget`."""
        known = {str(target.key): target for target in everything}
        try:
            key = Key.parse(name)
        except ValueError as error:
            raise UnknownTarget(str(error), hint="`backup-sidecar targets` lists them.") from None
        if str(key) not in known:
            raise UnknownTarget(f"no target {key}", hint=nearest(key, known.keys()))
        return known[str(key)]

    def _container(self, name: str) -> Listed:
        """In scope, by its name, its id or its service; raises `TargetGone`, `TargetUnsuitable` for any other."""
        scope, containers = self.scope(), self.engine.containers()
        called = [container for container in containers if is_called(container, name)]
        within = [container for container in called if scope and scope.reaches(container)]
        if not within:
            within = [each for each in containers if is_of(each, name) and scope and scope.reaches(each)]
        if len({origin(container).project for container in within}) > 1:
            hint = "Name the key of a target, or a container."
            raise TargetUnsuitable(f"several projects have a service {name}", hint=hint, code="not-in-scope")
        if len(within) > 1:
            within = list(self._seated(within, name))
        if within:
            return within[0]
        if called:
            hint = "A restore goes only where a backup could come from: same network, same project."
            raise TargetUnsuitable(f"container {name} is not in scope", hint=hint, code="not-in-scope")
        hint = "`backup-sidecar targets` lists the keys, `docker ps` the containers."
        raise TargetGone(f"there is no service and no container {name[:80]!r}", hint=hint)

    def _seated(self, containers: Sequence[Listed], name: str) -> Sequence[Listed]:
        """Those of a service that nobody else claims to be; raises `TargetUnsuitable` where there is none."""
        taken = {target.container.id for target in self.targets() if target.has(KEY_TAKEN)}
        known = {target.container.id for target in self.targets()} - taken
        seats = seats_of([container for container in containers if container.id not in taken], known)
        if not seats.seated:
            names = " and ".join(rival.name for rival in seats.rivals) or "nobody has shown which container"
            raise TargetUnsuitable(f"{names} claim to be {name}", hint="Name the container.", code=KEY_TAKEN)
        return seats.seated


def is_of(container: Listed, service: str) -> bool:
    place = origin(container)
    return place.service == service and place.forged is None


def is_called(container: Listed, name: str) -> bool:
    return name == container.name or (len(name) >= SHORTEST_ID and container.id.startswith(name))
