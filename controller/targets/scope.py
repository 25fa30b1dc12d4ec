"""Where the sidecar looks for targets: its networks, and its Compose project or its stack."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from config.loading import Loaded
from config.problems import Problem
from controller.engine.models import Listed, NetworkInfo
from controller.targets.origin import STACK, is_one_off, is_task, origin

NETWORK = "com.docker.compose.network"
INGRESS = "ingress"
"""Swarm's own network for published ports."""
TITLE = "org.opencontainers.image.title"
"""Label of the sidecar's own image."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look: network ids, and the Compose project or the stack, None for any."""

    networks: frozenset[str]
    project: str | None
    own_id: str | None
    address: str | None = None
    """The sidecar's IPv4 on `scope.external`, where the orchestrator can reach it."""
    problems: tuple[Problem, ...] = ()
    home: str | None = None
    """The sidecar's own Compose project or stack."""
    in_swarm: bool = False
    """The sidecar is a Swarm task: what it does not find may be on another node."""
    names: frozenset[str] = frozenset()
    """Of `networks`, by which the engine lists those of a container that has not started."""
    published: frozenset[int] = frozenset()
    """The sidecar's own ports that the host has."""
    ingress: str | None = None
    """Its IPv4 on the network by which Swarm leads ports of a service to it."""

    def reaches(self, container: Listed) -> bool:
        """Whether the sidecar may touch a container: it shares network and project, and is not the sidecar itself."""
        return (
            container.id != self.own_id
            and self._is_joined(container)
            and (self.project is None or origin(container).project == self.project)
        )

    def misses(self, container: Listed) -> bool:
        """Whether a container of the sidecar's own project is on no network of the sidecar's, which is on one."""
        is_own = self.home is not None and origin(container).project == self.home
        return is_own and container.id != self.own_id and bool(self.networks) and not self._is_joined(container)

    def _is_joined(self, container: Listed) -> bool:
        return any(
            end.id in self.networks or (not end.id and name in self.names) for name, end in container.networks.items()
        )


def find_scope(loaded: Loaded, own_id: str | None, listed: Iterable[Listed], networks: Iterable[NetworkInfo]) -> Scope:
    """The sidecar's own place in the engine; says what it lacks there."""
    listed = tuple(listed)
    own = next((container for container in listed if container.id == own_id), None)
    scope = _found(loaded, own_id, own, listed, tuple(networks))
    if own is None:
        return scope
    ingress = own.networks.get(INGRESS)
    return replace(scope, published=own.published, ingress=ingress.ipv4 if ingress else None)


def _found(
    loaded: Loaded, own_id: str | None, own: Listed | None, listed: Sequence[Listed], networks: Sequence[NetworkInfo]
) -> Scope:
    settings = loaded.settings.scope
    if own is None and settings.project == "own":
        hint = "Run it as a service of the application's Compose project, or set scope.project to any."
        message = "runs in no container of this engine, so no project is its own"
        return Scope(frozenset(), None, own_id, problems=(Problem("not-in-container", "sidecar", message, hint),))
    project = origin(own).project if own and settings.project == "own" else None
    if project is None and settings.project == "own":
        hint = "Start it by Docker Compose or `docker stack deploy`, or set scope.project to any."
        problem = Problem("no-project", "sidecar", "belongs to no Compose project and to no stack", hint)
        return Scope(frozenset(), None, own_id, problems=(problem,))
    internal, external = called(settings.network, networks), called(settings.external, networks)
    joined = internal & {end.id for end in own.networks.values()} if own else internal
    address = next((end.ipv4 for end in own.networks.values() if end.id in external), None) if own else None
    problems = []
    if not joined:
        hint = f"Add the network {settings.network} to the sidecar's service, or set scope.network."
        problems.append(Problem("not-on-network", "sidecar", f"is on no network called {settings.network}", hint))
    if own and address is None:
        kind = "--driver overlay --attachable " if is_task(own) else ""
        hint = f"Run `docker network create {kind}{settings.external}` and add it to the sidecar's service."
        message = f"is not on {settings.external}, so no orchestrator can reach it"
        problems.append(Problem("not-on-network", "sidecar", message, hint, severity="warning"))
    home, in_swarm = (origin(own).project, is_task(own)) if own else (None, False)
    known_as = frozenset(network.name for network in networks if network.id in joined)
    scope = Scope(frozenset(joined), project, own_id, address, home=home, in_swarm=in_swarm, names=known_as)
    problems += [another(container) for container in listed if scope.reaches(container) and is_sidecar(container)]
    problems += merged(own, loaded) if own else ()
    return replace(scope, problems=tuple(problems))


def merged(own: Listed, loaded: Loaded) -> Iterator[Problem]:
    """What no sidecar has: it is of an app's service of the same name, if Compose made one service of the two."""
    labels = [label for label in sorted(own.labels) if label.startswith(loaded.settings.label_prefix)]
    ports = sorted(own.published - {loaded.settings.api.port})
    if left := [f"the label {label}" for label in labels[:1]] + [f"the port {port}" for port in ports[:1]]:
        hint = "If the app has a service of this name, join the sidecar by `extends` below another one."
        message = f"has {' and '.join(left)}, as no sidecar has: a service of the app may have been merged into its own"
        yield Problem("merged-service", f"container {own.name}", message, hint)


def is_sidecar(container: Listed) -> bool:
    """Whether it serves now; what `docker compose run` starts is another command of the image, such as `check`."""
    is_ours = container.labels.get(TITLE) == "backup-sidecar"
    return is_ours and container.state == "running" and not is_one_off(container)


def another(container: Listed) -> Problem:
    """One sidecar too many: both back up everything, and neither knows of the other's runs and pauses."""
    hint = "Stop one of them and remove it; `backup-sidecar adopt` takes up the runs in its store."
    message = "is a sidecar of these containers too, so that everything is backed up, paused and restored by two"
    return Problem("two-sidecars", f"container {container.name}", message, hint)


def called(name: str, networks: Iterable[NetworkInfo]) -> set[str]:
    """Ids of the networks with this name: as a Compose file or a stack's file has it, or as the engine has it."""
    return {network.id for network in networks if name in names(network)}


def names(network: NetworkInfo) -> tuple[str | None, ...]:
    stack = network.labels.get(STACK)
    return network.name, network.labels.get(NETWORK), network.name.removeprefix(f"{stack}_") if stack else None
