"""What goes on in a running sidecar: started in one order, stopped in the opposite one."""

from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from controller.core.loop import Service


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
        return all(service.alive for service in self._services)


def stop(services: tuple[Service, ...]) -> None:
    """The last first; a defect of one keeps none of the others from being stopped."""
    for service in reversed(services):
        try:
            service.stop()
        except Exception as error:  # noqa: BLE001  # The store must be released, the lease ended.
            logger.opt(exception=error).error("{} was stopped by a defect of this program", type(service).__name__)
