"""Commands that delete stored runs: clients of the running `serve`."""

from typing import Annotated, Any

import typer

from controller.app import startup as program
from controller.cli.terminal import AsJson, OptionalKey, amount, answered, client, err, of_target, out, show, show_json


def prune(
    key: OptionalKey = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; show what keeps each run.")] = False,
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
        show(
            [(row["target"], row["run"], amount(row["size"]), row["series"], *fate(row, dry_run)) for row in rows],
            *("TARGET", "RUN", "SIZE", "SERIES", "FATE", "WHY"),
        )
        gone = [row for row in rows if not row["stays"] and (dry_run or row["deleted"])]
        out.print(f"{len(gone)} of {len(rows)} runs {'would go' if dry_run else 'deleted'}")
    for row in rows:
        if row["error"]:
            err.print(f"error: {row['error']['message']}. {row['error']['hint']}", style="red", markup=False)
    return program.FAILED if any(row["error"] for row in rows) else program.OK


def fate(row: dict[str, Any], dry_run: bool) -> tuple[str, str]:
    """Fate and reason of a run, in words."""
    if row["stays"]:
        return "stays", ", ".join(row["rules"])
    if row["error"]:
        return "left", row["error"]["code"]
    return "would go" if dry_run else "deleted", row["cause"]
