#!/usr/bin/env python3
"""The whole mission with real data: an orchestrator pulls a backup of each target of an app, plain tools restore it,
and the sidecar drills it. Then the host is lost, and everything comes back from an encrypted copy.

Brings up `examples/compose/shop`, restores into fresh containers and compares with the source, whose writers stand
still meanwhile. BREAK=row or BREAK=mode plants a difference in the restored copy, BREAK=comeback in what came back from
the copies, which has to be found. `--down` removes everything again.
"""

import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rehearsal.comeback import Returned
from rehearsal.containers import Failed, Project, docker, remove_copies
from rehearsal.rehearsal import BREAKS, COMEBACK, Rehearsal, Row
from rich.console import Console
from rich.table import Table
from rich.text import Text

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "examples" / "compose" / "shop"
KEYS, KIT = (REPOSITORY / ".build" / f"shop-demo.{name}" for name in ("secrets", "kit"))
CONFIG = REPOSITORY / ".build" / "shop-demo"
"""The sidecar's `config.yaml`."""
MOST = 12
"""Lines about differences that are shown of each target."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def say(text: str, style: str = "") -> None:
    console.print(Text(f"==> {text}", style=style))


def keys() -> dict[str, str]:
    """What sidecar and orchestrator share, made once: a second demo finds the containers as they are."""
    if not KEYS.exists():
        names = ("BACKUP_API_TOKEN", "ORCHESTRATOR_KEY")
        lines = [f"{name}={secrets.token_hex(24)}\n" for name in names]
        with private(KEYS) as file:
            file.writelines([*lines, f"COPIES_SIGNING_KEY={new_kit()}\n"])
    found = dict(line.split("=", 1) for line in KEYS.read_text().splitlines())
    return found | {"SIDECAR_CONFIG_DIR": str(CONFIG)}


def new_kit() -> str:
    """Make the keys of copies: the recovery kit lies apart from what the host knows; gives the host's signing key."""
    image = os.environ.get("SIDECAR_IMAGE", "backup-sidecar:local")
    made = json.loads(docker("run", "--rm", "--network=none", image, "copies", "keys", "--json"))
    copies = {"recipients": made["recipients"], "destinations": {"nas": {"path": "/copies/nas", "same-disk": True}}}
    CONFIG.mkdir(parents=True, exist_ok=True)
    (CONFIG / "config.yaml").write_text(json.dumps({"copies": copies}))
    with private(KIT) as file:
        file.write(f"{made['identities'][0]}\nverify: {made['verify']}\n")
    return str(made["signing_key"])


def private(path: Path) -> TextIO:
    """A new file that nobody else may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w")


def show(rows: Sequence[Row], returned: Returned | None) -> None:
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
    if returned:
        table.add_row(*comeback_cells(rows, returned))
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


def comeback_cells(rows: Sequence[Row], returned: Returned) -> tuple[str | Text, ...]:
    """The line of the host that was lost; below the table stands what differs."""
    wrong = {service: found for service, found in returned.differences.items() if found}
    told = f"differs: {sum(map(len, wrong.values()))} of " if wrong else "the same: "
    compared = Text(f"{told}{Row.total(rows)}", style="bold red" if wrong else "green")
    size = f"{returned.size / 2**20:.1f} MiB"
    rate = f"{returned.size / 2**20 / max(returned.seconds, 0.001):.0f} MiB/s"
    about = ("the whole host", f"{len(rows)} runs", size, f"{returned.seconds:.1f} s", rate)
    return *about, "decrypted", compared, ""


def up(broken: str) -> int:
    """The demo; 0 only when every target is proved, restored and the same."""
    begun = time.monotonic()
    project = Project(FOLDER, keys())
    remove_copies()
    say("starting the app (PostgreSQL, MariaDB, files), its sidecar and an orchestrator")
    project.up()
    with tempfile.TemporaryDirectory(prefix="shop-demo.") as folder:
        rows, returned = Rehearsal(project, Path(folder), broken, KIT.read_text(), say).run()
    show(rows, returned)
    bad = [row.target for row in rows if not row.is_good]
    for service, found in returned.differences.items() if returned else ():
        for line in found[:MOST]:
            console.print(Text(f"{service}, come back  {line}", style="red"))
        bad += [f"{service}, come back"] if found else []
    end = f"in {time.monotonic() - begun:.0f} s"
    if bad:
        console.print(Text(f"NOT what it was: {', '.join(bad)} ({end})", style="bold red"))
        return 1
    console.print(
        Text(
            f"Every target is backed up, proved, restored, compared and drilled, and a lost host came back ({end}).",
            style="bold green",
        )
    )
    return 0


def down() -> int:
    """Remove containers, volumes, network, images and keys of the demo, and nothing of anybody else's."""
    say("removing the demo's containers, volumes, network and keys")
    remove_copies()
    Project(FOLDER, keys()).down()
    for path in (KEYS, KIT):
        path.unlink()
    shutil.rmtree(CONFIG)
    say("what setup made stays for the next time: images, .venv and backups_net (`make clean` removes the last two)")
    return 0


def main(arguments: Sequence[str]) -> int:
    broken = os.environ.get("BREAK", "")
    if broken and broken not in (*BREAKS, COMEBACK):
        console.print(Text(f"demo: BREAK is {', '.join(BREAKS)} or {COMEBACK}, not {broken!r}", style="red"))
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
