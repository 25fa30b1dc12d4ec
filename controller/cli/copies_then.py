"""`copies --as-of`: which copies lay at a destination at a time, read by this command itself."""

from collections.abc import Iterator
from datetime import datetime

from controller.app import program, startup
from controller.cli.comeback import key_of, place, settings_of, signers
from controller.cli.terminal import Failed, err, show, show_json
from controller.core.copy_errors import NotACopy
from controller.storage.copies.layout import MOST_RUN_BYTES, RUN_NAME, RUNS, CopiedRun
from controller.storage.copies.place import demanded_marker
from controller.storage.copies.sending import fetched
from controller.storage.copies.signing import Verifier
from controller.storage.destinations import Destination

HEADS = ("TARGET", "RUN", "WRITTEN", "SERIES", "SIGNED")
Row = dict[str, str | bool | None]


def show_copies_then(name: str | None, moment: datetime, as_json: bool) -> int:
    """Raises `Failed`, `SidecarError`."""
    if name is None:
        raise Failed("no destination is named", "`backup-sidecar copies show DESTINATION --as-of TIME`.", program.USAGE)
    loaded = startup.configuration()
    keys = signers(loaded)
    rows = list(copies_in(place(loaded, name, settings_of(name), moment), Verifier(keys) if keys else None))
    if as_json:
        show_json(rows)
        return program.OK
    cells = [(row["key"], row["run"], row["written"], row["series"] or "", said(row["signed"])) for row in rows]
    show(cells, *HEADS)
    for row in rows:
        if row["why"]:
            err.print(f"error: run {row['run']}: {row['why']}", style="red")
    return program.FAILED if any(row["why"] for row in rows) else program.OK


def copies_in(destination: Destination, verifier: Verifier | None) -> Iterator[Row]:
    """A line for each copy, the newest first; `written` is by the destination's clock.

    `signed` is None where no key is known to tell by.
    """
    marker = demanded_marker(destination)
    found = [(match, each) for each in destination.list(RUNS) if (match := RUN_NAME.fullmatch(each.name))]
    for match, each in sorted(found, key=lambda pair: pair[0][2], reverse=True):
        row: Row = {"key": str(key_of(each.name)), "run": match[2], "written": f"{each.modified:%Y-%m-%dT%H:%M:%SZ}"}
        series, why = None, ""
        if verifier:
            try:
                data = fetched(destination.get(each.name), MOST_RUN_BYTES).getvalue()
                series = CopiedRun.read(data, marker, each.name, verifier.demand).series
            except NotACopy as error:
                why = error.message
        yield row | {"series": series, "signed": bool(series) if verifier else None, "why": why}


def said(signed: object) -> str:
    return "not known" if signed is None else "yes" if signed else "no"
