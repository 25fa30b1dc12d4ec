"""Where the sidecar looks for targets: its networks, and its Compose project or its stack."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from config.loading import Loaded
from config.problems import Problem
from controller.engine.models import Listed, NetworkInfo
from controller.targets.origin import STACK, is_one_off, is_task, origin

NETWORK = "com.docker.compose.network"
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
        return any(endpoint.id in self.networks for endpoint in container.networks.values())


def find_scope(loaded: Loaded, own_id: str | None, listed: Iterable[Listed], networks: Iterable[NetworkInfo]) -> Scope:
    """The sidecar's own place in the engine; says what it lacks there."""
    settings, listed, networks = loaded.settings.scope, tuple(listed), tuple(networks)
    own = next((container for container in listed if container.id == own_id), None)
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
    scope = Scope(frozenset(joined), project, own_id, address, home=home, in_swarm=in_swarm)
    problems += [another(container) for container in listed if scope.reaches(container) and is_sidecar(container)]
    return replace(scope, problems=tuple(problems))


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
