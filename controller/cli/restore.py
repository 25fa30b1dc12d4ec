"""Restoring: by the running `serve`, or into plain files, which works alone."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from controller.app import startup as program
from controller.cli.activities import ListLimit, failure_code, follow, show_listed
from controller.cli.terminal import (
    AsJson,
    Failed,
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
    show_json,
    show_warnings,
)
from controller.core.key import Key, runs_of
from controller.core.manifest import Manifest
from controller.core.run import SAFETY
from controller.storage import marks, plain
from controller.storage.store import Store

PLAN_TIMEOUT_SECONDS = 300.0
"""For an answer that waits until the container was asked what is there."""
At = Annotated[str | None, typer.Option(help="The newest good run that began by then: 2026-03-01T03:00Z (UTC).")]
ByRun = Annotated[str | None, typer.Option("--run", help="Id of the run; the newest good one without.")]
To = Annotated[str | None, typer.Option(metavar="PLACE", help="Another target's key, service or container.")]
Into = Annotated[str | None, typer.Option(metavar="PATH", help="Folder for files; a new one without.")]
Replace = Annotated[bool, typer.Option("--replace", help="What is there may go, after a backup of it.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Files go where they came from.")]
WithPasswords = Annotated[
    bool, typer.Option("--with-passwords", help="Accounts that exist get the run's passwords, too.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")]
ToFile = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write the plain dumps there, and do no more.")]


def restore(
    key: TargetKey,
    *,
    at: At = None,
    run: ByRun = None,
    to: To = None,
    into: Into = None,
    replace: Replace = False,
    in_place: InPlace = False,
    with_passwords: WithPasswords = False,
    dry_run: DryRun = False,
    to_file: ToFile = None,
    as_json: AsJson = False,
) -> int:
    """Restore a run into its target or another container, and compare; Ctrl-C cancels, and undoes what can be."""
    moment = when(at)
    if to_file:
        return write_to_file(as_key(key), run, moment, to_file, as_json)
    texts = {"run": run, "at": moment and moment.isoformat(), "to": to, "into": into}
    flags = {"replace": replace, "in_place": in_place, "with_passwords": with_passwords, "dry_run": dry_run}
    query = {name: text for name, text in texts.items() if text}
    query |= {name: "true" for name, flag in flags.items() if flag}
    with client() as connection:
        address = f"{address_of(key)}/restore"
        start = connection.build_request("POST", address, params=query, timeout=PLAN_TIMEOUT_SECONDS)
        if dry_run:
            plan = answered(connection.send(start))
            show_json(plan) if as_json else show_plan(plan)
            return program.OK
        report = follow(connection, "restores", start, progress)
    show_json(report) if as_json else show_restore(report)
    return program.OK if report["state"] == "succeeded" else program.FAILED


def restores(key: OptionalKey = None, limit: ListLimit = 20, as_json: AsJson = False) -> int:
    """List restores, the newest first."""

    def cells(restore: Any) -> Sequence[object]:
        about = (restore["id"], restore["key"], restore["run"], restore["container"])
        return *about, restore["state"], seconds(restore), failure_code(restore)

    heads = ("RESTORE", "TARGET", "RUN", "INTO", "STATE", "TIME", "WHY")
    return show_listed("restores", key, limit, as_json, *heads, cells=cells)


def when(at: str | None) -> datetime | None:
    """UTC where the text names no zone."""
    try:
        moment = datetime.fromisoformat(at) if at else None
    except ValueError as error:
        raise Failed(f"{at!r} is no time", "Write 2026-03-01T03:00Z.", program.USAGE) from error
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def write_to_file(target: Key, run: str | None, at: datetime | None, folder: Path, as_json: bool) -> int:
    """`--to-file`: read the store, whoever serves it."""
    store = Store(program.configuration().settings.paths.artifacts)
    manifest = store.manifest(target, run) if run else chosen(store, target, at)
    path = plain.write(store, manifest, folder)
    if as_json:
        show_json({"run": manifest.run, "folder": str(path), "how": plain.how(manifest)})
        return program.OK
    out.print(Text(f"{path}\n"))
    if origin := marks.report(store, manifest).origin:
        err.print(Text(f"warning: these lines came along from {origin}: read them before you run them", style="yellow"))
    for line in plain.how(manifest):
        out.print(Text(f"{line}\n"))
    return program.OK


def chosen(store: Store, target: Key, at: datetime | None) -> Manifest:
    """The newest good run, and no safety backup; where there is none, the newest. Says which younger ones it is not."""
    readable = [manifest for manifest in store.manifests() if isinstance(manifest, Manifest)]
    own = [manifest for manifest in readable if manifest.target == target]
    fitting = [manifest for manifest in own if at is None or manifest.started <= at]
    if not fitting:
        hint = runs_of(sorted({str(manifest.target) for manifest in readable}))
        raise Failed(f"{target} has no run in {store.root}", hint)
    reports = {manifest.run: marks.report(store, manifest) for manifest in fitting}
    usual = [manifest for manifest in fitting if reports[manifest.run].trigger != SAFETY]
    future = {manifest.run for manifest in fitting if reports[manifest.run].is_future(datetime.now(UTC))}
    past = [manifest for manifest in usual if manifest.run not in future]
    good = [manifest for manifest in past if reports[manifest.run].good]
    newest = max(good or past or usual or fitting, key=lambda manifest: manifest.started)
    for manifest in usual:
        if manifest.started > newest.started:
            state = "of the future" if manifest.run in future else reports[manifest.run].doubt
            err.print(Text(f"warning: run {manifest.run} is younger and {state}; --run takes it", style="yellow"))
    return newest


def progress(report: dict[str, Any]) -> Text:
    share = f"{amount(report['bytes'])} of {amount(report['total'])}"
    return Text(f"{report['key']}  {report['run']} into {report['container']}  {report['step']}  {share}")


def show_plan(plan: dict[str, Any]) -> None:
    """What would be done, with the exact argv of everything that would run."""
    out.print(Text(f"{plan['run']} of {plan['target']} into {plan['where']} of {plan['container']}"))
    for name in plan["in_the_way"]:
        out.print(Text(f"in the way: {name}", style="yellow"))
    for step in plan["steps"]:
        show_step(step)
    for name, source in plan["compares"].items():
        reads = shlex.join(source["argv"]) if "argv" in source else f"archive of {source['archive']}"
        out.print(Text(f"\ncompare {name}:\n  {reads}"))
    for step in plan["swap"]:
        show_step(step)
    for argv in plan["finish"]:
        out.print(Text(f"\nfinish:\n  {shlex.join(argv)}"))
    show_warnings(plan)


def show_step(step: dict[str, Any]) -> None:
    does = f"put into {step['put']}" if "put" in step else shlex.join(step["argv"])
    out.print(Text(f"\n{step.get('artifact', 'run')}:\n  {does}"))
    if "undo" in step:
        out.print(Text(f"  undo: {shlex.join(step['undo'])}"))


def show_restore(report: dict[str, Any]) -> None:
    """How a restore ended."""
    head = f"{report['key']}  {report['run']} into {report['where']} of {report['container']}  {report['state']}"
    failure = report["failure"]
    if failure is None:
        out.print(Text(f"{head}  {amount(report['bytes'])}  {report['seconds']:.1f} s  compared {report['compared']}"))
    else:
        out.print(Text(f"{head}  [{failure['code']}] {failure['message']}", style="red"))
        if failure["hint"]:
            err.print(Text(failure["hint"]))
        err.print(Text("Everything is as it was." if report["undone"] else "Not everything is as it was."))
    if report["safety"]:
        out.print(Text(f"what was there is in run {report['safety']}"))
    show_warnings(report)
