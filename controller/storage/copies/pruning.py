"""Deletes copies that nobody wants any more: in two steps, two days apart, and nothing while anything is in doubt."""

from collections import Counter
from collections.abc import Container, Iterable
from datetime import timedelta

from controller.core.copy_errors import NotACopy, ObjectKept
from controller.core.records import rfc3339
from controller.storage.copies import receipts
from controller.storage.copies.layout import BASE, CUT_OFF, OBJECT, CopiedRun, object_name
from controller.storage.copies.ledger import Ledger
from controller.storage.copies.orders import ListedCopy, Prune, Pruned
from controller.storage.copies.place import Place
from controller.storage.copies.reading import Copies

BETWEEN = timedelta(hours=48)
"""From the decision that a copy goes until it does, if it is still the decision then."""
ORPHAN_AGE = timedelta(days=30)
"""Of an object that neither a copy nor the ledger names, by the destination's clock."""


def listed(copies: Copies) -> list[ListedCopy]:
    """Every copy that is there; raises `NotACopy` where one cannot be believed."""
    return [
        ListedCopy(
            name=name,
            run=run.run,
            target=run.key,
            series=run.series,
            trigger=run.trigger,
            accepted=run.accepted,
            started=run.started,
            finished=run.finished,
        )
        for name, run in all_of(copies).items()
    ]


def all_of(copies: Copies) -> dict[str, CopiedRun]:
    """By name; raises `NotACopy`."""
    return {name: copies.run(name) for name in copies.names()}


def pruned(copies: Copies, place: Place, ledger: Ledger, order: Prune) -> Pruned:
    """Let those go that were to go two days ago, and are now; raises `NotACopy`, and what the destination raises."""
    known, go = all_of(copies), set(order.go)
    if missing := known.keys() ^ {*order.keep, *order.go}:
        raise NotACopy(f"{min(missing)} came or went while it was decided what goes", hint="It is decided again.")
    ledger.entomb(go, rfc3339(order.now))
    ledger.unlock(rfc3339(order.now))
    due = sorted(go & ledger.entombed(rfc3339(order.now - BETWEEN)))
    free = [name for name in due if not ledger.is_locked(name, rfc3339(order.now))]
    needs = Counter(piece for run in known.values() for piece in names_of(run))
    went, gone = list[str](), 0
    for name in free:
        if is_deleted(place, name):  # From now on it is no copy.
            went.append(known[name].run)
            needs.subtract(pieces := names_of(known[name]))
            gone += deleted(place, ledger, (piece for piece in pieces if not needs[piece]))
            for receipt in list(receipts.names(copies, known[name].run)):
                is_deleted(place, receipt)
    gone += sum(is_deleted(place, name) for name in orphans(place, ledger, +needs, order))
    return Pruned(runs=tuple(went), objects=gone, waiting=len(go) - len(due), kept=len(due) - len(went))


def names_of(run: CopiedRun) -> set[str]:
    return {piece.name for piece in run.pieces}


def orphans(place: Place, ledger: Ledger, needed: Container[str], order: Prune) -> list[str]:
    """Names of objects of our form that nobody needs any more, and that are old by the destination's own clock."""
    found = list[str]()
    for each in place.destination.list(BASE):
        if each.modified >= order.now - ORPHAN_AGE:
            continue
        whole = OBJECT.fullmatch(each.name)
        if (whole and whole[2] not in needed and not ledger.knows(whole[2])) or CUT_OFF.fullmatch(each.name):
            found.append(each.name)
    return found


def deleted(place: Place, ledger: Ledger, names: Iterable[str]) -> int:
    """How many objects went."""
    count = 0
    for name in sorted(names):
        ledger.forget(name)
        count += is_deleted(place, object_name(name))
    return count


def is_deleted(place: Place, name: str) -> bool:
    """Have it deleted; false where the destination keeps it."""
    place.demand_ours()
    try:
        place.destination.delete(name)
    except ObjectKept:
        return False
    return True
