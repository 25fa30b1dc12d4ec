"""What goes on in a running sidecar: started in one order, stopped in the opposite one."""

from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from controller.core.loop import Loop, Service


@dataclass(frozen=True, slots=True)
class Ending:
    """What is only to be done when the sidecar stops, at this place of the order."""

    stop: Callable[[], None]
    alive: bool = True

    def start(self) -> None:
        """Nothing is to be started."""


class Services:
    """All of them, in the order in which they start."""

    def __init__(self, *services: Service) -> None:
        self._services = services

    def start(self) -> None:
        """Raises what the first one that cannot start raises; those before it are stopped again."""
        for number, service in enumerate(self._services):
            try:
                service.start()
            except BaseException:
                stop(self._services[:number])
                raise

    def stop(self) -> None:
        stop(self._services)

    @property
    def alive(self) -> bool:
        return not self.ended

    @property
    def ended(self) -> tuple[str, ...]:
        """Names of those that have ended by themselves, which only a new process mends."""
        return tuple(name_of(service) for service in self._services if not service.alive)

    @property
    def dead(self) -> tuple[str, ...]:
        """Names of those that have ended by themselves, or whose last step ended by a defect."""
        return tuple(name_of(service) for service in self._services if not service.alive or has_defect(service))


def name_of(service: Service) -> str:
    return service.name if isinstance(service, Loop) else type(service).__name__.lower()


def has_defect(service: Service) -> bool:
    return isinstance(service, Loop) and bool(service.defect)


def stop(services: tuple[Service, ...]) -> None:
    """The last first; a defect of one keeps none of the others from being stopped.

    An engine that hangs may hold every loop, so they are waited for together.
    """
    for service in services:
        if isinstance(service, Loop):
            service.leave()
    for service in reversed(services):
        try:
            service.stop()
        except Exception as error:  # noqa: BLE001  # The store must be released, the lease ended.
            logger.opt(exception=error).error("{} was stopped by a defect of this program", type(service).__name__)
