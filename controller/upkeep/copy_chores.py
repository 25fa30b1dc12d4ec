"""What is done at a destination once a day: a part of it is read again, and copies that nobody wants go."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from loguru import logger
from pydantic import BaseModel

from config.copies import VerifyCopies
from config.target import Retention
from controller.core.errors import StoreError
from controller.core.key import Key
from controller.core.run import Report
from controller.storage import journal
from controller.storage.copies.orders import Hear, Heard, List, Listed, ListedCopy, Prune, Pruned, Verified, Verify
from controller.upkeep.retention import decide
from controller.upkeep.verifier import Rest

DAY, QUARTER, HOUR = timedelta(days=1), timedelta(hours=6), timedelta(hours=1)
Rules = tuple[Retention, ZoneInfo]
"""By which the copies of a target go."""


class Chore(Protocol):
    """To be used by one thread at a time."""

    def order(self) -> BaseModel | None:
        """What the worker is to do now; None for nothing."""
        ...

    def done(self, answer: Any) -> None:
        """Take down what it answered."""
        ...

    def failed(self) -> None:
        """Let it be for a while."""
        ...


class Daily:
    """When a chore is due; kept in a file."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path, self.clock = path, clock
        self._until: datetime | None = None

    @property
    def is_due(self) -> bool:
        """A clock that was ahead prolongs no rest."""
        now = self.clock()
        return not now < (self._until or self._known()) <= now + DAY

    def rest(self, span: timedelta = DAY) -> None:
        now = self.clock()
        self._until = now + span
        try:
            journal.write(self._path, Rest(written=now, until=self._until))
        except StoreError as error:
            logger.bind(code=error.code).warning("what is done once a day is done after the next start: {}", error)

    def _known(self) -> datetime:
        """A clock that went back since does not prolong the rest."""
        now, known = self.clock(), journal.read(self._path, Rest)
        self._until = known.until if known and known.written <= now else now
        return self._until


class Rereading:
    """Reads objects again, as many as the day's budget allows."""

    def __init__(self, daily: Daily, settings: Callable[[], VerifyCopies], take: Callable[[Verified], None]) -> None:
        self._daily, self._settings, self._take = daily, settings, take

    def order(self) -> Verify | None:
        settings = self._settings()
        if not settings.budget or not self._daily.is_due:
            return None
        return Verify(before=self._daily.clock() - settings.every, budget=settings.budget)

    def done(self, answer: Any) -> None:
        self._take(Verified.model_validate(answer))
        self._daily.rest()

    def failed(self) -> None:
        self._daily.rest(HOUR)


class Hearing:
    """Reads what people have said who have rehearsed copies, on whatever machine."""

    def __init__(self, daily: Daily, take: Callable[[Heard], None]) -> None:
        self._daily, self._take = daily, take

    def order(self) -> Hear | None:
        return Hear() if self._daily.is_due else None

    def done(self, answer: Any) -> None:
        self._take(Heard.model_validate(answer))
        self._daily.rest(QUARTER)

    def failed(self) -> None:
        self._daily.rest(HOUR)


class Retiring:
    """Asks what is there, decides by `retention` what goes, and has it gone, which takes two days."""

    def __init__(
        self,
        daily: Daily,
        *,
        rules: Callable[[Key], Rules | None],
        known: Callable[[str], Report | None],
        safety: Callable[[], timedelta],
        trusted: Callable[[], bool],
        take: Callable[[Pruned], None],
    ) -> None:
        """`rules` gives None for a target whose copies all stay; `known` is what the catalog has of a run."""
        self._daily, self._rules, self._known = daily, rules, known
        self._safety, self._trusted, self._take = safety, trusted, take
        self._decided: Prune | None = None

    def order(self) -> List | Prune | None:
        if not self._daily.is_due:
            return None
        return self._decided or List()

    def done(self, answer: Any) -> None:
        if self._decided is None:
            self._decided = self._decide(Listed.model_validate(answer))
            return
        self._decided = None
        self._take(Pruned.model_validate(answer))
        self._daily.rest()

    def failed(self) -> None:
        self._decided = None
        self._daily.rest(HOUR)

    def _decide(self, found: Listed) -> Prune:
        go = set[str]()
        by_key = sorted(found.copies, key=lambda copy: str(copy.target))
        for _, copies in groupby(by_key, key=lambda copy: str(copy.target)):
            go |= set(self._unwanted(list(copies)))
        keep = tuple(copy.name for copy in found.copies if copy.name not in go)
        return Prune(keep=keep, go=tuple(sorted(go)), now=self._daily.clock())

    def _unwanted(self, copies: list[ListedCopy]) -> Iterator[str]:
        """Of one target."""
        if (rules := self._rules(copies[0].target)) is None:
            return
        retention, zone = rules
        names = {copy.run: copy.name for copy in copies}
        reports, now = map(self._report, copies), self._daily.clock()
        for verdict in decide(retention, reports, now, zone, safety=self._safety(), trusted=self._trusted()):
            if not verdict.stays:
                yield names[verdict.run.id]

    def _report(self, copy: ListedCopy) -> Report:
        """As retention knows a run: what the copy says, and whether somebody has pinned it here."""
        known = self._known(copy.run)
        return Report(
            id=copy.run,
            target=copy.target,
            state="succeeded",
            trigger=copy.trigger,
            created=copy.started,
            started=copy.started,
            finished=copy.finished,
            suspicious=("when it was copied",) if copy.series == "suspicious" else (),
            accepted=copy.accepted or bool(known and known.accepted),
            pinned=known.pinned if known else None,
        )


def due(chores: Iterable[Chore]) -> tuple[Chore, BaseModel] | None:
    """The first that has something to do, and what."""
    return next(((chore, order) for chore in chores if (order := chore.order())), None)
