"""Commands that say how far the backups can be trusted: clients of the running `serve`."""

from typing import Annotated, Any

import typer
from rich.text import Text

from controller.app import startup as program
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
from controller.core.run import RUN_ID

Which = Annotated[str, typer.Argument(metavar="KEY|RUN", help="A target, for all its stored runs, or one run's id.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run.")]


def status(as_json: AsJson = False) -> int:
    """Say whether every target has a backup as young as was promised; exit 3 when one has not."""
    with client() as connection:
        answer = answered(connection.get("/v1/status"))
    if as_json:
        show_json(answer)
    else:
        rows = [
            (
                *(target["key"], target["state"], *last(target["last_good"])),
                *(drilled(target["last_good_drill"]), target["reason"]),
            )
            for target in answer["targets"]
        ]
        show(rows, "TARGET", "STATE", "LAST GOOD", "SIZE", "LAST GOOD DRILL", "WHY")
        for run in answer["damaged"]:
            out.print(Text(f"run {run['run']} of {run['key']} is damaged: {run['reason']}", style="red"))
        show_problems(answer["problems"])
        out.print(Text(answer["verdict"], style="green" if answer["safe"] else "red"))
    return program.OK if answer["safe"] else program.SOME


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
    reports = listed(connection, "runs", state="succeeded", **of_target(key))
    return [run["id"] for run in reports if not run["pruned"]]


def verified(report: dict[str, Any]) -> Text:
    if report["damaged"]:
        return Text(f"{report['key']}  {report['id']}  damaged: {report['damaged']}", style="red")
    return Text(f"{report['key']}  {report['id']}  every byte is what was written  {amount(report['size'])}")


def drilled(good: dict[str, Any] | None) -> str:
    return str(good["finished"]) if good else "never"


def last(good: dict[str, Any] | None) -> tuple[str, str]:
    return (good["time"], amount(good["size"])) if good else ("", "")
