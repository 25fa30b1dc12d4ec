"""Restoring: by the running `serve`, or into plain files, which works alone."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from config.wording import shortened
from controller.app import program
from controller.cli.activities import ListLimit, failure_code, follow, show_listed
from controller.cli.adopt import AsOf, Identity, Wanted, adopted_copies, taken_from
from controller.cli.terminal import (
    AsJson,
    Failed,
    OptionalKey,
    Verbose,
    address_of,
    amount,
    answered,
    as_key,
    client,
    err,
    out,
    seconds,
    show_json,
    show_warnings,
)
from controller.cli.times import since, when

MOST_LINES = 10
"""Of what would be done, for who does not want to know all of it."""
ONE_OR_ALL = (
    "this restores one target, or all that were adopted",
    "Give a KEY, or --all with --from, --at, --replace, --stop and --dry-run at most; see `restore --help`.",
)
PLAN_TIMEOUT_SECONDS = 300.0
"""For an answer that waits until the container was asked what is there."""
At = Annotated[str | None, typer.Option(help="The newest good run that began by then: 2026-03-01T03:00Z (UTC).")]
ByRun = Annotated[str | None, typer.Option("--run", help="Id of the run; the newest good one without.")]
To = Annotated[str | None, typer.Option(metavar="PLACE", help="Another target's key, service or container.")]
Into = Annotated[str | None, typer.Option(metavar="PATH", help="Folder for files; a new one without.")]
Replace = Annotated[bool, typer.Option("--replace", help="What is there may go, after a backup of it.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Files go where they came from, though something is there.")]
Mirror = Annotated[
    bool, typer.Option("--mirror", help="In place, and what is there and not in the run is removed, after a backup.")
]
WithPasswords = Annotated[
    bool, typer.Option("--with-passwords", help="Accounts that exist get the run's passwords, too.")
]
DropFirst = Annotated[
    bool, typer.Option("--drop-first", help="Where both do not fit: what is there is dropped before it is loaded.")
]
Unsaved = Annotated[
    bool, typer.Option("--without-safety-backup", help="Replace what is there, such as a broken one, without a backup.")
]
Force = Annotated[
    bool, typer.Option("--force", help="MariaDB and MySQL: end the sessions that do not let go of a table.")
]
Stop = Annotated[
    str | None, typer.Option(metavar="SERVICES", help="Services that are stopped for the while: web,worker.")
]
AcceptDifferences = Annotated[
    bool, typer.Option("--accept-differences", help="Keep what was restored though it is not what was counted.")
]
SearchPath = Annotated[
    str | None, typer.Option(metavar="SCHEMAS", help="PostgreSQL: the search path for the load: app,public.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done, with --verbose each command.")]
ToFile = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write the plain dumps there, and do no more.")]
All = Annotated[bool, typer.Option("--all", help="Every adopted target: the newest good run that was adopted of each.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="DESTINATION", help="Take the copy there, with --identity; then restore."),
]


def restore(
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="project/service or project/service/name.")] = None,
    *,
    all_: All = False,
    from_: From = None,
    identity: Identity = None,
    as_of: AsOf = None,
    at: At = None,
    run: ByRun = None,
    to: To = None,
    into: Into = None,
    replace: Replace = False,
    in_place: InPlace = False,
    mirror: Mirror = False,
    with_passwords: WithPasswords = False,
    drop_first: DropFirst = False,
    without_safety_backup: Unsaved = False,
    force: Force = False,
    stop: Stop = None,
    accept_differences: AcceptDifferences = False,
    search_path: SearchPath = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    to_file: ToFile = None,
    as_json: AsJson = False,
) -> int:
    """Restore a run into its target or another container, and compare; Ctrl-C cancels, and undoes what can be."""
    moment, then = when(at), of_copies(as_of, from_)
    flags = {"replace": replace, "with_passwords": with_passwords, "force": force}
    flags |= {"without_safety_backup": without_safety_backup, "accept_differences": accept_differences}
    if key is None:
        one_only = (run, to, into, in_place, mirror, drop_first, search_path, to_file, verbose)
        if not all_ or any(one_only):
            raise Failed(*ONE_OR_ALL, program.USAGE)
        query = {name: "true" for name, flag in flags.items() if flag} | ({"stop": stop} if stop else {})
        rows = adopted_copies(from_, identity, Wanted(at=moment, as_of=then)) if from_ else None
        from controller.cli.restore_all import restore_all  # noqa: PLC0415  # Half the time to start.

        return restore_all(query, moment, rows, dry_run=dry_run, as_json=as_json)
    if all_:
        raise Failed(*ONE_OR_ALL, program.USAGE)
    if from_:
        rows = adopted_copies(from_, identity, Wanted([as_key(key)], run or "", moment, as_of=then))
        run, moment = taken_from(rows), None
    if to_file:
        from controller.cli.to_file import write  # noqa: PLC0415  # Only here the store is read.

        return write(as_key(key), run, moment, to_file, as_json)
    texts = {"run": run, "at": moment and moment.isoformat(), "to": to, "into": into, "stop": stop}
    texts |= {"search_path": search_path}
    flags |= {"in_place": in_place, "drop_first": drop_first, "mirror": mirror, "dry_run": dry_run}
    query = {name: text for name, text in texts.items() if text}
    query |= {name: "true" for name, flag in flags.items() if flag}
    with client() as connection:
        address = f"{address_of(key)}/restore"
        start = connection.build_request("POST", address, params=query, timeout=PLAN_TIMEOUT_SECONDS)
        if dry_run:
            plan = answered(connection.send(start))
            show_json(plan) if as_json else show_plan(plan, verbose)
            return program.OK
        report = follow(connection, "restores", start, progress)
    show_json(report) if as_json else show_restore(report, to or "")
    return program.OK if report["state"] == "succeeded" else program.FAILED


def of_copies(as_of: str | None, from_: str | None) -> datetime | None:
    """The time as of which a destination is read; raises `Failed` where none is named."""
    if as_of and not from_:
        raise Failed("--as-of is only for copies", "Name their destination by --from.", program.USAGE)
    return when(as_of)


def restores(key: OptionalKey = None, limit: ListLimit = 20, as_json: AsJson = False) -> int:
    """List restores, the newest first."""

    def cells(restore: Any) -> Sequence[object]:
        about = (restore["id"], restore["key"], restore["run"], restore["container"])
        return *about, restore["state"], seconds(restore), failure_code(restore)

    heads = ("RESTORE", "TARGET", "RUN", "INTO", "STATE", "TIME", "WHY")
    return show_listed("restores", key, limit, as_json, *heads, cells=cells)


def progress(report: dict[str, Any]) -> str:
    share = f"{amount(report['bytes'])} of {amount(report['total'])}"
    return f"{report['key']}  {report['run']} into {report['container']}  {report['step']}  {share}"


def show_plan(plan: dict[str, Any], verbose: bool) -> None:
    """What would be done, in at most ten lines; or with the exact argv of everything that would run."""
    lines = list(told(plan))
    shown = lines if verbose or len(lines) <= MOST_LINES else lines[: MOST_LINES - 1]
    for line in shown:
        out.print(line)
    if lines[len(shown) :]:
        out.print(f"and {len(lines) - len(shown)} lines more: see --verbose")
    if verbose:
        show_steps(plan)


def told(plan: dict[str, Any]) -> Iterator[str]:
    """What somebody ought to know before, a line each."""
    made = since(datetime.fromisoformat(plan["started"]), datetime.now(UTC))
    yield f"{plan['run']} of {plan['target']}, made {made} in {plan['image']} by backup-sidecar {plan['sidecar']}"
    yield f"into {plan['where']} of {plan['container']} ({plan['container_image']})"
    for unit, number in plan["stored"].items():
        unknown = "not counted there" if plan["in_the_way"] else "none there now"
        there = f"{plan['present'][unit]:,} there now" if unit in plan["present"] else unknown
        yield f"{unit}: {number:,} in the run, {there}"
    if plan["in_the_way"]:
        yield f"{fate(plan)}: {shortened(plan['in_the_way'])}"
    if plan["beside"]:
        yield f"beside what is there: {shortened(plan['beside'])}"
    if plan["stops"]:
        yield f"stopped for the while: {', '.join(plan['stops'])}"
    if plan["clients"]:
        yield f"clients: {plan['clients']}"
    if (room := plan.get("room")) and "free" in room:
        yield f"room: {amount(room['needed'])} are needed, {amount(room['free'])} are free"
    seconds = plan.get("drill_seconds")  # What is None is left out.
    yield "no drill was passed yet" if seconds is None else f"the last drill took {seconds:.0f} s"
    yield from (f"warning: {warning}" for warning in plan["warnings"])


def fate(plan: dict[str, Any]) -> str:
    """What becomes of what is in the way."""
    if plan["mirror"]:
        return "replaced, or removed where the run does not have it"
    return "replaced where the run has it" if plan["replaces"] else "in the way"


def show_steps(plan: dict[str, Any]) -> None:
    """Everything that would run."""
    for step in plan["steps"]:
        show_step(step)
    for name, source in plan["compares"].items():
        reads = shlex.join(source["argv"]) if "argv" in source else f"archive of {source['archive']}"
        show_lines(f"compare {name}", reads)
    for step in plan["swap"]:
        show_step(step)
    for argv in plan["finish"]:
        show_lines("finish", shlex.join(argv))


def show_step(step: dict[str, Any]) -> None:
    does = f"put into {step['put']}" if "put" in step else shlex.join(step["argv"])
    show_lines(step.get("artifact", "run"), does)
    if "undo" in step:
        out.block(f"undo: {shlex.join(step['undo'])}")


def show_lines(name: str, lines: str) -> None:
    out.print(f"{name}:")
    out.block(lines)


def show_restore(report: dict[str, Any], to: str) -> None:
    """How a restore ended; `to` as it was asked for."""
    head = f"{report['key']}  {report['run']} into {report['where']} of {report['container']}  {report['state']}"
    failure = report["failure"]
    if failure is None:
        out.print(f"{head}  {amount(report['bytes'])}  {report['seconds']:.1f} s  compared {report['compared']}")
    else:
        out.print(f"{head}  [{failure['code']}] {failure['message']}", style="red")
        if failure["hint"]:
            err.print(failure["hint"])
        err.print("Everything is as it was." if report["undone"] else "Not everything is as it was.")
    if report["safety"]:
        out.print(f"what was there is in run {report['safety']}")
    show_warnings(report)
    if report["beside"] and failure is None:
        out.print(in_place(report["key"], report["run"], to))


def in_place(key: str, run: str, to: str) -> str:
    """How to have in place what goes beside what is there."""
    place = f" --to {shlex.quote(to)}" if to else ""
    command = f"backup-sidecar restore {key} --run {run}{place} --in-place --replace"
    return f"to have it in place: `{command}`; with --mirror also without what the run does not have"
