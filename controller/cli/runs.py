"""Commands about runs: clients of the running `serve`."""

import time
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.live import Live
from rich.text import Text

from controller.app import startup as program
from controller.cli.terminal import (
    AsJson,
    OptionalKey,
    TargetKey,
    amount,
    answered,
    as_key,
    client,
    err,
    out,
    show,
    show_json,
    show_problems,
    target_of,
)


def targets(as_json: AsJson = False) -> int:
    """List the targets and what is wrong with them."""
    with client() as connection:
        listed = answered(connection.get("/v1/targets"))["targets"]
    if as_json:
        show_json(listed)
        return program.OK
    show(
        [(row["key"], row["strategy"], row["state"], row["container"]["name"], row["next_due"]) for row in listed],
        "TARGET",
        "STRATEGY",
        "STATE",
        "CONTAINER",
        "NEXT",
    )
    for row in listed:
        show_problems(row["problems"])
    return program.OK


def run(key: TargetKey, as_json: AsJson = False) -> int:
    """Back up one target now, and wait for the end; Ctrl-C cancels."""
    path = "/".join(as_key(key).folders)
    with client() as connection:
        report = answered(connection.post(f"/v1/targets/{path}/runs"))
        address = f"/v1/runs/{report['id']}"
        try:
            with Live(console=err, refresh_per_second=5, transient=True) as live:
                while not report["finished"]:
                    live.update(progress(report, time.time()))
                    time.sleep(0.2)
                    report = answered(connection.get(address))
        except KeyboardInterrupt:
            answered(connection.post(f"{address}/cancel"))
            raise
    if as_json:
        show_json(report)
    else:
        show_report(report)
    return program.OK if report["state"] == "succeeded" else program.FAILED


def cancel(run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, as `runs` lists it.")]) -> int:
    """End a run that is queued or under way, and wait until nothing of it is left."""
    with client() as connection:
        report = answered(connection.post(f"/v1/runs/{quote(run, safe='')}/cancel"))
        while not report["finished"]:
            time.sleep(0.2)
            report = answered(connection.get(f"/v1/runs/{report['id']}"))
    show_report(report)
    return program.OK if report["state"] == "cancelled" else program.FAILED


def runs(
    key: OptionalKey = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: AsJson = False,
) -> int:
    """List runs, the newest first."""
    query: dict[str, str | int] = {"limit": limit, **({"target": key} if key else {})}
    with client() as connection:
        listed = answered(connection.get("/v1/runs", params=query))["runs"]
    if as_json:
        show_json(listed)
        return program.OK
    rows = [
        (
            row["id"],
            target_of(row),
            row["state"],
            amount(row["size"]),
            seconds(row),
            row["proof"],
            why(row),
        )
        for row in listed
    ]
    show(rows, "RUN", "TARGET", "STATE", "SIZE", "TIME", "PROOF", "WHY")
    return program.OK


def artifacts(key: OptionalKey = None, as_json: AsJson = False) -> int:
    """List stored artifacts, the newest first."""
    query: dict[str, str | int] = {"limit": 1000, **({"target": key} if key else {})}
    with client() as connection:
        listed = answered(connection.get("/v1/runs", params=query))["runs"]
    rows = [{"run": row["id"], "target": target_of(row)} | artifact for row in listed for artifact in row["artifacts"]]
    if as_json:
        show_json(rows)
        return program.OK
    table = [
        (row["target"], row["run"], row["name"], row["format"], amount(row["size"]), row["proof"], row["sha256"][:16])
        for row in rows
    ]
    show(table, "TARGET", "RUN", "ARTIFACT", "FORMAT", "SIZE", "PROOF", "SHA-256")
    return program.OK


def why(report: dict[str, Any]) -> str:
    """In a word, why a run is no good one; empty for one that is."""
    if report["damaged"]:
        return "damaged"
    if report["suspicious"] and not report["accepted"]:
        return "suspicious"
    return str((report["failure"] or {}).get("code", ""))


def seconds(report: dict[str, Any]) -> str:
    return "" if report["seconds"] is None else f"{report['seconds']:.1f} s"


def progress(report: dict[str, Any], now: float) -> Text:
    """One live line: state, bytes, rate, time."""
    begun = datetime.fromisoformat(report["started"] or report["created"]).timestamp()
    passed = max(now - begun, 0.001)
    rate = f"{amount(report['bytes'] / passed)}/s"
    state = f"{report['state']} ({report['reason']})" if report["reason"] else report["state"]
    return Text(f"{target_of(report)}  {state}  {amount(report['bytes'])}  {rate}  {passed:.0f} s")


def show_report(report: dict[str, Any]) -> None:
    """How a run ended."""
    failure = report["failure"]
    head = f"{target_of(report)}  {report['id']}  {report['state']}"
    if failure is None:
        taken = report["seconds"] or 0.001
        rate = amount(report["bytes"] / max(taken, 0.001))
        out.print(Text(f"{head}  {amount(report['size'])}  {taken:.1f} s  {rate}/s  proof {report['proof']}"))
    else:
        out.print(Text(f"{head}  [{failure['code']}] {failure['message']}", style="red"))
        if failure["stderr"]:
            err.print(Text(failure["stderr"]))
        if failure["hint"]:
            err.print(Text(failure["hint"]))
    for number, failed in enumerate(report["retried"], start=1):
        err.print(Text(f"attempt {number} failed: [{failed['code']}] {failed['message']}", style="yellow"))
    for reason in report["suspicious"]:
        err.print(Text(f"suspicious: {reason}", style="yellow"))
    if report["suspicious"]:
        err.print(Text(f"Look at it; `backup-sidecar accept {report['id']}` takes it for good."))
    for warning in report["warnings"]:
        err.print(Text(f"warning: {warning}", style="yellow"))
