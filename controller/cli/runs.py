"""Commands about runs: clients of the running `serve`."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from controller.app import program
from controller.cli.activities import ListLimit, failure_code, follow, listed, show_listed
from controller.cli.terminal import (
    AsJson,
    OptionalKey,
    TargetKey,
    address_of,
    amount,
    answered,
    client,
    err,
    of_target,
    out,
    seconds,
    show,
    show_json,
    show_problems,
    show_warnings,
)


def targets(as_json: AsJson = False) -> int:
    """List the targets and what is wrong with them, and with the sidecar; exit 3 for an error, as `check` does."""
    with client() as connection:
        answer = answered(connection.get("/v1/targets"))
    views, problems = answer["targets"], answer["problems"]
    if as_json:
        show_json(views)
    else:
        rows = [
            (view["key"], view["strategy"], view["state"], view["container"]["name"], view["next_due"])
            for view in views
        ]
        show(rows, "TARGET", "STRATEGY", "STATE", "CONTAINER", "NEXT")
        show_problems([*problems, *(problem for view in views for problem in view["problems"])])
    is_broken = any(view["state"] == "problem" for view in views)
    return program.SOME if is_broken or any(each["severity"] == "error" for each in problems) else program.OK


def run(key: TargetKey, as_json: AsJson = False) -> int:
    """Back up one target now, and wait for the end; Ctrl-C cancels. Exit 3 for a run that is suspicious."""
    with client() as connection:
        start = connection.build_request("POST", f"{address_of(key)}/runs")
        report = follow(connection, "runs", start, progress)
    show_json(report) if as_json else show_run(report)
    if report["state"] != "succeeded":
        return program.FAILED
    return program.SOME if report["suspicious"] else program.OK


def runs(key: OptionalKey = None, limit: ListLimit = 20, as_json: AsJson = False) -> int:
    """List runs, the newest first."""

    def cells(run: Any) -> Sequence[object]:
        state = "pruned" if run["pruned"] else run["state"]
        return run["id"], run["key"], state, asked(run), amount(run["size"]), seconds(run), run["proof"], why(run)

    heads = ("RUN", "TARGET", "STATE", "TRIGGER", "SIZE", "TIME", "PROOF", "WHY")
    return show_listed("runs", key, limit, as_json, *heads, cells=cells)


def artifacts(key: OptionalKey = None, as_json: AsJson = False) -> int:
    """List stored artifacts, the newest first."""
    with client() as connection:
        reports = list(listed(connection, "runs", state="succeeded", **of_target(key)))
    rows = [
        {"run": run["id"], "target": run["key"], "pinned": run["pinned"]} | artifact
        for run in reports
        if not run["pruned"]
        for artifact in run["artifacts"]
    ]
    if as_json:
        show_json(rows)
        return program.OK
    table = [
        (
            *(row["target"], row["run"], row["name"], row["format"], amount(row["size"]), row["proof"]),
            *(row["sha256"][:16], "pinned" if row["pinned"] else ""),
        )
        for row in rows
    ]
    show(table, "TARGET", "RUN", "ARTIFACT", "FORMAT", "SIZE", "PROOF", "SHA-256", "")
    return program.OK


def asked(run: dict[str, Any]) -> str:
    """What began a run, and who, where somebody did so over the network."""
    return f"{run['trigger']} by {run['by']}" if "@" in run["by"] else str(run["trigger"])


def why(report: dict[str, Any]) -> str:
    """In a word, why a run is no good one, and when and why it went; or why it stays, and
    where it comes from.
    """
    words = []
    if report["pruned"]:
        again = ", `undelete` brings it back" if report["artifacts"] else ""
        words.append(f"{report['pruned']} {report['cause']}{again}")
    if report["pinned"]:
        words.append(f"pinned: {report['note']}" if report["note"] else "pinned")
    if report["origin"]:
        words.append(f"adopted from {report['origin']}")
    if report["damaged"]:
        word = "tampered" if report["tampered"] else "damaged"
        words.append(f"{word}, forgotten" if report["forgotten"] else word)
    elif report["suspicious"] and not report["accepted"]:
        words.append("suspicious")
    return "; ".join(words) or failure_code(report)


def progress(report: dict[str, Any]) -> str:
    """One live line: state, bytes, rate, time."""
    begun = datetime.fromisoformat(report["started"] or report["created"]).timestamp()
    passed = max(time.time() - begun, 0.001)
    rate = f"{amount(report['bytes'] / passed)}/s"
    state = f"{report['state']} ({report['reason']})" if report["reason"] else report["state"]
    return f"{report['key']}  {state}  {amount(report['bytes'])}  {rate}  {passed:.0f} s"


def show_run(report: dict[str, Any]) -> None:
    """How a run ended."""
    failure = report["failure"]
    head = f"{report['key']}  {report['id']}  {report['state']}"
    if failure is None:
        taken = report["seconds"] or 0.001
        rate = amount(report["bytes"] / max(taken, 0.001))
        out.print(f"{head}  {amount(report['size'])}  {taken:.1f} s  {rate}/s  proof {report['proof']}")
    else:
        out.print(f"{head}  [{failure['code']}] {failure['message']}", style="red")
        if failure["stderr"]:
            err.block(failure["stderr"])
        if failure["hint"]:
            err.print(failure["hint"])
    for number, failed in enumerate(report["retried"], start=1):
        err.print(f"attempt {number} failed: [{failed['code']}] {failed['message']}", style="yellow")
    for reason in report["suspicious"]:
        err.print(f"suspicious: {reason}", style="yellow")
    if report["suspicious"]:
        err.print(f"Look at it; `backup-sidecar accept {report['id']}` takes it for good.")
    show_warnings(report)
