"""Where the API listens: not on the app's own network, whose containers have no business with it."""

import socket
from collections.abc import Sequence

from controller.targets.scope import Scope

LOOPBACK = "127.0.0.1"
ELSEWHERE = ("192.0.2.1", 9)
"""An address that is nobody's (RFC 5737); nothing is sent to it."""


def addresses(scope: Scope | None, port: int) -> Sequence[str]:
    """The loopback's, that on `scope.external`, and those to which the engine leads a published port."""
    if scope is None:
        return (LOOPBACK,)
    published = way_out() if port in scope.published else None
    return tuple(dict.fromkeys(filter(None, (LOOPBACK, scope.address, scope.ingress, published))))


def way_out() -> str | None:
    """The own address on the network that leads out, to which published ports lead; None where none does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address
