"""A destination as it was at a time, for who wants back what somebody has overwritten or deleted since."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from controller.core.copy_errors import DestinationRefused, UnknownObject
from controller.storage.copies.layout import MARKER
from controller.storage.destinations import Destination, StoredObject, Traits


class Then:
    """To read from. By the destination's clock, and only where that keeps versions."""

    lock = timedelta(0)

    def __init__(self, destination: Destination, moment: datetime) -> None:
        self._destination, self._moment, self.prefix = destination, moment, destination.prefix

    def probe(self) -> None:
        self._destination.probe()

    def list(self, prefix: str, as_of: datetime | None = None) -> Iterator[StoredObject]:
        return self._destination.list(prefix, min(as_of or self._moment, self._moment))

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        return self._destination.get(name, version or self._version(name))

    def put(self, name: str, content: bytes) -> None:
        raise self._refused(name)

    def keep(self, name: str) -> None:
        raise self._refused(name)

    def delete(self, name: str) -> None:
        raise self._refused(name)

    def traits(self, name: str) -> Traits:
        return self._destination.traits(name)

    def close(self) -> None:
        self._destination.close()

    def _version(self, name: str) -> str:
        """Of an object; raises `UnknownObject`, for the marker `DestinationRefused`."""
        for found in self._destination.list(name, self._moment):
            if found.name == name:
                return found.version
        when = f"{self._moment:%Y-%m-%d %H:%M:%S %Z}"
        if name == MARKER:
            hint = "Name a later time. A bucket without versions only has what is there now."
            raise DestinationRefused(f"no copies lay there at {when}", hint=hint)
        raise UnknownObject(f"{name} was not there at {when}")

    def _refused(self, name: str) -> DestinationRefused:
        return DestinationRefused(f"{name} is not changed: the destination is read as it was")
