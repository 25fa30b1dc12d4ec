"""`python -m benchmarks [GROUP ...] [--quick]`: measure, print one table, write JSON.

Exits 1 when a figure is not met; `--quick` tries only whether everything can be measured.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks import copies, fleets, histories, restores, streams
from benchmarks.figures import Figure, table
from benchmarks.lab import QUICK, Failed, Lab, Sizes
from controller.core.errors import SidecarError

BUILD = Path(__file__).resolve().parents[1] / ".build"
RESULTS = BUILD / "bench.json"
GROUPS = {
    measure.__name__: measure
    for measure in (
        *(streams.postgres, streams.databases, streams.stream, streams.memory, restores.replace),
        *(fleets.idle, fleets.start, fleets.fleet, histories.retention, histories.pages),
        *(copies.copies, copies.comeback),
    )
}

progress = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 180)


def machine(lab: Lab) -> dict[str, object]:
    """What the figures depend on."""
    kernel, cores = os.uname(), os.cpu_count()
    load = round(os.getloadavg()[0], 2)
    return {"engine": lab.engine.version().engine, "cores": cores, "kernel": kernel.release, "load": load}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure against docker exec and plain tools.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"any of {', '.join(GROUPS)}; all unless named")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the benchmarks and not the program")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.groups) - GROUPS.keys()):
        parser.error(f"there is no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    sizes = QUICK if arguments.quick else Sizes()
    begun, figures = time.monotonic(), list[Figure]()
    with Lab(BUILD, lambda text: progress.print(f"==> {text}", style="dim")) as lab:
        found = machine(lab)
        out.print(", ".join(f"{name} {value}" for name, value in found.items()))
        for name in arguments.groups or GROUPS:
            figures += GROUPS[name](lab, sizes)
    out.print(table(figures))
    written = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "quick": arguments.quick, "machine": found}
    text = json.dumps(written | {"figures": [figure.as_dict() for figure in figures]}, indent=2)
    RESULTS.write_text(text + "\n")
    missed = sum(not figure.met for figure in figures)
    passed = time.monotonic() - begun
    out.print(f"{len(figures) - missed} of {len(figures)} figures met, in {passed:.0f} s; written to {RESULTS.name}")
    return 1 if missed and not arguments.quick else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (Failed, SidecarError) as error:
        progress.print(f"error: {error}", style="red")
        sys.exit(1)
