"""What clients of contract v1 may claim: a backup that they asked for, were told to come back for, and never got.

Some come once a night, wait for five minutes and do not try again: without a claim, a backup that takes longer would
never reach them. Claims are kept in a journal, so that they outlive the process.
"""

import asyncio
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

from loguru import logger
from pydantic import Field

from controller.core.errors import StoreError
from controller.core.key import Key, KeyText
from controller.core.records import Record, Versioned
from controller.core.run import Report
from controller.storage import journal

FILE = "claims.json"
MAX_CLAIMS = 1000
"""That are kept, the newest; a token that was replaced leaves some that nobody makes good."""


class Claim(Record):
    """A right to the newest good run of each target, from a certain one on."""

    since: dict[KeyText, str] = Field(min_length=1)
    """Id of a run by its target; ids sort by their beginning."""
    delivered: bool = False
    """These runs themselves have arrived; only later ones count."""

    @classmethod
    def of(cls, runs: Iterable[Report], *, delivered: bool = False) -> "Claim":
        return cls(since={str(report.target): report.id for report in runs}, delivered=delivered)

    def covers(self, report: Report) -> bool:
        first = self.since.get(str(report.target), min(self.since.values()))
        return report.id > first if self.delivered else report.id >= first

    def includes(self, later: "Claim") -> bool:
        """Whether it covers what a later one does; it does not where the clock was set back meanwhile."""
        return all(self.since.get(key, run) <= run for key, run in later.since.items())


class ClaimsByClient(Versioned):
    """Every claim by its client and by what the client asks for."""

    claims: dict[str, Claim] = Field(default_factory=dict)


class Claims:
    """Safe to use from several threads. A client is named by its token's digest; the key is None for all targets."""

    def __init__(self, folder: Path) -> None:
        """Raises `StoreError`."""
        self._path, self._lock, self._saving = folder / FILE, threading.Lock(), threading.Lock()
        self._claims = dict((journal.read(self._path, ClaimsByClient) or ClaimsByClient()).claims)

    def of(self, client: str, key: Key | None) -> Claim | None:
        return self._claims.get(name(client, key))

    def enter(self, client: str, key: Key | None, claim: Claim) -> None:
        """Durable when it returns; a claim that the client has stays where it covers the new one."""
        known = self.of(client, key)
        if known is None or not known.includes(claim):
            self._replace(name(client, key), claim)
            self._save()

    def settle(self, client: str, key: Key | None, rest: Claim | None) -> None:
        """What was claimed has arrived; `rest` is what is left. Known at once and durable soon; in an event loop."""
        if self.of(client, key) != rest:
            self._replace(name(client, key), rest)
            asyncio.get_running_loop().run_in_executor(None, self._save)

    def fetched(self, client: str, runs: Collection[str]) -> None:
        """As `settle`, of a client that has fetched the runs that it was told of from where they lie."""
        for whose, claim in tuple(self._claims.items()):
            if whose.partition(" ")[0] == client and not claim.delivered and set(claim.since.values()) == set(runs):
                self._replace(whose, None)
                asyncio.get_running_loop().run_in_executor(None, self._save)

    def _save(self) -> None:
        with self._saving:
            try:
                journal.write(self._path, ClaimsByClient(claims=self._claims))
            except StoreError as error:
                logger.bind(code=error.code).error("what clients may claim is remembered in memory only: {}", error)

    def _replace(self, name: str, claim: Claim | None) -> None:
        with self._lock:
            others = {other: known for other, known in self._claims.items() if other != name}
            claims = others | ({name: claim} if claim else {})
            self._claims = dict(list(claims.items())[-MAX_CLAIMS:])


def name(client: str, key: Key | None) -> str:
    return f"{client} {key or ''}".rstrip()
