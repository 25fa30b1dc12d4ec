"""Commands about rehearsed restores, and the proof of a run: clients of the running `serve`."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from controller.app import program
from controller.cli.activities import ListLimit, failure_code, follow, show_listed
from controller.cli.adopt import Identity, Wanted, adopted_copies, taken_from
from controller.cli.terminal import (
    AsJson,
    OptionalKey,
    TargetKey,
    address_of,
    amount,
    answered,
    as_key,
    client,
    err,
    out,
    seconds,
    show,
    show_json,
    show_warnings,
)
from controller.core.key import Key

RunId = Annotated[str | None, typer.Option("--run", metavar="ID", help="Which run; by default the last good one.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="DESTINATION", help="Take the copy there, with --identity; then drill.")
]
MOST_COMPARED = 20
"""Compared things that are shown."""


def drill(
    key: TargetKey, run: RunId = None, *, from_: From = None, identity: Identity = None, as_json: AsJson = False
) -> int:
    """Restore a run into a throw-away container, compare and check it, and wait for the end; Ctrl-C cancels."""
    if from_:
        run = taken_from(adopted_copies(from_, identity, Wanted([as_key(key)], run or "")))
    with client() as connection:
        start = connection.build_request("POST", f"{address_of(key)}/drills", params={"run": run} if run else {})
        report = follow(connection, "drills", start, progress)
    show_json(report) if as_json else show_drill(report)
    if report["state"] != "passed":
        return program.FAILED
    return drilled_copy(from_, identity, as_key(key), report["run"], as_json) if from_ else program.OK


def drilled_copy(name: str, identity: str | None, key: Key, run: str, as_json: bool) -> int:
    """Leave a receipt that a copy was drilled; exit 1 where it is not what it was."""
    from controller.cli.rehearse import rehearse  # noqa: PLC0415  # Only here what decrypts is needed.

    return rehearse(name, key, run, identity, drilled=True, silent=as_json)


def drills(key: OptionalKey = None, limit: ListLimit = 20, as_json: AsJson = False) -> int:
    """List drills, the newest first."""

    def cells(drill: Any) -> Sequence[object]:
        about = (drill["id"], drill["key"], drill["run"], drill["state"])
        return *about, seconds(drill), len(drill["compared"]), failure_code(drill)

    heads = ("DRILL", "TARGET", "RUN", "STATE", "TIME", "COMPARED", "WHY")
    return show_listed("drills", key, limit, as_json, *heads, cells=cells)


def proof(key: TargetKey, run: RunId = None, as_json: AsJson = False) -> int:
    """Show the chain of a run's proof: when dumped, from what, how proved, when restored, what was compared."""
    with client() as connection:
        chain = answered(connection.get(f"{address_of(key)}/proof", params={"run": run} if run else {}))
    if as_json:
        show_json(chain)
        return program.OK
    source = chain["from"]
    out.print(f"{chain['key']}  run {chain['run']}")
    out.print(f"dumped    {chain['dumped']['started']} to {chain['dumped']['finished']} by {source['strategy']}")
    out.print(f"from      {source['container']}, image {source['image']} ({source['image_id'][:19]})")
    out.print(f"          by backup-sidecar {source['sidecar']}, engine {source['engine']}")
    if chain["origin"]:
        out.print(f"adopted   from {chain['origin']}: all of this is what came along, but for the digests")
    out.print(f"proved    {chain['proof']}: {chain['meaning']}")
    for artifact in chain["artifacts"]:
        out.print(f"stored    {artifact['name']}  {amount(artifact['size'])}  SHA-256 {artifact['sha256']}")
        out.print(f"          plain {amount(artifact['plain_size'])}  SHA-256 {artifact['plain_sha256']}")
    if restored := chain["restored"]:
        show_restored(restored)
    if chain["drill"] is None:
        out.print("restored  never rehearsed: `backup-sidecar drill` does it", style="yellow")
    else:
        show_drill(chain["drill"])
    show_warnings(chain)
    return program.OK


def progress(report: dict[str, Any]) -> str:
    """One live line: state, and the time since it was asked for."""
    passed = time.time() - datetime.fromisoformat(report["created"]).timestamp()
    return f"{report['key']}  drill {report['state']}  {passed:.0f} s"


def show_restored(report: dict[str, Any]) -> None:
    """How the last restore by command ended."""
    end = f"{report['state']} {report['finished']} into {report['where']} of {report['container']}"
    style = "green" if report["state"] == "succeeded" else "red"
    out.print(f"restored  {end}, {report['compared']} numbers compared", style=style)


def show_drill(report: dict[str, Any]) -> None:
    """How a drill ended, and what was compared."""
    failure = report["failure"]
    when = f"{report['finished']} from image {report['image'][:19]}" if report["image"] else report["finished"]
    took = f", {seconds(report)}" if seconds(report) else ""
    style = "green" if report["state"] == "passed" else "red"
    out.print(f"restored  {report['state']} {when}, run {report['run']}{took}", style=style)
    if failure:
        out.print(f"          [{failure['code']}] {failure['message']}", style="red")
        err.print(failure["hint"])
    if report["check"] is not None:
        out.print(f"checked   drill.check exits 0  {report['check']}".rstrip())
    for remark in report["remarks"]:
        err.print(f"remark: {remark}", style="yellow")
    rows = [(row["artifact"], row["what"], row["dumped"], row["restored"]) for row in report["compared"]]
    if rows:
        show(rows[:MOST_COMPARED], "ARTIFACT", "COMPARED", "DUMPED", "RESTORED")
    if len(rows) > MOST_COMPARED:
        out.print(f"and {len(rows) - MOST_COMPARED} more; --json shows all")
