"""The process that works for one destination: reads orders from its standard input, and ends with it.

A process of its own, because a library for a protocol may take as much memory as the whole sidecar, or hang.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from secrets import token_hex

from pydantic import TypeAdapter

from controller.core.copy_errors import DestinationLies, DestinationRefused, ObjectKept
from controller.core.errors import SidecarError
from controller.core.failure import Failure
from controller.core.records import Record, utc_now
from controller.storage.copies import receipts
from controller.storage.copies.ledger import Ledger
from controller.storage.copies.orders import (
    Answer,
    Check,
    Checked,
    Hear,
    List,
    Listed,
    Order,
    Prepare,
    Prune,
    Receive,
    Send,
    Sent,
    Setup,
    Verify,
)
from controller.storage.copies.place import Place
from controller.storage.copies.pruning import listed, pruned
from controller.storage.copies.reading import Copies
from controller.storage.copies.receipts import heard
from controller.storage.copies.sealing import Sealer
from controller.storage.copies.sending import Sender
from controller.storage.copies.signing import Signer, Verifier
from controller.storage.copies.verifying import verified
from controller.storage.destinations import opened

PRIORITY = 10
"""Of nice(2): runs go before."""
PROGRESS_SECONDS = 1.0
CANARY = "backup-sidecar-canary-"
MOST_SECONDS_APART = 300.0
"""Of a destination's clock and ours."""


class Worker:
    """Of one destination; keeps what it has opened from order to order."""

    def __init__(self, setup: Setup, tell: Callable[[int], None]) -> None:
        """`tell` is called with the progress of a copy. Raises `SidecarError`."""
        self._setup, self._tell = setup, tell
        self._sealer, self._signer = Sealer(setup.recipients), Signer(setup.signing_key)
        self._ledger = Ledger(setup.ledger)
        self._destination = opened(setup.kind, setup.options, setup.store)
        self._place = Place(self._destination, self._ledger, setup.writer, utc_now)
        self._begun = False

    def close(self) -> None:
        self._destination.close()
        self._ledger.close()

    def obey(self, order: Order) -> Record:
        """Gives the result; raises `SidecarError`."""
        match order:
            case Prepare():
                self._begun = False
                return self._place.prepare(take_over=order.take_over)
            case Check():
                return self._check()
            case Send():
                return self._send(order)
            case _:
                return self._about(order, self._copies())

    def _about(self, order: Verify | List | Prune | Hear | Receive, copies: Copies) -> Record:
        """What is asked of the copies that are there."""
        match order:
            case Verify():
                return verified(copies, self._ledger, order)
            case List():
                return Listed(copies=tuple(listed(copies)))
            case Prune():
                return pruned(copies, self._place, self._ledger, order)
            case Receive():
                for text in order.receipts:
                    name, data = receipts.named(copies, text.encode())
                    self._destination.put(name, data)
        return heard(copies)

    def _copies(self) -> Copies:
        self._begin()
        return Copies(self._destination, Verifier([self._signer.public, *self._setup.signers]))

    def _begin(self) -> None:
        if not self._begun:
            self._place.begin()
            self._begun = True

    def _send(self, order: Send) -> Sent:
        self._begin()
        sender = Sender(
            self._place,
            self._ledger,
            self._sealer,
            self._signer,
            clock=utc_now,
            progress=self._tell,
            bandwidth=self._setup.bandwidth,
        )
        return sender.send(order)

    def _check(self) -> Checked:
        """Everything that a copy does, with a name and bytes of its own."""
        self._begin()
        name, content, deletes = f"{CANARY}{token_hex(8)}", os.urandom(4096), True
        self._destination.put(name, content)
        now = utc_now()
        try:
            if b"".join(self._destination.get(name)) != content:
                raise DestinationLies("what was written there comes back as something else")
            found = [each for each in self._destination.list(CANARY) if each.name == name]
            if not found:
                raise DestinationRefused("what was written there is not listed")
            traits = self._destination.traits(name)
        finally:
            try:
                self._destination.delete(name)
            except ObjectKept:
                deletes = False
        ahead, warnings = (found[0].modified - now).total_seconds(), list(traits.warnings)
        if abs(ahead) > MOST_SECONDS_APART:
            warnings.append(f"its clock and ours differ by {abs(ahead) / 60:.0f} minutes")
        return Checked(
            ahead=round(ahead),
            deletes=deletes,
            versions=traits.versions,
            locked_until=traits.locked_until,
            rules_read=traits.rules_read,
            warnings=tuple(warnings),
        )


def main() -> int:
    os.nice(PRIORITY)
    setup = Setup.model_validate_json(sys.stdin.buffer.readline())
    orders: TypeAdapter[Order] = TypeAdapter(Order)
    worker: Worker | None = None
    told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        if time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            say(Answer(progress=done))

    with ExitStack() as closing:
        for line in sys.stdin.buffer:
            order = orders.validate_json(line)
            try:
                if worker is None:
                    worker = Worker(setup, tell)
                    closing.callback(worker.close)
                say(Answer(result=worker.obey(order).model_dump(mode="json")))
            except SidecarError as error:
                say(Answer(failure=Failure.of(error)))
    return 0


def say(answer: Answer) -> None:
    sys.stdout.write(answer.model_dump_json(exclude_none=True) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
