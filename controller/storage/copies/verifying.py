"""Reads again what lies at a destination, the longest unread first, and says which copies are still whole."""

from controller.core.copy_errors import NotACopy
from controller.core.records import rfc3339, utc_now
from controller.storage.copies.layout import BASE, CopiedRun
from controller.storage.copies.ledger import Ledger
from controller.storage.copies.orders import Verified, Verify
from controller.storage.copies.reading import Copies, sealed_object


def verified(copies: Copies, ledger: Ledger, order: Verify) -> Verified:
    """An object has the digest that is its name; what lies in it was compared when it was sent."""
    wrong, bad, objects, size = list[str](), set[str](), 0, 0
    ledger.take_listing(copies.destination.list(BASE))
    for name in ledger.unlisted():
        ledger.forget(name)
    for piece in ledger.longest_unread(rfc3339(order.before)):
        if size and size + piece.size > order.budget:
            break
        try:
            sealed_object(copies.destination, piece.name)
            ledger.proved(piece.name, rfc3339(utc_now()))
        except NotACopy as error:
            wrong.append(error.message)
            bad.add(piece.name)
            ledger.forget(piece.name)
        objects, size = objects + 1, size + piece.size
    damaged, proved = list[str](), {}
    for run in copies.runs():
        if not isinstance(run, CopiedRun):
            wrong.append(run.message)
            continue
        pieces = set(run.pieces)
        if missing := next(ledger.lacking(pieces), None):
            wrong.append(f"object {missing.name} of run {run.run} is not there with its size")
        if missing or not bad.isdisjoint(piece.name for piece in pieces):
            damaged.append(run.run)
        elif oldest := ledger.oldest(piece.name for piece in pieces):
            proved[run.run] = oldest
    fields = {"wrong": wrong, "damaged": damaged, "proved": proved}
    return Verified.model_validate({"objects": objects, "bytes": size, **fields})
