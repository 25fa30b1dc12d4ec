"""Which containers a restore stops for the while, so that nobody writes to what it replaces."""

from collections.abc import Collection, Iterator

from config.wording import shortened
from controller.core.errors import TargetUnsuitable
from controller.engine.client import Engine
from controller.engine.models import Inspected, Listed
from controller.targets.origin import origin
from controller.targets.scope import Scope, is_sidecar
from controller.targets.survey import why_not_stopped
from controller.targets.target import LIVE


def to_stop(engine: Engine, scope: Scope | None, services: Collection[str], beside: Listed) -> tuple[Inspected, ...]:
    """Each running container of these services of the project in which `beside` is.

    Raises `TargetUnsuitable` for a service that is not there, and for a container that would not come back as it was.
    """
    project = origin(beside).project
    others = [one for one in engine.containers() if origin(one).project == project and not origin(one).forged]
    if project is None:  # Whatever Compose has not started is of no project.
        others = [one for one in others if scope and scope.reaches(one)]
    own = origin(beside).service
    known = sorted({origin(one).service for one in others if not is_sidecar(one)} - {own})
    for service in services:
        if service == own:
            raise refused(f"service {service} is what is restored into, which has to run")
        if service not in known:
            what = f"project {project}" if project else "scope"
            raise TargetUnsuitable(
                f"there is no service {service[:80]} in {what} that could be stopped",
                hint=f"There is {shortened(known)}." if known else "There is none at all.",
                code="unknown-service",
            )
    wanted = (one for one in others if one.state in LIVE and origin(one).service in services)
    return tuple(_inspected(engine, wanted))


def _inspected(engine: Engine, wanted: Iterator[Listed]) -> Iterator[Inspected]:
    for listed in wanted:
        inspected = engine.inspect(listed.id)
        if why := why_not_stopped(inspected):
            raise refused(f"container {inspected.name} {why}")
        yield inspected


def refused(message: str) -> TargetUnsuitable:
    hint = "Leave it out of --stop, and stop it yourself if it writes."
    return TargetUnsuitable(message, hint=hint, code="no-stop")
