"""Commands that say how far the backups can be trusted: clients of the running `serve`."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from controller.app import program
from controller.cli.activities import listed
from controller.cli.terminal import (
    AsJson,
    Failed,
    amount,
    answered,
    client,
    of_target,
    out,
    show,
    show_json,
    show_problems,
)
from controller.cli.times import dated, spoken
from controller.core.key import RUN_ID

Which = Annotated[str, typer.Argument(metavar="KEY|RUN", help="A target, for all its stored runs, or one run's id.")]
HEADS = ("TARGET", "STATE", "LAST GOOD", "NEXT", "SIZE", "REHEARSED", "COPIES")
InUtc = Annotated[bool, typer.Option("--utc", help="Print exact times, in UTC.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run.")]


def status(as_json: AsJson = False, utc: InUtc = False) -> int:
    """Say whether anything is wrong with the backups, and what; exit 3 when something is."""
    with client() as connection:
        answer = answered(connection.get("/v1/status"))
    if as_json:
        show_json(answer)
        return program.OK if answer["safe"] else program.SOME
    now, zones = datetime.now(UTC), {target["key"]: target["timezone"] for target in answer["targets"]}

    def told(text: str, key: str | None) -> str:
        """Where no target says it, it may be that the clock was wrong, by which an age would be told."""
        if utc:
            return text
        return spoken(text, now, zones.get(key, "UTC")) if key else dated(text)

    wrong = {reason["key"]: reason["code"] for reason in reversed(answer["reasons"])}
    copies: dict[str, list[str]] = defaultdict(list)
    for copy in answer["copies"]:
        rehearsed = f", rehearsed {told(copy['rehearsed'], copy['key'])}" if copy.get("rehearsed") else ""
        copies[copy["key"]].append(f"{copy['destination']} {copy['state']}{rehearsed}")
    rows = [(*cells(target, wrong, told), "; ".join(copies[target["key"]])) for target in answer["targets"]]
    show(rows, *HEADS, needed=2)
    for target in answer["targets"]:
        if target["state"] == "unpromised":
            line = f"- {target['key']} is unpromised: {target['reason']}"
            out.print(told(line, target["key"]), style="yellow")
    for reason in answer["reasons"]:
        line = f"- {reason['message']}. {reason['hint']}".rstrip()
        out.print(told(line, reason["key"]), style="red")
    show_problems([problem for problem in answer["problems"] if problem["severity"] != "error"])
    out.print(answer["verdict"], style="green" if answer["safe"] else "red")
    return program.OK if answer["safe"] else program.SOME


def cells(target: Any, wrong: dict[str | None, str], told: Callable[[str, str | None], str]) -> tuple[str, ...]:
    """A target's line: of what is wrong with it the first thing, or how fresh it is."""
    key, state, good, drill = target["key"], target["state"], target["last_good"], target["last_good_drill"]
    return (
        key,
        wrong.get(key, state),
        told(good["time"], key) if good else "never",
        told(target["next_due"] or "", key),
        amount(good["size"]) if good else "",
        told(drill["finished"], key) if drill else "never",
    )


def verify(which: Which, as_json: AsJson = False) -> int:
    """Re-read every stored byte of a run, or of all runs of a target; exit 1 when one is damaged."""
    reports = []
    with client() as connection:
        for run in [which] if RUN_ID.fullmatch(which) else stored(connection, which):
            reports.append(answered(connection.post(f"/v1/runs/{run}/verify", timeout=None)))
            if not as_json:
                show_verified(reports[-1])
    if not reports:
        raise Failed(f"{which} has no stored run", "`backup-sidecar artifacts` lists what is stored.")
    if as_json:
        show_json(reports)
    return program.FAILED if any(report["damaged"] for report in reports) else program.OK


def accept(run: RunId, as_json: AsJson = False) -> int:
    """Take a suspicious run for good; those after it are compared with it."""
    with client() as connection:
        report = answered(connection.post(f"/v1/runs/{run}/accept"))
    show_json(report) if as_json else out.print(f"{report['key']}  {report['id']}  accepted")
    return program.OK


def stored(connection: Any, key: str) -> list[str]:
    """Ids of a target's stored runs, newest first."""
    reports = listed(connection, "runs", state="succeeded", **of_target(key))
    return [run["id"] for run in reports if not run["pruned"]]


def show_verified(report: dict[str, Any]) -> None:
    head = f"{report['key']}  {report['id']}"
    if report["damaged"]:
        word = "TAMPERED" if report["tampered"] else "damaged"
        out.print(f"{head}  {word}: {report['damaged']}", style="red")
    else:
        unmarked = "" if report["mark"] else "  unmarked"
        out.print(f"{head}  every byte is what was written  {amount(report['size'])}{unmarked}")
