"""Commands that say how far the backups can be trusted: clients of the running `serve`."""

from typing import Annotated, Any

import typer
from rich.text import Text

from controller.app import startup as program
from controller.cli.terminal import (
    AsJson,
    Failed,
    amount,
    answered,
    as_key,
    client,
    out,
    show,
    show_json,
    show_problems,
)
from controller.core.run import RUN_ID

Which = Annotated[str, typer.Argument(metavar="KEY|RUN", help="A target, for all its stored runs, or one run's id.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run.")]


def status(as_json: AsJson = False) -> int:
    """Say whether every target has a backup as young as was promised; exit 3 when one has not."""
    with client() as connection:
        found = answered(connection.get("/v1/status"))
    if as_json:
        show_json(found)
    else:
        show(
            [
                (one["key"], one["state"], *last(one["last_good"]), drilled(one["last_good_drill"]), one["reason"])
                for one in found["targets"]
            ],
            *("TARGET", "STATE", "LAST GOOD", "SIZE", "LAST GOOD DRILL", "WHY"),
        )
        for run in found["damaged"]:
            out.print(Text(f"run {run['run']} of {run['key']} is damaged: {run['reason']}", style="red"))
        show_problems(found["problems"])
        out.print(Text(found["verdict"], style="green" if found["safe"] else "red"))
    return program.OK if found["safe"] else program.SOME


def verify(which: Which, as_json: AsJson = False) -> int:
    """Re-read every stored byte of a run, or of all runs of a target; exit 1 when one is damaged."""
    reports = []
    with client() as connection:
        for run in [which] if RUN_ID.fullmatch(which) else stored(connection, which):
            reports.append(answered(connection.post(f"/v1/runs/{run}/verify", timeout=None)))
            if not as_json:
                out.print(verified(reports[-1]))
    if not reports:
        raise Failed(f"{which} has no stored run", "`backup-sidecar artifacts` lists what is stored.")
    if as_json:
        show_json(reports)
    return program.FAILED if any(report["damaged"] for report in reports) else program.OK


def accept(run: RunId, as_json: AsJson = False) -> int:
    """Take a suspicious run for good; those after it are compared with it."""
    with client() as connection:
        report = answered(connection.post(f"/v1/runs/{run}/accept"))
    show_json(report) if as_json else out.print(Text(f"{report['key']}  {report['id']}  accepted"))
    return program.OK


def stored(connection: Any, key: str) -> list[str]:
    """Ids of a target's stored runs, newest first."""
    found: list[str] = []
    query: dict[str, Any] = {"target": str(as_key(key)), "state": "succeeded", "limit": 1000}
    while True:
        page = answered(connection.get("/v1/runs", params=query))
        found += [run["id"] for run in page["runs"] if not run["pruned"]]
        if not page["next"]:
            return found
        query["before"] = page["next"]


def verified(report: dict[str, Any]) -> Text:
    if report["damaged"]:
        return Text(f"{report['key']}  {report['id']}  damaged: {report['damaged']}", style="red")
    return Text(f"{report['key']}  {report['id']}  every byte is what was written  {amount(report['size'])}")


def drilled(good: dict[str, Any] | None) -> str:
    return str(good["finished"]) if good else "never"


def last(good: dict[str, Any] | None) -> tuple[str, str]:
    return (good["time"], amount(good["size"])) if good else ("", "")
