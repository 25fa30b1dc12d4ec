"""Which service a container belongs to, by the labels of Docker Compose and of Docker Swarm.

Swarm writes its own labels over those of a service and of an image, and gives each task a new container name, so that
nothing that stays may be taken from that. An image that Compose has built carries Compose's project and service, but no
number: only Compose's own containers have one, and they are no tasks, whatever their file says.
"""

import re
from dataclasses import dataclass

from controller.engine.models import Listed

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONEOFF = "com.docker.compose.oneoff"
STACK = "com.docker.stack.namespace"
SWARM_TASK = "com.docker.swarm.task.id"
SWARM_TASK_NAME = "com.docker.swarm.task.name"
SWARM_SERVICE = "com.docker.swarm.service.name"

COMPOSE_NAMES = {PROJECT: r"[a-z0-9][a-z0-9_-]{0,99}", SERVICE: r"[A-Za-z0-9_.-]{1,100}"}
"""What Compose writes into its labels (compose-spec, `name` and `services`); 100 characters are our limit."""
SWARM_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
"""What Swarm takes for the name of a service, with that of its stack before it (swarmkit, `validateAnnotations`)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A container's place among those that were started with it; the same for each container that follows it there."""

    project: str | None
    """Of Compose, or the stack; None for a container of neither."""
    service: str
    """Without a service, the container's name."""
    instance: str
    """Tells it from the others of its service: the container's name, or that of a task without its id."""
    number: int | None
    """From 1; None where there is none, as for a service in global mode."""
    forged: str | None = None
    """The label that holds nothing that Compose or Swarm writes there."""


def origin(container: Listed) -> Origin:
    """Where a container comes from; what a label made up is nobody's place."""
    if is_task(container):
        return of_task(container)
    number = counted(container.labels.get(NUMBER, ""))
    if not (project := container.labels.get(PROJECT)):
        return Origin(None, container.name, container.name, number)
    labels = {PROJECT: project, SERVICE: container.labels.get(SERVICE, "")}
    forged = next((label for label, value in labels.items() if not re.fullmatch(COMPOSE_NAMES[label], value)), None)
    return Origin(project, labels[SERVICE], container.name, number, forged)


def of_task(container: Listed) -> Origin:
    labels = container.labels
    stack, service, task = labels.get(STACK) or None, labels.get(SWARM_SERVICE, ""), labels.get(SWARM_TASK_NAME, "")
    own = service.removeprefix(f"{stack}_") if stack else service
    written = {
        SWARM_SERVICE: re.fullmatch(SWARM_NAME, service),
        STACK: stack is None or service == f"{stack}_{own}",
        SWARM_TASK_NAME: re.fullmatch(rf"{re.escape(service)}\.[a-z0-9]{{1,25}}\.[a-z0-9]{{1,25}}", task),
    }
    forged = next((label for label, is_so in written.items() if not is_so), None)
    instance = task.rpartition(".")[0]
    return Origin(stack, own, instance, counted(instance.rpartition(".")[2]), forged)


def is_one_off(container: Listed) -> bool:
    """Whether `docker compose run` has started it: it has its service's labels, and another command."""
    return container.labels.get(ONEOFF, "False") != "False"


def is_task(container: Listed) -> bool:
    return SWARM_TASK in container.labels and NUMBER not in container.labels


def counted(number: str) -> int | None:
    """Compose and Swarm count from 1; any other number is made up, and is none."""
    return int(number) if re.fullmatch("[1-9][0-9]{0,5}", number, re.ASCII) else None
