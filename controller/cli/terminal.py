"""What the commands share: the client of the running `serve`, tables, units, and errors in plain words."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from config.problems import Problem
from config.wording import as_json, escaped
from controller.app import program
from controller.core.key import Key


class Terminal:
    """All that people read goes through here; nothing in it acts on their terminal, or looks like a line of ours."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._console = Console(stderr=stderr, soft_wrap=True)
        self.width = self._console.width if self._console.is_terminal else 1000
        """A program that reads lines wants them whole."""

    def print(self, text: str, style: str = "") -> None:
        """One line, whatever is in it."""
        self._console.print(Text(escaped(text), style=style))

    def block(self, text: str) -> None:
        """The lines of somebody else, each marked as such."""
        for line in text.splitlines():
            self.print(f"| {line}")

    @contextmanager
    def live(self) -> Iterator[Callable[[str], None]]:
        """One line that changes, as long as the context is open; gives what writes it."""
        with Live(console=self._console, refresh_per_second=5, transient=True) as live:
            yield lambda text: live.update(Text(escaped(text)))


out, err = Terminal(), Terminal(stderr=True)
GAP = "  "
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print the exact argv of each command, too.")]
TargetKey = Annotated[str, typer.Argument(metavar="KEY", help="project/service or project/service/name.")]
OptionalKey = Annotated[str | None, typer.Argument(metavar="KEY", help="Only of this target.")]
FIRST_PROCESS = Path("/proc/1/cmdline")
STARTING_SECONDS = 10.0
"""How long to wait where `serve` is the container's first process, and so about to listen."""


class Failed(Exception):
    """Ends a command with a message, a hint and an exit code."""

    def __init__(self, message: str, hint: str = "", code: int = program.FAILED) -> None:
        self.code = code
        super().__init__(f"{message.rstrip('.')}. {hint}" if hint else message)


@contextmanager
def client() -> Iterator[httpx.Client]:
    """A connection to the running `serve`; says so when there is none, and translates its errors."""
    path = program.work_folder() / program.SOCKET
    try:
        if is_sidecar_here():
            wait_for(path)
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://sidecar", timeout=30) as connection:
            yield connection
    except (httpx.ConnectError, FileNotFoundError) as error:
        hint = "Start `backup-sidecar serve`, or run this by `docker exec` in its container; there, look at its log."
        raise Failed(f"no sidecar is serving at {path}", hint) from error
    except httpx.HTTPError as error:
        raise Failed(f"the sidecar did not answer: {error}", "Look at its log.") from error


def is_sidecar_here() -> bool:
    """Whether this is the container of a `serve`, which may only just have been started."""
    try:
        return b"serve" in FIRST_PROCESS.read_bytes().split(b"\0")
    except OSError:
        return False


def wait_for(path: Path) -> None:
    """Until somebody listens there, or that has taken too long."""
    until = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < until:
        with socket.socket(socket.AF_UNIX) as knocking:
            if knocking.connect_ex(str(path)) == 0:
                return
        time.sleep(0.1)


def answered(response: httpx.Response) -> Any:
    """The JSON of a good answer; raises `Failed` with what a problem says."""
    if response.is_success:
        return response.json()
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    raise Failed(problem.get("detail") or f"the sidecar answered {response.status_code}", problem.get("hint", ""))


def amount(size: float | None) -> str:
    """Bytes in binary units: `12.3 MiB`."""
    if size is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def seconds(report: Any) -> str:
    """How long something took; nobody knows of what was interrupted."""
    return "" if report["seconds"] is None else f"{report['seconds']:.1f} s"


def show(rows: Sequence[Sequence[object]], *heads: str, needed: int | None = None) -> None:
    """A table without frames, a line for each row; cells are plain text, whatever they hold, and are never broken.

    Beyond the `needed` columns, those are left out for which the terminal has no room.
    """
    table = [heads, *(["" if cell is None else escaped(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    count = len(heads)
    while needed and count > needed and sum(widths[:count]) + len(GAP) * (count - 1) > out.width:
        count -= 1
    for number, row in enumerate(table):
        line = GAP.join(set_cell_size(*cell) for cell in zip(row[:count], widths[:count], strict=True))
        out.print(line.rstrip(), style="bold" if number == 0 else "")


def show_json(value: Any) -> None:
    print(as_json(value, indent=2))


def show_problems(problems: Sequence[Problem | dict[str, Any]]) -> None:
    for each in problems:
        problem = each if isinstance(each, Problem) else Problem(**each)
        err.print(f"{problem.severity}: {problem}", style="red" if problem.severity == "error" else "yellow")


def show_warnings(shown: Any) -> None:
    for warning in shown["warnings"]:
        err.print(f"warning: {warning}", style="yellow")


def as_key(text: str) -> Key:
    try:
        return Key.parse(text)
    except ValueError as error:
        raise Failed(str(error), "`backup-sidecar targets` lists the keys.", program.USAGE) from error


def address_of(key: str) -> str:
    """Where a target's routes begin."""
    return f"/v1/targets/{'/'.join(as_key(key).folders)}"


def of_target(key: str | None) -> dict[str, str]:
    """The query for what belongs to one target, or to all."""
    return {"target": str(as_key(key))} if key else {}
