"""Whose place a destination is: its marker, and the demand that nobody else writes there."""

from collections.abc import Callable
from datetime import datetime
from secrets import token_hex

from pydantic import ValidationError

from controller.core.copy_errors import DestinationForeign, DestinationRefused, UnknownObject
from controller.storage.copies import by_hand
from controller.storage.copies.layout import BASE, MARKER, RUNS, Marker
from controller.storage.copies.ledger import Ledger
from controller.storage.destinations import Destination

MOST_MARKER_BYTES = 64 << 10


class Place:
    """A destination, and the sidecar that writes to it."""

    def __init__(self, destination: Destination, ledger: Ledger, writer: str, clock: Callable[[], datetime]) -> None:
        """`writer` is the sidecar's id."""
        self.destination, self.writer = destination, writer
        self._ledger, self._clock, self._epoch = ledger, clock, ""

    def prepare(self, *, take_over: bool = False) -> Marker:
        """Make the marker, or take it from another; raises `DestinationForeign` where that is not asked for."""
        self.destination.probe()
        try:
            found = marker_of(self.destination)
        except UnknownObject:
            if any(True for prefix in (BASE, RUNS) for _ in self.destination.list(prefix)):
                message = "copies lie there, and no marker"
                raise DestinationRefused(message, hint="Bring its marker back, or name an empty place.") from None
            return self._written(token_hex(16), self.destination.prefix)
        if not take_over:
            self._demand_known(found)
        return self._written(found.destination, found.prefix)

    def begin(self) -> Marker:
        """Rewrite the marker, so that a twin of this sidecar is found out; raises `DestinationForeign`."""
        self.destination.probe()
        found = demanded_marker(self.destination)
        self._demand_known(found)
        return self._written(found.destination, found.prefix)

    def demand_ours(self) -> Marker:
        """Before each commit and deletion: raises `DestinationForeign` where somebody else has begun since `begin`."""
        found = demanded_marker(self.destination)
        if (found.writer, found.epoch) != (self.writer, self._epoch):
            raise foreign(found)
        return found

    def _demand_known(self, found: Marker) -> None:
        if found.writer != self.writer or not self._ledger.knows_epoch(found.epoch):
            raise foreign(found)

    def _written(self, destination: str, prefix: str) -> Marker:
        """What was signed for a prefix stays believed where all of it was moved to another one."""
        self._epoch = token_hex(8)
        self._ledger.add_epoch(self._epoch)  # Before it can be found there.
        whose = {"destination": destination, "prefix": prefix, "writer": self.writer}
        marker = Marker.model_validate(whose | {"epoch": self._epoch, "written": self._clock()})
        for name, content in by_hand.FILES.items():
            self._keep(name, content)
        self.destination.put(MARKER, marker.model_dump_json().encode() + b"\n")
        return marker

    def _keep(self, name: str, content: bytes) -> None:
        try:
            if b"".join(self.destination.get(name)) == content:
                return
        except UnknownObject:
            pass
        self.destination.put(name, content)


def marker_of(destination: Destination) -> Marker:
    """Raises `UnknownObject` where there is none, `DestinationForeign` where it cannot be read."""
    data = b""
    for piece in destination.get(MARKER):
        data += piece
        if len(data) > MOST_MARKER_BYTES:
            break
    try:
        return Marker.model_validate_json(data)
    except ValidationError:
        raise DestinationForeign(f"{MARKER} there is none that this release can read") from None


def demanded_marker(destination: Destination) -> Marker:
    """Raises `DestinationForeign` also where there is none: a share that is not mounted is such a place."""
    try:
        return marker_of(destination)
    except UnknownObject as error:
        message = f"there is no {MARKER}: it is not mounted, or was never prepared"
        raise DestinationForeign(message, hint="Mount it, or run `backup-sidecar copies prepare` once.") from error


def foreign(found: Marker) -> DestinationForeign:
    return DestinationForeign(
        f"sidecar {found.writer} writes there, last since {found.written:%Y-%m-%d %H:%M} UTC",
        hint="Give each sidecar a place of its own; where the other one is lost: `backup-sidecar copies prepare"
        " --take-over`.",
    )
