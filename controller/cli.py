"""The commands, for people and for programs.

`serve` owns store, catalog and streams; the acting commands are clients of its API over the unix socket in the work
folder, also by `docker exec`. `check`, `explain` and `version` work alone.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from config.loading import Loaded
from config.problems import ConfigurationError, Problem
from config.settings import Paths
from controller import app as program
from controller.engine.client import Engine
from controller.errors import SidecarError
from controller.report import Key
from controller.survey import Surveyor
from controller.targets import Target, find, nearest, scope
from strategies import discover

cli = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
if not out.is_terminal:
    out.width = 1000  # A program that reads lines wants them whole.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TargetKey = Annotated[str, typer.Argument(metavar="KEY", help="project/service or project/service/name.")]


class Failed(Exception):
    """Ends a command with a message, a hint and an exit code."""

    def __init__(self, message: str, hint: str = "", code: int = program.FAILED) -> None:
        self.code = code
        super().__init__(f"{message.rstrip('.')}. {hint}" if hint else message)


# --- the client -----------------------------------------------------------------------------------------------------


def workdir() -> Path:
    """Of the configuration, or its default where that cannot be read: a running `serve` still has the last good one."""
    try:
        return program.configuration().settings.paths.workdir
    except ConfigurationError:
        return Path(os.environ.get("SIDECAR_PATHS_WORKDIR") or Paths().workdir)


@contextmanager
def client() -> Iterator[httpx.Client]:
    """A connection to the running `serve`; says so when there is none, and translates its errors."""
    socket = workdir() / program.SOCKET
    try:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://sidecar", timeout=30
        ) as connection:
            yield connection
    except (httpx.ConnectError, FileNotFoundError) as error:
        hint = "Start `backup-sidecar serve`, or run this command in its container by `docker exec`."
        raise Failed(f"no sidecar is serving at {socket}", hint) from error
    except httpx.HTTPError as error:
        raise Failed(f"the sidecar did not answer: {error}", "Look at its log.") from error


def answered(response: httpx.Response) -> Any:
    """The JSON of a good answer; raises `Failed` with what a problem says."""
    if response.is_success:
        return response.json()
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    raise Failed(problem.get("detail") or f"the sidecar answered {response.status_code}", problem.get("hint", ""))


# --- what people see ------------------------------------------------------------------------------------------------


def amount(size: float | None) -> str:
    """Bytes in binary units: `12.3 MiB`."""
    if size is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def show(rows: Sequence[Sequence[object]], *heads: str) -> None:
    """A table without frames; cells are plain text, whatever they hold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    out.print(table)


def show_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_problems(problems: Sequence[Problem | dict[str, Any]]) -> None:
    for problem in problems:
        told = problem if isinstance(problem, Problem) else Problem(**problem)
        err.print(Text(f"{told.severity}: {told}", style="red" if told.severity == "error" else "yellow"))


# --- commands -------------------------------------------------------------------------------------------------------


@cli.command()
def serve() -> int:
    """Watch the engine, serve the API, run backups, until SIGTERM."""
    return program.serve(threading.Event())


@cli.command()
def version(as_json: AsJson = False) -> int:
    """Print the version."""
    show_json({"version": installed("backup-sidecar")}) if as_json else print(installed("backup-sidecar"))
    return program.OK


@cli.command()
def check(as_json: AsJson = False) -> int:
    """Check configuration, engine and labels without doing anything; exit 78 for the configuration, 3 for a target."""
    loaded = program.configuration()
    targets, problems = found(loaded)
    problems = (*loaded.problems, *problems)
    broken = [target for target in targets if target.state == "problem"]
    if as_json:
        shown = [problem.as_dict() for problem in problems]
        show_json({"problems": shown, "targets": [target.as_dict() for target in targets]})
    else:
        show_problems(problems)
        for target in targets:
            show_problems(target.problems)
        out.print(f"configuration: good; targets: {len(targets)}, with problems: {len(broken)}")
    return program.SOME if broken or any(problem.severity == "error" for problem in problems) else program.OK


@cli.command()
def targets(as_json: AsJson = False) -> int:
    """List the targets and what is wrong with them."""
    with client() as connection:
        listed = answered(connection.get("/v1/targets"))["targets"]
    if as_json:
        show_json(listed)
        return program.OK
    show(
        [(row["key"], row["strategy"], row["state"], row["container"]["name"]) for row in listed],
        "TARGET",
        "STRATEGY",
        "STATE",
        "CONTAINER",
    )
    for row in listed:
        show_problems(row["problems"])
    return program.OK


@cli.command()
def explain(key: TargetKey, as_json: AsJson = False) -> int:
    """Show each setting of a target, where it comes from, and what a run would do."""
    loaded = program.configuration()
    wanted = as_key(key)
    known, _ = found(loaded)
    target = next((target for target in known if target.key == wanted), None)
    if target is None:
        raise Failed(f"no target {key}", nearest(wanted, [str(target.key) for target in known]))
    if target.options is not None and target.state != "absent":
        target = surveyed(target)
    if as_json:
        show_json(target.as_dict())
        return program.OK
    if target.resolved:
        redact = loaded.secrets.with_also(target.resolved.sensitive).redact
        values = target.resolved.values
        show(
            [(name, redact(values[name]), source) for name, source in target.resolved.provenance.items()],
            "SETTING",
            "VALUE",
            "FROM",
        )
    for dump in (target.as_dict()["plan"] or {"dumps": []})["dumps"]:
        out.print(
            Text(f"\ndump {dump['name']} ({dump['format']}):\n  {dump['argv'] or 'archive of ' + str(dump['archive'])}")
        )
    show_problems(target.problems)
    return program.SOME if target.state == "problem" else program.OK


@cli.command()
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


@cli.command()
def runs(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]")] = None,
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
            (row["failure"] or {}).get("code"),
        )
        for row in listed
    ]
    show(rows, "RUN", "TARGET", "STATE", "SIZE", "TIME", "PROOF", "WHY")
    return program.OK


@cli.command()
def artifacts(key: Annotated[str | None, typer.Argument(metavar="[KEY]")] = None, as_json: AsJson = False) -> int:
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


# --- pieces ---------------------------------------------------------------------------------------------------------


def as_key(text: str) -> Key:
    try:
        return Key.parse(text)
    except ValueError as error:
        raise Failed(str(error), "`backup-sidecar targets` lists the keys.", program.USAGE) from error


def found(loaded: Loaded) -> tuple[list[Target], tuple[Problem, ...]]:
    """The targets as the engine's list gives them, not yet asked, and what the sidecar itself lacks."""
    engine = Engine()
    listed = engine.containers()
    place = scope(loaded, engine.own_container_id(), listed, engine.networks())
    return list(find(loaded, place, listed, discover()).values()), place.problems


def surveyed(target: Target) -> Target:
    try:
        return target.with_survey(Surveyor(Engine(), discover()).survey(target.container.id, *target.asked()))
    except SidecarError as error:
        return target.with_problem(Problem(error.code, f"container {target.container.name}", error.message, error.hint))


def target_of(report: dict[str, Any]) -> str:
    return str(Key.model_validate(report["target"])) if isinstance(report["target"], dict) else str(report["target"])


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
    for warning in report["warnings"]:
        err.print(Text(f"warning: {warning}", style="yellow"))


def main() -> int:
    """Run the command that the arguments name; gives the exit code, and tells every error in plain words."""
    try:
        return cli(standalone_mode=False) or program.OK
    except ConfigurationError as error:
        show_problems(error.problems)
        return program.CONFIGURATION
    except Failed as error:
        return refused(str(error), error.code)
    except SidecarError as error:
        return refused(str(error), program.FAILED)
    except typer.TyperException as error:
        return refused(f"{str(error).rstrip('.')}. `backup-sidecar --help` lists the commands.", program.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return program.INTERRUPTED


def refused(message: str, code: int) -> int:
    err.print(Text(f"error: {message}", style="red"))
    return code
