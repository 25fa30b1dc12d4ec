"""The command that lets go of what is gone: a client of the running `serve`."""

from typing import Annotated, Any

import typer

from controller.app import program
from controller.cli.terminal import AsJson, address_of, amount, answered, client, err, out, show_json
from controller.core.key import RUN_ID

Which = Annotated[str, typer.Argument(metavar="KEY|RUN", help="A target, or one run's id.")]


def forget(
    which: Which,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show what would be.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete its runs too; `undelete` brings them back.")] = False,
    as_json: AsJson = False,
) -> int:
    """Take a target whose container is gone, or a run that is lost or damaged, off the verdict."""
    is_run = RUN_ID.fullmatch(which) is not None
    address = f"/v1/runs/{which}" if is_run else address_of(which)
    with client() as connection:
        answer = answered(
            connection.post(f"{address}/forget", params={"dry_run": dry_run, "delete": delete}, timeout=None)
        )
    if as_json:
        show_json(answer)
    elif is_run:
        done = "deleted" if answer["pruned"] else "would be forgotten" if dry_run else "forgotten"
        out.print(f"{answer['key']}  {answer['id']}  {done}: {answer['damaged']}")
    else:
        show_forgotten(answer)
    errors = [] if is_run else answer["errors"]
    for error in errors:
        err.print(f"error: {error['message']}. {error['hint']}", style="red")
    return program.FAILED if errors else program.OK


def show_forgotten(answer: dict[str, Any]) -> None:
    """What has become of a target, or would, and of its runs."""
    would = "would be " if answer["dry_run"] else ""
    out.print(f"{answer['key']}  {would or 'is '}forgotten, until a container of it runs again")
    going = [run for run in answer["runs"] if run["run"] in answer["deleted"]]
    if going:
        out.print(f"{would}deleted, `undelete` brings them back: {summed(going)}")
    if staying := [run for run in answer["runs"] if run not in going]:
        rules = ", ".join(f"{rule} {value}" for rule, value in (answer["retention"] or {}).items())
        out.print(f"stay, {f'by {rules}' if rules else 'since nobody knows its retention'}: {summed(staying)}")


def summed(runs: list[dict[str, Any]]) -> str:
    """How many, and how large."""
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}, {amount(sum(run['size'] or 0 for run in runs))}"
