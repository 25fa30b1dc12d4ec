"""Judges whether the clock may be believed, as what deletes by age must know; the clock itself cannot tell."""

from datetime import datetime, timedelta

from controller.core.records import Time, Versioned

LONGEST_GAP = timedelta(days=1)
"""Time between two looks above which the clock may have been set, or this program was away for as long."""
SETTLING_TIME = timedelta(days=1)
"""Time for which it then has to go on without a jump."""
NOTE_INTERVAL = timedelta(hours=1)
"""How often a look has to be written down."""


class Trust(Versioned):
    """What was seen of the clock; outlives the process."""

    seen: Time
    """The last look."""
    since: Time
    """The first look after the last jump."""

    def look(self, now: datetime) -> "Trust":
        """What to write down instead; the same when there is nothing new."""
        if not timedelta(0) <= now - self.seen <= LONGEST_GAP:
            return Trust(seen=now, since=now)
        return Trust(seen=now, since=self.since) if now - self.seen >= NOTE_INTERVAL else self

    def is_trusted(self, now: datetime) -> bool:
        """Whether `now` is to be believed."""
        return now - self.since >= SETTLING_TIME
