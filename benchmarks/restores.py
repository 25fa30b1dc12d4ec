"""How long a replace of a large database takes, against a plain load of the same backup."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import bash
from benchmarks.figures import Figure, of_ratio
from benchmarks.lab import Failed, Lab, Sizes, docker
from benchmarks.sidecar import Sidecar, serving
from benchmarks.streams import client, server
from controller.core.key import Key

ARTIFACTS = "/var/lib/sidecar/artifacts"
UNSAVED = ("--replace", "--without-safety-backup", "--json")
LOAD = """
set -o pipefail
zstd --decompress --stdout --quiet "$1" | docker exec --interactive "${@:2}"
"""


def replace(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """A database of pgbench is loaded, compared and swapped; the rival loads it into an empty one, and no more."""
    group = "replace"
    container = server(lab, group)
    key, file = Key(project=lab.name, service=group), lab.folder / "bench.pgdump.zst"
    lab.say(f"filling PostgreSQL with pgbench, scale {sizes.replaced}")
    docker(*client(container), "pgbench", "--initialize", "--quiet", f"--scale={sizes.replaced}", "bench")
    try:
        with serving(lab, targets=1) as sidecar:
            run = sidecar.run(key)
            artifact = next(one for one in run["artifacts"] if one["name"].startswith("bench."))
            folder = "/".join((ARTIFACTS, *key.folders, run["id"]))
            docker("cp", "--quiet", f"{sidecar.id}:{folder}/{artifact['name']}", str(file))
            rounds = []
            for count in range(min(sizes.repeats, 3) + 1):
                lab.say(f"{key}: round {count}" if count else f"{key}: warming up")
                rounds.append((own(sidecar, container, key, run["id"]), rival(container, file)))
    finally:
        lab.remove([container])
    ours, theirs = zip(*rounds[1:], strict=True)
    size = artifact["plain_size"]
    yield of_ratio(group, f"replace of {size >> 20} MiB, compared", 1.3, ours, theirs, size=size)


def own(sidecar: Sidecar, container: str, key: Key, run: str) -> float:
    """Seconds of a whole restore, as it reports them; what it keeps is removed."""
    restored = docker("exec", sidecar.id, "backup-sidecar", "restore", str(key), "--run", run, *UNSAVED)
    report = json.loads(restored)
    if report["state"] != "succeeded":
        raise Failed(f"the restore failed: {report['failure']}")
    for kept in (word for told in report["warnings"] for word in told.split() if word.startswith("before-")):
        docker(*client(container), "dropdb", kept)
    return float(report["seconds"])


def rival(container: str, file: Path) -> float:
    """Seconds of `pg_restore` into a new database."""
    docker(*client(container), "createdb", "plain")
    begun = time.monotonic()
    load = ("pg_restore", "--no-password", "--exit-on-error", "--dbname=plain")
    bash(LOAD, str(file), *client(container)[1:], *load)
    seconds = time.monotonic() - begun
    docker(*client(container), "dropdb", "plain")
    return seconds
