"""Judges whether the clock may be believed, as what deletes by age must know; the clock itself cannot tell."""

from datetime import datetime, timedelta

from controller.core.records import Record, Time, Versioned
from controller.core.run import CLOCK_TOLERANCE

LONGEST_GAP = timedelta(days=1)
"""Time between two looks above which the clock may have been set, or this program was away for as long."""
SMALLEST_JUMP = timedelta(minutes=5)
"""Below it a clock is only corrected."""
SETTLING_TIME = timedelta(days=1)
"""Time for which it then has to go on without a jump."""
NOTE_INTERVAL = timedelta(hours=1)
"""How often a look has to be written down."""


class Jump(Record):
    """The clock was set: from what it would have shown to what it showed."""

    expected: Time
    shown: Time


class Trust(Versioned):
    """What was seen of the clock; outlives the process."""

    seen: Time
    """The last look that was written down."""
    since: Time
    """The first look after the last jump."""
    jump: Jump | None = None
    """The last one, until the clock has gone on for long enough."""

    def look(self, now: datetime, expected: datetime | None = None) -> "Trust":
        """What to write down instead; the same when there is nothing new.

        `expected` is what the clock should show, by one that nobody sets; None where that is not known.
        """
        if jump := self._jump(now, expected):
            return Trust(seen=now, since=now, jump=jump)
        if not timedelta(0) <= now - self.seen <= LONGEST_GAP:
            return Trust(seen=now, since=now, jump=self.jump)
        if self.jump and self.is_trusted(now):
            return Trust(seen=now, since=self.since)
        return self.model_copy(update={"seen": now}) if now - self.seen >= NOTE_INTERVAL else self

    def _jump(self, now: datetime, expected: datetime | None) -> Jump | None:
        """How the clock was set; over a restart only a way back can be told from time that went by."""
        if expected is None:
            return Jump(expected=self.seen, shown=now) if now < self.seen - CLOCK_TOLERANCE else None
        return Jump(expected=expected, shown=now) if abs(now - expected) >= SMALLEST_JUMP else None

    def is_trusted(self, now: datetime) -> bool:
        """Whether `now` is to be believed."""
        return now - self.since >= SETTLING_TIME
