#!/usr/bin/env python3
"""The whole mission with real data: an orchestrator pulls a backup of each target of an app, plain tools restore it,
and the sidecar drills it.

Brings up `examples/compose/shop`, restores into fresh containers and compares with the source, whose writers stand
still meanwhile. BREAK=row or BREAK=mode plants a difference in the restored copy, which has to be found. `--down`
removes everything again.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rehearsal.containers import Failed, Project, remove_copies
from rehearsal.rehearsal import BREAKS, Rehearsal, Row
from rich.console import Console
from rich.table import Table
from rich.text import Text

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "examples" / "compose" / "shop"
KEYS = REPOSITORY / ".build" / "shop-demo.keys"
MOST = 12
"""Lines about differences that are shown of each target."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def say(text: str, style: str = "") -> None:
    console.print(Text(f"==> {text}", style=style))


def keys() -> dict[str, str]:
    """What sidecar and orchestrator share, made once: a second demo finds the containers as they are."""
    if not KEYS.exists():
        KEYS.parent.mkdir(exist_ok=True)
        with os.fdopen(os.open(KEYS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"{name}={secrets.token_hex(24)}\n" for name in ("BACKUP_API_TOKEN", "ORCHESTRATOR_KEY"))
    return dict(line.split("=", 1) for line in KEYS.read_text().splitlines())


def show(rows: Sequence[Row]) -> None:
    """The table, and beneath it what differs."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for head in ("target", "run", "size", "time", "rate", "proof", "restored", "drilled"):
        table.add_column(head, justify="right" if head in ("size", "time", "rate") else "left", no_wrap=True)
    for row in rows:
        restored = Text(
            f"differs: {len(row.differences)} of {row.compared}" if row.differences else f"the same: {row.compared}"
        )
        restored.stylize("bold red" if row.differences else "green")
        drilled = Text(row.drilled, style="green" if row.drill["state"] == "passed" else "bold red")
        table.add_row(row.target, row.run, *row.figures, row.proof, restored, drilled)
    console.print()
    console.print(table)
    console.print()
    for row in rows:
        for line in row.told[:MOST]:
            console.print(Text(f"{row.target}  {line}", style="red"))
        if row.drill["failure"]:
            console.print(Text(f"{row.target}  drill: {row.drill['failure']['message']}", style="red"))
        if len(row.told) > MOST:
            console.print(Text(f"{row.target}  and {len(row.told) - MOST} more", style="red"))


def up(broken: str) -> int:
    """The demo; 0 only when every target is proved, restored and the same."""
    begun = time.monotonic()
    project = Project(FOLDER, keys())
    remove_copies()
    say("starting the app (PostgreSQL, MariaDB, files), its sidecar and an orchestrator")
    project.up()
    with tempfile.TemporaryDirectory(prefix="shop-demo.") as folder:
        rows = Rehearsal(project, Path(folder), broken, say).run()
    show(rows)
    bad = [row.target for row in rows if row.differences or row.proof != "full" or row.drill["state"] != "passed"]
    end = f"in {time.monotonic() - begun:.0f} s"
    if bad:
        console.print(Text(f"NOT what it was: {', '.join(bad)} ({end})", style="bold red"))
        return 1
    console.print(Text(f"Every target is backed up, proved, restored, compared and drilled {end}.", style="bold green"))
    return 0


def down() -> int:
    """Remove containers, volumes, network, images and keys of the demo, and nothing of anybody else's."""
    say("removing the demo's containers, volumes, network and keys")
    remove_copies()
    Project(FOLDER, keys()).down()
    KEYS.unlink()
    say("what setup made stays for the next time: images, .venv and backups_net (`make clean` removes the last two)")
    return 0


def main(arguments: Sequence[str]) -> int:
    broken = os.environ.get("BREAK", "")
    if broken and broken not in BREAKS:
        console.print(Text(f"demo: BREAK is {' or '.join(BREAKS)}, not {broken!r}", style="red"))
        return 2
    try:
        return down() if "--down" in arguments else up(broken)
    except Failed as error:
        console.print(Text(f"demo: {error}", style="bold red"))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
