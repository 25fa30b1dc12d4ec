"""The chain of a run's proof, for people and programs: dumped, proved, stored, restored, compared.

Apart, because it is told of what manifest, drill and restore say, and decides nothing.
"""

from typing import Any

from controller.core.errors import UnknownRun
from controller.core.key import Key
from controller.core.records import rfc3339
from controller.views import schemas
from controller.views.facade import Sidecar

MEANING = {
    "full": "the stream arrived whole (seal), and its format was read to its own end",
    "sealed": "the stream arrived whole (seal); its format is the command's own",
    "framed": "its format was read to its own end; the target has no shell for a seal",
}


def chain(sidecar: Sidecar, key: Key, run: str | None = None) -> dict[str, Any]:
    """Of one run, by default the last good one. Raises `UnknownRun`, `StoreError`."""
    if run is None:
        good = sidecar.catalog.last_good(key)
        if good is None:
            raise UnknownRun(f"{key} has no good run", hint="Back it up first.")
        run = good.id
    manifest = sidecar.store.manifest(key, run)
    drill, restored = sidecar.catalog.drill_of(run), sidecar.restores.of_run(run)
    shown: dict[str, Any] = schemas.redacted(
        {
            "key": str(key),
            "run": run,
            "dumped": {"started": rfc3339(manifest.started), "finished": rfc3339(manifest.finished)},
            "from": manifest.model_dump(
                mode="json", include={"strategy", "container", "container_id", "image", "image_id", "engine", "sidecar"}
            ),
            "proof": manifest.proof,
            "meaning": MEANING[manifest.proof],
            "warnings": list(manifest.warnings),
            "artifacts": [
                artifact.model_dump(mode="json", exclude={"argv", "restore"}) for artifact in manifest.artifacts
            ],
            "drill": schemas.drill(drill) if drill else None,
            "restored": restored.model_dump(mode="json") if restored else None,
        },
        sidecar.loaded.secrets.redact,
    )
    return shown
