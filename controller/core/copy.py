"""The copy of a run at a destination, while it is made and afterwards. Sizes are bytes."""

from hashlib import sha256
from typing import Literal, Self

from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.records import Record, Time

CopyState = Literal["running", "read-back", "failed", "damaged", "gone", "missed"]
"""`read-back`: everything that it needs was read from there and decrypted; only that is a copy. `damaged`: it was, and
something of it is missing there now or another. `gone`: it was deleted there, by the rules of that place. `missed`:
the run was deleted here before it was copied."""


def fingerprint(recipient: str) -> str:
    """Of a recipient, by which copies and receipts name it; a comment behind an SSH key does not count."""
    words = recipient.split()
    return sha256(" ".join(words[:2] if recipient.startswith("ssh-") else words).encode()).hexdigest()[:16]


class Copy(Record):
    """One run at one destination; the last try of making it."""

    id: str
    """`<run>@<destination>`."""
    target: Key
    run: str
    destination: str
    state: CopyState = "running"
    started: Time
    finished: Time | None = None
    total: int = 0
    """Stored bytes of the run."""
    bytes: int = 0
    """Of these, how many are there so far."""
    objects: int = 0
    sent: int = 0
    """New objects; the others were there from earlier copies."""
    sent_bytes: int = 0
    proved: Time | None = None
    """When the object was last read back there whose proof is the oldest."""
    rehearsed: Time | None = None
    """When somebody has last decrypted all of it with a real identity, and compared it."""
    failure: Failure | None = None

    @classmethod
    def begun(cls, target: Key, run: str, destination: str, started: Time, total: int) -> Self:
        name = f"{run}@{destination}"
        return cls(id=name, target=target, run=run, destination=destination, started=started, total=total)

    @property
    def level(self) -> Literal["sent", "read-back", "rehearsed"]:
        """How far it is proved; `sent` never counts."""
        if not self.counts:
            return "sent"
        return "rehearsed" if self.rehearsed else "read-back"

    @property
    def counts(self) -> bool:
        """Whether it is one."""
        return self.state == "read-back"
