"""`copies rehearse`: decrypts copies on any machine that has the recovery kit, and leaves a receipt.

It needs neither engine nor a running `serve`; where one runs here, the receipt goes by its hands.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from controller.app import program, startup
from controller.cli.comeback import entered, key_of
from controller.cli.terminal import Failed, amount, answered, client, err, out, show, show_json
from controller.core.copy_errors import DestinationError, NotACopy
from controller.core.key import Key
from controller.core.records import Time, utc_now
from controller.storage.copies.kit import Kit
from controller.storage.copies.layout import MARKER, RUN_NAME
from controller.storage.copies.reading import Copies
from controller.storage.copies.rehearsing import Rehearsed, rehearsed

HEADS = ("TARGET", "RUN", "SIZE", "OBJECTS", "RECIPIENT", "OUTCOME", "RECEIPT")
MOST_RECEIPTS_BYTES = 16 << 20
BY_HAND = "the receipts above could not be left there: pipe them into `backup-sidecar copies receipts {}` on the host"
OLD = "the copy of an early release has no key for receipts; the next copy has one"


class Row(BaseModel):
    """One copy, with one identity."""

    key: str
    run: str
    outcome: Literal["rehearsed", "wrong"]
    recipient: str = ""
    """Fingerprint of the recipient whose identity has decrypted it."""
    objects: int = 0
    bytes: int = 0
    rehearsed: Time | None = None
    receipt: Literal["left", "by-hand", "none"] = "none"
    text: str = ""
    """The receipt, where it has to be brought by hand."""
    error: str = ""

    @classmethod
    def of(cls, done: Rehearsed) -> "Row":
        receipt, text = done.receipt, done.signed.decode() if done.signed else ""
        facts = receipt.model_dump(include={"run", "recipient", "objects", "bytes", "rehearsed"})
        return cls(
            key=str(done.run.key), outcome="rehearsed", receipt="by-hand" if text else "none", text=text, **facts
        )


def rehearse(
    name: str,
    key: Key | None,
    run: str | None,
    identity: str | None,
    *,
    as_json: bool = False,
    drilled: bool = False,
    silent: bool = False,
) -> int:
    """Decrypt the newest copy of each target, compare every digest, and leave a receipt; raises `Failed`.

    `drilled`: it was restored and compared as well, which the receipt says.
    """
    copies, kit = entered(name, identity)
    rows = rehearsed_rows(copies, list(wanted(copies, key, run)), kit, drilled=drilled)
    if not rows:
        raise Failed(f"there is no such copy at {name}", "`backup-sidecar copies` on the host shows what is there.")
    rows = left(name, copies, rows)
    if as_json:
        show_json([row.model_dump(mode="json") for row in rows])
    elif not silent:
        show_rows(name, rows)
    return program.FAILED if any(row.error for row in rows) else program.OK


def wanted(copies: Copies, key: Key | None, run: str | None) -> Iterator[str]:
    """Names of `run.json`: of one run, else the newest of each target, safety backups too."""
    seen = set[str]()
    for name in copies.names(key):
        target, found = str(key_of(name)), RUN_NAME.fullmatch(name)
        if run in (None, found and found[2]) and (run or target not in seen):
            seen.add(target)
            yield name


def rehearsed_rows(copies: Copies, names: Iterable[str], kit: Kit, *, drilled: bool = False) -> list[Row]:
    """A line for each copy and identity; one that is wrong hides no other."""
    return [row for name in names for row in rehearsed_row(copies, name, kit, drilled=drilled)]


def rehearsed_row(copies: Copies, name: str, kit: Kit, *, drilled: bool) -> list[Row]:
    target, run, release = str(key_of(name)), name.split("/")[-2], version("backup-sidecar")
    try:
        with err.live() as live:

            def progress(done: int) -> None:
                live(f"{target}  {run}  {amount(done)}")

            found = rehearsed(copies, name, kit, clock=utc_now, release=release, drilled=drilled, progress=progress)
    except NotACopy as error:
        return [Row(key=target, run=run, outcome="wrong", error=f"{error.message}. {error.hint}".rstrip())]
    return list(map(Row.of, found))


def left(name: str, copies: Copies, rows: Sequence[Row]) -> list[Row]:
    """The same, once the receipts lie at the destination, by whom that may be done."""
    texts = [row.text for row in rows if row.text]
    if not texts or not (brought(name, texts) or put(name, copies, rows)):
        return list(rows)
    return [row.model_copy(update={"receipt": "left", "text": ""}) if row.text else row for row in rows]


def brought(name: str, texts: Sequence[str]) -> bool:
    """Whether the sidecar that serves here has taken them."""
    if not (program.work_folder() / program.SOCKET).exists():
        return False
    try:
        bring(name, texts)
    except Failed as error:
        err.print(f"warning: the sidecar here does not take the receipts: {error}", style="yellow")
        return False
    return True


def bring(name: str, texts: Sequence[str]) -> Any:
    """Have the running `serve` put receipts there; raises `Failed`."""
    with client() as connection:
        address = f"/v1/copies/{name}/receipts"
        return answered(connection.post(address, json={"receipts": list(texts)}, timeout=None))


def put(name: str, copies: Copies, rows: Sequence[Row]) -> bool:
    """Whether they could be left by this machine's own credentials, which may only read."""
    become_its_owner(name)
    try:
        for row in rows:
            if row.text:
                copies.destination.put(f"rehearsals/{row.run}/{row.recipient}.json", row.text.encode())
    except DestinationError as error:
        err.print(f"warning: no receipt can be left there: {error.message}", style="yellow")
        return False
    return True


def become_its_owner(name: str) -> None:
    """As root: who has written the marker in a folder, so that the sidecar may delete what is put there."""
    copies = startup.configuration().settings.copies
    path = copies.destinations[name].path if copies else None
    if path is None or os.getuid() != 0:
        return
    try:
        owner = Path(path, MARKER).stat()
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    except OSError as error:
        err.print(f"warning: the receipts are written by uid {os.getuid()}: {error.strerror}", style="yellow")


def receipts(name: str, as_json: bool) -> int:
    """Take from standard input what `rehearse` has printed; raises `Failed` where nothing of it is a receipt."""
    lines = sys.stdin.read(MOST_RECEIPTS_BYTES).splitlines()
    texts = [f"{line}\n{signature}\n" for line, signature in pairwise(lines) if line.startswith("{")]
    if not texts:
        raise Failed("there is no receipt in it", "Pipe what `copies rehearse` has printed into this.", program.USAGE)
    found = bring(name, texts)
    if as_json:
        show_json(found)
    else:
        out.print(f"receipts that are there now: {len(texts)}")
    return program.OK


def show_rows(name: str, rows: Sequence[Row]) -> None:
    show([cells(row) for row in rows], *HEADS)
    for row in rows:
        if row.error:
            err.print(f"error: {row.key}: {row.error}", style="red")
        elif row.receipt == "none":
            err.print(f"warning: {row.key}: {OLD}", style="yellow")
    if texts := [row.text for row in rows if row.text]:
        print("".join(texts), end="")
        err.print(BY_HAND.format(name), style="yellow")


def cells(row: Row) -> Sequence[object]:
    size, objects = (amount(row.bytes), row.objects) if row.outcome == "rehearsed" else ("", "")
    return row.key, row.run, size, objects, row.recipient, row.outcome, row.receipt
