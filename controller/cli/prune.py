"""Commands that delete stored runs, undo that, and keep what no rule may delete: clients of the running `serve`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from controller.app import program
from controller.cli.status import RunId
from controller.cli.terminal import AsJson, OptionalKey, amount, answered, client, err, of_target, out, show, show_json
from controller.upkeep.freshness import ago


def prune(
    key: OptionalKey = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; show what would go.")] = False,
    as_json: AsJson = False,
) -> int:
    """Delete the runs that retention does not keep, of one target or of all."""
    query: dict[str, Any] = {"dry_run": dry_run, **of_target(key)}
    with client() as connection:
        answer = answered(connection.post("/v1/prune", params=query, timeout=None))
    rows = answer["runs"]
    if as_json:
        show_json(rows)
    else:
        show([cells(row, dry_run) for row in rows], "TARGET", "RUN", "AGE", "SIZE", "SERIES", "FATE", "WHY")
        gone = [row for row in rows if not row["stays"] and (dry_run or row["deleted"])]
        what, free = f"{len(gone)} of {len(rows)} runs", amount(answer["free"] + answer["freed"])
        if dry_run:
            out.print(f"{what} would go, {amount(answer['freed'])}; then {free} would be free for the next runs")
        else:
            out.print(f"{what} deleted, {amount(answer['freed'])}; {free} are free for the next runs")
    for row in rows:
        if row["error"]:
            err.print(f"error: {row['error']['message']}. {row['error']['hint']}", style="red")
    return program.FAILED if any(row["error"] for row in rows) else program.OK


def cells(row: dict[str, Any], dry_run: bool) -> tuple[str, ...]:
    age = ago(datetime.now(UTC) - datetime.fromisoformat(row["time"]))
    return (row["target"], row["run"], age, amount(row["size"]), row["series"], *fate(row, dry_run))


def fate(row: dict[str, Any], dry_run: bool) -> tuple[str, str]:
    """Fate and reason of a run, in words."""
    if row["stays"]:
        return "stays", ", ".join(row["rules"])
    if row["error"]:
        return "left", row["error"]["code"]
    return "would go" if dry_run else "deleted", row["cause"]


def delete(
    run: RunId,
    force: Annotated[bool, typer.Option("--force", help="Also the target's last good run.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="For good and at once, also a deleted run.")] = False,
    as_json: AsJson = False,
) -> int:
    """Delete one run; `undelete` brings it back for as long as `policy.undelete` says."""
    query = {"force": force, "purge": purge}
    return act("DELETE", run, "", as_json, lambda report: "deleted" if report["artifacts"] else "purged", **query)


def undelete(run: RunId, as_json: AsJson = False) -> int:
    """Bring a deleted run back; one that a rule had deleted is pinned."""
    return act("POST", run, "/undelete", as_json, lambda report: "pinned" if report["pinned"] else "is back")


def keep(
    run: RunId,
    note: Annotated[str, typer.Option("--note", help="Why, for those who see it later.")] = "",
    release: Annotated[bool, typer.Option("--release", help="Leave it to the rules again.")] = False,
    as_json: AsJson = False,
) -> int:
    """Pin one run: it stays whatever the rules say."""
    if release:
        return act("DELETE", run, "/pin", as_json, lambda _: "left to the rules")
    return act("PUT", run, "/pin", as_json, lambda _: "pinned", note=note)


def act(
    method: str, run: str, route: str, as_json: bool, done: Callable[[dict[str, Any]], str], **query: str | bool
) -> int:
    """Do something to one run, and tell what has become of it."""
    with client() as connection:
        report = answered(connection.request(method, f"/v1/runs/{quote(run, safe='')}{route}", params=query))
    show_json(report) if as_json else out.print(f"{report['key']}  {report['id']}  {done(report)}")
    return program.OK
