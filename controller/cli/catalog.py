"""Making the index of runs anew; works alone, while no sidecar uses the store."""

from enum import StrEnum
from typing import Annotated

import typer

from controller.app import privileges, program, startup
from controller.cli.terminal import AsJson, err, out, show_json
from controller.storage.rebuild import rebuild
from controller.storage.store import Store


class What(StrEnum):
    """What can be done with the catalog."""

    rebuild = "rebuild"


def catalog(what: Annotated[What, typer.Argument(metavar="rebuild")], as_json: AsJson = False) -> int:
    """Make the index of runs anew from the manifests in the store, while no sidecar uses it."""
    del what  # There is one thing to do.
    paths = startup.configuration().settings.paths
    privileges.drop((paths.workdir, paths.artifacts, paths.tmp))
    store = Store(paths.artifacts)
    store.acquire()
    try:
        made = rebuild(store, paths.workdir / program.CATALOG)
    finally:
        store.release()
    if as_json:
        old = str(made.old) if made.old else None
        counts = {"runs": made.runs, "deleted": made.deleted, "lost": made.lost, "lost_restores": made.restores}
        show_json(counts | {"unreadable": list(made.unreadable), "old": old})
    else:
        lost, restores = ("an unknown number of" if number is None else number for number in (made.lost, made.restores))
        out.print(f"entered {made.runs} runs from their manifests, and {made.deleted} that were deleted")
        out.print(f"lost {lost} runs that left no artifacts: failed, missed, cancelled and purged ones")
        out.print(f"lost {restores} reports of restores")
        if made.old:
            out.print(f"the old catalog is {made.old}")
        for reason in made.unreadable:
            err.print(f"error: {reason}", style="red")
    return program.FAILED if made.unreadable else program.OK
