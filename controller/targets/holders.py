"""Who has a key, of several containers that claim one: the one that had it keeps it.

Anybody can write Compose's labels by hand, so neither age nor number tells who is meant. The containers that have had a
place are remembered by their ids, also over a restart.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loguru import logger
from pydantic import Field

from controller.core.errors import StoreError
from controller.core.key import KeyText
from controller.core.records import Versioned
from controller.engine.models import Listed
from controller.storage import journal
from controller.targets.origin import is_task, origin
from controller.targets.target import LIVE

FILE = "holders.json"
LAST = 1_000_000
"""The place of a container without a number, behind all those that have one."""


class Held(Versioned):
    """The ids of the containers that have a place, by key."""

    holders: dict[KeyText, frozenset[str]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seats:
    """The containers of one service."""

    seated: tuple[Listed, ...]
    """Those that nothing speaks against; the first one has the key, the others are its replicas."""
    rivals: tuple[Listed, ...] = ()
    """Those that run, or are about to, and claim what another one has, or may have."""
    disputed: bool = False
    """Nobody has the key until one claimant is left."""


class Holders:
    """Remembers who has which key; to be used from one thread."""

    def __init__(self, folder: Path | None = None, *, keeps: bool = True) -> None:
        """`folder` is where that lies, if it is to outlive the process; without `keeps` it is only read."""
        self._path, self._keeps = folder / FILE if folder else None, keeps
        fact = journal.read(self._path, Held) if self._path else None
        self._known: Mapping[str, frozenset[str]] = fact.holders if fact else {}

    def settle(self, claims: Mapping[str, Sequence[Listed]], listed: Iterable[Listed]) -> Mapping[str, Seats]:
        """Who may have each key, of the containers that claim it; `listed` are all that there are."""
        ids = {container.id for container in listed}
        held = {key: known for key, known in self._known.items() if key not in claims and known & ids}
        settled = {}
        for key, containers in claims.items():
            known = self._known.get(key, frozenset())
            settled[key] = seats = seats_of(containers, known)
            have = {each.id for each in seats.seated if each.id in known or each.state in LIVE}
            if have:
                held[key] = frozenset(have)
        if held != self._known:
            self._known = held
            self._keep()
        return settled

    def _keep(self) -> None:
        if self._path is None or not self._keeps:
            return
        try:
            journal.write(self._path, Held(holders=dict(self._known)))
        except StoreError as error:
            logger.bind(code=error.code).error("who has which key is remembered in memory only: {}", error)


def seats_of(claimants: Iterable[Listed], known: Collection[str]) -> Seats:
    """Who may have a key; `known` are the ids of those that had a place.

    A new one that claims nobody's place gets it. One that is only created claims too, so that between the stop of the
    old container and the start of the new one nobody else takes their place.
    """
    ordered = sorted(claimants, key=precedence)
    had = [each for each in ordered if each.id in known and may_run(each)]
    coming = [each for each in ordered if each not in had and may_run(each) and each.state in (*LIVE, "created")]
    idle = [each for each in ordered if each not in had and each not in coming]
    taken = [each for each in coming if any(claim_one(each, other) for other in (*had, *coming) if other is not each)]
    seated = [each for each in ordered if each not in taken and (each not in idle or not (had or coming))]
    return Seats(tuple(seated), tuple(taken), disputed=not seated)


def may_run(container: Listed) -> bool:
    """Whether it runs, or may run again: a Swarm task that has ended never does."""
    return container.state in LIVE or not (is_task(container) or container.state in ("removing", "dead"))


def claim_one(one: Listed, other: Listed) -> bool:
    """Whether two containers of a service claim one place; of replicas each has a number of its own."""
    numbers = origin(one).number, origin(other).number
    return numbers[0] == numbers[1] or None in numbers


def precedence(container: Listed) -> tuple[bool, int, int, str]:
    """Of several containers for one key: the live ones first, then the lowest number, then the oldest.

    Of those that do not live the newest, whose labels hold until another one comes.
    """
    is_live, number = container.state in LIVE, origin(container).number
    created = container.created if is_live else -container.created
    return (not is_live, LAST if number is None else number, created, container.id)
