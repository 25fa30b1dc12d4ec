"""`restore --to-file`: reads the store, whoever serves it."""

from datetime import UTC, datetime
from pathlib import Path

from controller.app import program, startup
from controller.cli.terminal import Failed, err, out, show_json
from controller.core.key import Key, runs_of
from controller.core.manifest import Manifest
from controller.core.run import SAFETY
from controller.storage import marks, plain
from controller.storage.own_marks import OwnMarks
from controller.storage.store import Store


def write(target: Key, run: str | None, at: datetime | None, folder: Path, as_json: bool) -> int:
    """Write the plain dumps of a run, and say how they are restored."""
    paths = startup.configuration().settings.paths
    store = Store(paths.artifacts, own_marks=OwnMarks(paths.workdir))
    manifest = store.manifest(target, run or chosen(store, target, at).run)
    path = plain.write(store, manifest, folder)
    if as_json:
        show_json({"run": manifest.run, "folder": str(path), "how": plain.how(manifest)})
        return program.OK
    out.print(str(path))
    if origin := marks.report(store, manifest).origin:
        err.print(f"warning: these lines came along from {origin}: read them before you run them", style="yellow")
    for line in plain.how(manifest):
        out.print(line)
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
            err.print(f"warning: run {manifest.run} is younger and {state}; --run takes it", style="yellow")
    return newest
