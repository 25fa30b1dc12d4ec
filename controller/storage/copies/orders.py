"""What `serve` asks of a destination's worker, and what that answers: a line of JSON each.

Knows neither keys nor destinations, so that asking costs `serve` no memory.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.records import Record, Time


class Setup(Record):
    """The first line to a worker."""

    name: str
    """Of the destination."""
    kind: str
    options: dict[str, Any]
    """Of that kind, with the values of its secrets."""
    store: Path
    ledger: Path
    writer: str
    """Id of this sidecar."""
    recipients: tuple[str, ...]
    signing_key: str
    signers: tuple[str, ...] = ()
    """Public keys that are believed beside its own."""
    bandwidth: int = 0
    """Bytes a second; 0 for any number."""


class Prepare(Record):
    """Make the destination's marker."""

    do: Literal["prepare"] = "prepare"
    take_over: bool = False


class Check(Record):
    """Try what a copy needs."""

    do: Literal["check"] = "check"


class Send(Record):
    """Copy a run of the store."""

    do: Literal["send"] = "send"
    folder: Path
    trigger: str
    accepted: bool = False
    suspicious: bool = False


class Verify(Record):
    """Read objects again that were last read before a time, the longest unread first."""

    do: Literal["verify"] = "verify"
    before: Time
    budget: int
    """Most bytes; what is under way is read to its end."""


class List(Record):
    """Tell which copies there are."""

    do: Literal["list"] = "list"


class Prune(Record):
    """Let copies go, by the names of their `run.json`; both together are all that there are."""

    do: Literal["prune"] = "prune"
    keep: tuple[str, ...]
    go: tuple[str, ...]
    now: Time


class Hear(Record):
    """Read the receipts that lie there: who has rehearsed which copy."""

    do: Literal["hear"] = "hear"


class Receive(Record):
    """Put receipts there that a rehearsal could not put, and read all."""

    do: Literal["receive"] = "receive"
    receipts: tuple[str, ...]
    """Each with its two lines."""


Order = Annotated[Prepare | Check | Send | Verify | List | Prune | Hear | Receive, Field(discriminator="do")]


class RehearsedCopy(Record):
    """A receipt that is believed."""

    run: str
    recipient: str
    """Fingerprint of the recipient whose identity has decrypted the copy."""
    rehearsed: Time
    drilled: bool


class Heard(Record):
    """All of them."""

    rehearsals: tuple[RehearsedCopy, ...]
    wrong: tuple[str, ...] = ()
    """What lies there and cannot be believed."""


class ListedCopy(Record):
    """A copy that is there, as its `run.json` says."""

    name: str
    """Of that file."""
    run: str
    target: Key
    series: str
    trigger: str
    accepted: bool
    started: Time
    finished: Time


class Listed(Record):
    """All of them, the newest first."""

    copies: tuple[ListedCopy, ...]


class Checked(Record):
    """What was found out about a destination that takes and gives what a copy needs."""

    ahead: float
    """Seconds that its clock is before ours."""
    deletes: bool
    """Whether what was put there could be deleted."""
    versions: bool | None
    """Whether it keeps what is overwritten or deleted; None where it does not tell."""
    locked_until: Time | None
    """Until when it keeps an object that was put just now, whoever wants it gone."""
    rules_read: bool | None
    """Whether the rules could be read by which it deletes on its own."""
    warnings: tuple[str, ...]


class Pruned(Record):
    """What went."""

    runs: tuple[str, ...]
    objects: int
    waiting: int
    """Copies that go if that is still decided in two days."""
    kept: int = 0
    """Copies that were to go, and that the destination keeps: by a lock, or because it lets nothing go."""


class Sent(Record):
    """How a copy was made."""

    objects: int
    """That it needs, without `run.json`."""
    sent: int
    """Of these, new ones."""
    size: int
    """Bytes of all."""
    sent_bytes: int
    proved: Time
    """When the object was read back whose proof is the oldest."""
    copied: Time


class Verified(Record):
    """What was read again."""

    objects: int
    bytes: int
    wrong: tuple[str, ...] = ()
    """What is wrong with objects, and with lists of runs."""
    damaged: tuple[str, ...] = ()
    """Runs whose copies lack something."""
    proved: dict[str, Time] = Field(default_factory=dict)
    """By run that lies there whole: when the object was read whose proof is the oldest."""


class Answer(Record):
    """Progress any number of times, then the result or why there is none."""

    progress: int | None = None
    """Stored bytes that are there so far."""
    result: JsonValue = None
    failure: Failure | None = None
