"""Whose identity was ever tried: by receipts, which only somebody who has decrypted a copy can sign."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

from loguru import logger
from pydantic import Field

from config.copies import Copies, is_ssh
from config.problems import Problem
from controller.core.copy import fingerprint
from controller.core.errors import StoreError
from controller.core.records import Record, Time
from controller.storage import journal
from controller.storage.copies.orders import RehearsedCopy

LEAST_RECIPIENTS = 2


class Tried(Record):
    """By fingerprint of a recipient: when its identity last decrypted a copy."""

    recipients: dict[str, Time] = Field(default_factory=dict)


class TriedKeys:
    """Kept in a file, since copies and their receipts go. Safe to use from several threads of which one writes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _known(self) -> Tried:
        return journal.read(self._path, Tried) or Tried()

    def take(self, rehearsals: Iterable[RehearsedCopy]) -> None:
        known = dict(self._known.recipients)
        for told in rehearsals:
            known[told.recipient] = max(told.rehearsed, known.get(told.recipient, told.rehearsed))
        if known == self._known.recipients:
            return
        self._known = Tried(recipients=known)
        try:
            journal.write(self._path, self._known)
        except StoreError as error:
            logger.bind(code=error.code).warning("which keys were tried is kept in memory only: {}", error)

    def when(self, recipient: str) -> datetime | None:
        """None where nobody has ever decrypted a copy with its identity."""
        return self._known.recipients.get(fingerprint(recipient))

    def problems(self, copies: Copies) -> Iterator[Problem]:
        """SSH keys count as recipients only once they were tried: they may have a passphrase, or lie on this host."""
        counted = {each for each in copies.recipients if not is_ssh(each) or self.when(each)}
        untried = [each for each in copies.recipients if each not in counted]
        if not untried or (copies.one_recipient and counted) or len(counted) >= LEAST_RECIPIENTS:
            return
        message = f"{shown(untried)} was never tried, and without it fewer than two recipients are sure to open copies"
        hint = (
            "`backup-sidecar copies rehearse DESTINATION --identity -`, given that private key and the line `verify:`"
            " of the kit, tries it; or add another `age1...`."
        )
        yield Problem("untried-recipient", "copies.recipients", message, hint)


def shown(recipients: Sequence[str]) -> str:
    return " and ".join(f"the SSH key {each.split()[1][-16:]}" for each in recipients)
