"""What the commands about runs, restores and drills share: following one to its end, cancelling it, listing them."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer

from controller.app import program
from controller.cli.terminal import Failed, answered, client, err, of_target, out, show, show_json

LOOK_SECONDS = 0.2
"""Between two looks at what is under way."""
CANCEL_TIMEOUT_SECONDS = 60.0
"""For an answer that waits until what runs in a container was told to end."""
MOST_ON_A_PAGE = 1000
KINDS = ("runs", "restores", "drills")
ListLimit = Annotated[int, typer.Option("--limit", min=1, max=MOST_ON_A_PAGE)]


def follow(connection: httpx.Client, kind: str, start: httpx.Request, line: Callable[[Any], str]) -> Any:
    """Start something and show how far it is, as one live line, until it has ended; gives the final report.

    Ctrl-C cancels it, also before the answer to `start` has come, without which nobody knows its id.
    """
    address = ""
    try:
        with held_back_interrupt():
            report = answered(connection.send(start))
            address = f"/v1/{kind}/{report['id']}"
        with err.live() as live:
            while not report["finished"]:
                live(line(report))
                time.sleep(LOOK_SECONDS)
                report = answered(connection.get(address))
    except KeyboardInterrupt:
        if address:
            connection.post(f"{address}/cancel", timeout=CANCEL_TIMEOUT_SECONDS)
        raise
    return report


@contextmanager
def held_back_interrupt() -> Iterator[None]:
    """Let Ctrl-C interrupt only what comes next; pressed again it interrupts at once."""
    pressed: list[int] = []

    def press(number: int, _: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def cancel(name: Annotated[str, typer.Argument(metavar="ID", help="Of a run, a restore or a drill.")]) -> int:
    """End a run, restore or drill that is queued or under way, and wait until nothing of it is left."""
    with client() as connection:
        for kind in KINDS:
            address = f"/v1/{kind}/{quote(name, safe='')}"
            if connection.get(address).status_code != httpx.codes.NOT_FOUND:
                request = connection.build_request("POST", f"{address}/cancel", timeout=CANCEL_TIMEOUT_SECONDS)
                report = follow(connection, kind, request, cancelling)
                out.print(cancelling(report))
                return program.OK if report["state"] == "cancelled" else program.FAILED
    hint = "`backup-sidecar runs`, `restores` and `drills` list them."
    raise Failed(f"no run, restore or drill {name[:60]!r}", hint)


def cancelling(report: Any) -> str:
    return f"{report['key']}  {report['id']}  {report['state']}"


def show_listed(
    kind: str, key: str | None, limit: int, as_json: bool, *heads: str, cells: Callable[[Any], Sequence[object]]
) -> int:
    """List so many of one kind, the newest first, as JSON or as a table whose cells a report gives."""
    with client() as connection:
        reports = list(islice(listed(connection, kind, limit=limit, **of_target(key)), limit))
    show_json(reports) if as_json else show([cells(report) for report in reports], *heads)
    return program.OK


def failure_code(report: Any) -> str:
    """Empty for what has not failed."""
    return str((report["failure"] or {}).get("code", ""))


def listed(connection: httpx.Client, kind: str, **query: str | int) -> Iterator[Any]:
    """All of one kind, the newest first, as they are asked for page by page."""
    query = {"limit": MOST_ON_A_PAGE, **query}
    while True:
        page = answered(connection.get(f"/v1/{kind}", params=query))
        yield from page[kind]
        if not page["next"]:
            return
        query["before"] = page["next"]
