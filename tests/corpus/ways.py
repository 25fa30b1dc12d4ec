"""The ways by which every kind of data has to come back, and a server or an app that holds some of each kind.

Each kind is a row: a name, and what makes it. All rows of an engine lie in one container. Before the backup the
container itself writes down a digest of each row, by its own tools; afterwards it prints the rows that are others. So
nothing of ours is believed, neither counts nor digests, and a row that fails is found by its name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.test_drill import drilled
from tests.e2e.test_restore import succeeded
from tests.e2e.test_strategies import artifact
from tests.kit.stage import SLEEP, App, Json, Sidecar, docker, eventually, execute, restored, within

KEPT = {"retention.keep-last": "50"}


@dataclass(frozen=True)
class Corpus:
    """One engine with a row of each kind."""

    service: str
    of: str
    labels: Mapping[str, str]
    fill: str
    """A script that makes every row."""
    note: str
    """A script that writes down the digest of each."""
    differing: str
    """A script that prints the rows that are not as they were written down, and nothing else."""
    destroy: str
    """A script that spoils every row."""
    write: str
    """A script that goes on writing beside the rows until it is ended."""
    in_place: tuple[str, ...] = ()
    """What a restore has to be told so that it goes where the rows belong."""
    over: tuple[str, ...] = ()
    """What it has to be told besides, so that nothing of what is there stays."""
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = SLEEP
    ready: str = "true"
    restarted_by_hand: bool = False
    """What the lines of the manifest have put in place is read at the server's next start."""

    def is_ready(self, container: str) -> None:
        eventually(
            lambda: execute("docker", "exec", container, "sh", "-c", self.ready).returncode == 0,
            seconds=180,
            what=container,
        )

    def start(self, app: App, *, target: bool = True) -> str:
        """Its container, empty."""
        check = f'lost=$({self.differing}) || exit; echo "$lost"; [ -z "$lost" ]'
        labels = {"enable": "true", **self.labels, **KEPT, "drill.check": check} if target else {}
        service = self.service if target else f"{self.service}-by-hand"
        container = app.start(service, labels, *self.options, of=self.of, command=self.command)
        self.is_ready(container)
        return container

    def differs(self, container: str) -> list[str]:
        """The rows that are not what they were."""
        return within(container, self.differing).split()


@dataclass(frozen=True)
class BackedUp:
    """A container that holds the rows, and its run."""

    corpus: Corpus
    sidecar: Sidecar
    app: App
    container: str
    run: Json


def rows_in(name: str) -> dict[str, str]:
    """What makes each row, from a file of this folder; a row begins with `-- row NAME`, or `# row NAME`."""
    parts = re.split(r"(?m)^(?:--|#) row (\w+)(?: since .*)?\n", (Path(__file__).parent / name).read_text())
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def backed_up(corpus: Corpus, sidecar: Sidecar, app: App) -> BackedUp:
    """The rows in a container of their own, backed up while something writes beside them."""
    container = corpus.start(app)
    within(container, corpus.fill)
    within(container, corpus.note)
    assert corpus.differs(container) == []
    docker("exec", "--detach", container, "sh", "-c", corpus.write)
    return BackedUp(corpus, sidecar, app, container, sidecar.backup(corpus.service))


def into_newer(older: Corpus, newer: Corpus, sidecar: Sidecar, app: App) -> tuple[str, Json]:
    """The rows of an older server replace what a newer one holds: its container, and the restore."""
    there = backed_up(older, sidecar, app)
    container = newer.start(app)
    sidecar.wait(newer.service, seconds=120)
    done = succeeded(sidecar, older.service, "--to", newer.service, "--replace", "--run", there.run["id"])
    assert older.differs(container) == []
    return container, done


def replaced(stand: BackedUp, _: Path) -> list[str]:
    within(stand.container, stand.corpus.destroy)
    assert stand.corpus.differs(stand.container) != []
    succeeded(
        stand.sidecar,
        stand.corpus.service,
        "--replace",
        *stand.corpus.in_place,
        *stand.corpus.over,
        "--run",
        stand.run["id"],
    )
    return stand.corpus.differs(stand.container)


def fresh(stand: BackedUp, _: Path) -> list[str]:
    docker("rm", "--force", "--volumes", stand.container)
    stand.sidecar.forgets([stand.container])
    container = stand.corpus.start(stand.app)
    eventually(lambda: stand.sidecar.states().get(stand.corpus.service) in ("ready", "problem"))
    succeeded(stand.sidecar, stand.corpus.service, *stand.corpus.in_place, "--run", stand.run["id"])
    return stand.corpus.differs(container)


def rehearsed(stand: BackedUp, _: Path) -> list[str]:
    """The drill's own check tells."""
    drill = drilled(stand.sidecar, stand.corpus.service, "--run", stand.run["id"])
    failure = drill["failure"] or {"code": "", "message": ""}
    assert drill["state"] == "passed" or failure["code"] == "check-failed", failure
    return str(failure["message"]).partition(": ")[2].split()


def by_hand(stand: BackedUp, folder: Path) -> list[str]:
    """By the manifest's lines alone, in their order."""
    container = stand.corpus.start(stand.app, target=False)
    copied = stand.sidecar.fetch(stand.run, folder)
    for facts in stand.run["artifacts"]:
        restored(copied, artifact(copied, facts["name"]), container)
    if stand.corpus.restarted_by_hand:
        docker("restart", container)
        stand.corpus.is_ready(container)
    return stand.corpus.differs(container)


WAYS: Mapping[str, Callable[[BackedUp, Path], list[str]]] = {
    "by hand": by_hand,
    "drill": rehearsed,
    "replace": replaced,
    "fresh": fresh,
}
"""The one that takes the container away is the last."""
