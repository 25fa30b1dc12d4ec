"""Commands about rehearsed restores, and the proof of a run."""

import time
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from controller.app import startup as program
from controller.cli.terminal import AsJson, TargetKey, amount, answered, as_key, client, err, out, show, show_json

RunId = Annotated[str | None, typer.Option("--run", metavar="ID", help="Which run; by default the last good one.")]
UNDER_WAY = ("queued", "running")
MOST = 20
"""Compared things that are shown."""


def drill(key: TargetKey, run: RunId = None, as_json: AsJson = False) -> int:
    """Restore a run into a throw-away container, compare and check it, and wait for the end."""
    path = "/".join(as_key(key).folders)
    with client() as connection:
        found = answered(connection.post(f"/v1/targets/{path}/drills", params={"run": run} if run else {}))
        began = time.monotonic()
        with Live(console=err, refresh_per_second=5, transient=True) as live:
            while found["state"] in UNDER_WAY:
                live.update(Text(f"{key}  drill {found['state']}  {time.monotonic() - began:.0f} s"))
                time.sleep(0.2)
                found = answered(connection.get(f"/v1/drills/{found['id']}"))
    if as_json:
        show_json(found)
    else:
        show_drill(found)
    return program.OK if found["state"] == "passed" else program.FAILED


def proof(key: TargetKey, run: RunId = None, as_json: AsJson = False) -> int:
    """Show the chain of a run's proof: when dumped, from what, how proved, when restored, what was compared."""
    path = "/".join(as_key(key).folders)
    with client() as connection:
        found = answered(connection.get(f"/v1/targets/{path}/proof", params={"run": run} if run else {}))
    if as_json:
        show_json(found)
        return program.OK
    source = found["from"]
    out.print(Text(f"{found['key']}  run {found['run']}"))
    out.print(Text(f"dumped    {found['dumped']['started']} to {found['dumped']['finished']} by {source['strategy']}"))
    out.print(Text(f"from      {source['container']}, image {source['image']} ({source['image_id'][:19]})"))
    out.print(Text(f"          by backup-sidecar {source['sidecar']}, engine {source['engine']}"))
    out.print(Text(f"proved    {found['proof']}: {found['meaning']}"))
    for artifact in found["artifacts"]:
        out.print(Text(f"stored    {artifact['name']}  {amount(artifact['size'])}  SHA-256 {artifact['sha256']}"))
        out.print(Text(f"          plain {amount(artifact['plain_size'])}  SHA-256 {artifact['plain_sha256']}"))
    if restored := found["restored"]:
        show_restored(restored)
    if found["drill"] is None:
        out.print(Text("restored  never rehearsed: `backup-sidecar drill` does it", style="yellow"))
    else:
        show_drill(found["drill"])
    for warning in found["warnings"]:
        err.print(Text(f"warning: {warning}", style="yellow"))
    return program.OK


def show_restored(found: dict[str, Any]) -> None:
    """How the last restore by command ended."""
    told = f"{found['state']} {found['finished']} into {found['where']} of {found['container']}"
    style = "green" if found["state"] == "succeeded" else "red"
    out.print(Text(f"restored  {told}, {found['compared']} numbers compared", style=style))


def show_drill(found: dict[str, Any]) -> None:
    """How a drill ended, and what was compared."""
    failure = found["failure"]
    when = f"{found['finished']} from image {found['image'][:19]}" if found["image"] else found["finished"]
    style = "green" if found["state"] == "passed" else "red"
    took = (
        "" if found["seconds"] is None else f", {found['seconds']:.1f} s"
    )  # Nobody knows of one that was interrupted.
    out.print(Text(f"restored  {found['state']} {when}, run {found['run']}{took}", style=style))
    if failure:
        out.print(Text(f"          [{failure['code']}] {failure['message']}", style="red"))
        err.print(Text(failure["hint"]))
    if found["check"] is not None:
        out.print(Text(f"checked   drill.check exits 0  {found['check']}".rstrip()))
    for remark in found["remarks"]:
        err.print(Text(f"remark: {remark}", style="yellow"))
    rows = [(row["artifact"], row["what"], row["dumped"], row["restored"]) for row in found["compared"]]
    if rows:
        show(rows[:MOST], "ARTIFACT", "COMPARED", "DUMPED", "RESTORED")
    if len(rows) > MOST:
        out.print(f"and {len(rows) - MOST} more; --json shows all")
