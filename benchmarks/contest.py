"""One stream, run after run: our whole run, by the code that `serve` runs, and the rival of plain tools."""

import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from benchmarks.lab import Failed, Lab
from config.loading import Loaded, load
from controller.app.parts import Parts
from controller.backup.jobs import Job
from controller.core.key import Key
from controller.core.run import Report
from controller.engine.client import Engine
from controller.storage.draft import Draft
from controller.storage.store import Store
from controller.targets.discovery import find
from controller.targets.scope import Scope
from controller.targets.target import Target
from strategies import discover
from strategies.plan import Exec, ExecCheck

# The rival hashes what it stores. `wait` is for the digest, since a process substitution is not waited for.
CAPTURE = """
set -o pipefail
docker exec "${@:2}" COMPRESS { tee >(sha256sum >"$1.sha256") >"$1"; code=$?; wait $! && exit $code; }
"""
PROVE = """
set -e -o pipefail
sync --file-system "$1"
[ "$(sha256sum <"$1")" = "$(cat "$1.sha256")" ]
zstd --test --quiet "$1"
zstd --decompress --stdout --quiet "$1" | docker exec --interactive "${@:2}"
"""
COMPRESS = {"zstd": "| zstd -3 -T0 --quiet |", "none": "|"}


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the start: until the last byte was hashed and written, and until the backup was proved."""

    captured: float
    proved: float
    size: int


class TimedStore(Store):
    """Notes for each artifact when its capture began and when its last byte was hashed and written, before fsync."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.captures: dict[str, float] = {}
        """Seconds by the artifact's name."""

    @contextmanager
    def draft(self, key: Key, run: str) -> Iterator[Draft]:
        with super().draft(key, run) as draft:
            timed = TimedDraft(draft.folder, self.captures)
            yield timed
            draft.published = timed.published


class TimedDraft(Draft):
    """A draft of the timed store."""

    def __init__(self, folder: Path, captures: dict[str, float]) -> None:
        super().__init__(folder)
        self._captures = captures

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        begun = time.monotonic()
        with super().open(name) as file:
            yield file
            self._captures[name] = time.monotonic() - begun


class ContestParts(Parts):
    """The parts of a run of one target, with a store that is timed and no history."""

    def __init__(self, loaded: Loaded, engine: Engine, target: Target) -> None:
        super().__init__(loaded)
        self.engine, self.store = engine, (timed := TimedStore(loaded.settings.paths.artifacts))
        self.captures, self._target = timed.captures, target

    def target(self, _: Key) -> Target:
        return self._target

    def good(self, _: Key) -> Sequence[Report]:
        return ()


class Contest:
    """A target of the lab, backed up by us and by the rival in turn."""

    def __init__(self, lab: Lab, key: Key, subject: str = "") -> None:
        """The dump of this subject is what the rival makes too; without one, the first of the plan."""
        self._lab, self._key = lab, key
        folder = lab.folder / "config"
        folder.mkdir(exist_ok=True)
        paths = {f"SIDECAR_PATHS_{name}": str(lab.folder / name.lower()) for name in ("ARTIFACTS", "WORKDIR", "TMP")}
        self._loaded = load(folder, paths | {"BACKUP_API_TOKEN": secrets.token_hex(16)})
        scope = Scope(frozenset({lab.network}), lab.name, None)
        self._target = find(self._loaded, scope, lab.engine.containers(), discover())[str(key)]
        survey = self._parts().surveyor.survey(self._target.runnable())
        self._dumps = survey.plan.dumps
        self._dump = next(dump for dump in self._dumps if subject in ("", dump.subject))

    def _parts(self) -> "ContestParts":
        return ContestParts(self._loaded, self._lab.engine, self._target)

    def rounds(self, repeats: int) -> tuple[list[Times], list[Times]]:
        """Ours and the rival's, alternating, after one round that only warms up."""
        rounds = []
        for count in range(repeats + 1):
            self._lab.say(f"{self._key}: round {count} of {repeats}" if count else f"{self._key}: warming up")
            rounds.append((self.own(), self.rival()))
        own, rival = zip(*rounds[1:], strict=True)
        return list(own), list(rival)

    def loops(self, repeats: int) -> tuple[list[float], list[float]]:
        """Seconds of our whole runs and of the bare loop, alternating, after one round that only warms up."""
        rounds = []
        for count in range(repeats + 1):
            self._lab.say(f"{self._key}: round {count} of {repeats}" if count else f"{self._key}: warming up")
            rounds.append((self.own().proved, self.loop()))
        own, loop = zip(*rounds[1:], strict=True)
        return list(own), list(loop)

    def own(self) -> Times:
        """A whole run: asking the target anew, every dump of the plan, fsync, all proofs, manifest."""
        parts = self._parts()
        subprocess.run(("sync", "--file-system", self._lab.folder), check=True)
        begun = time.monotonic()
        report = parts.executor(Job(self._key, "bench"))
        proved = time.monotonic() - begun
        if report.state != "succeeded":
            raise Failed(f"the run failed: {report.failure}")
        shutil.rmtree(parts.store.root)
        [made] = [artifact for artifact in report.artifacts if artifact.name.startswith(self._dump.name)]
        return Times(parts.captures[made.name], proved, made.plain_size)

    def rival(self) -> Times:
        """The same dump by the same words, by plain tools."""
        settings = self._target.runnable().settings
        container, file = self._target.container.id, self._lab.folder / "rival"
        source, check = self._dump.source, self._dump.check
        assert isinstance(source, Exec)
        subprocess.run(("sync", "--file-system", self._lab.folder), check=True)
        begun = time.monotonic()
        bash(CAPTURE.replace("COMPRESS", COMPRESS[settings.compression.codec]), str(file), container, *source.argv)
        captured = time.monotonic() - begun
        if isinstance(check, ExecCheck):
            bash(PROVE, str(file), container, *check.argv)
        proved = time.monotonic() - begun
        size = file.stat().st_size
        file.unlink()
        return Times(captured, proved, size)

    def loop(self) -> float:
        """The same dumps one after another, each by `docker exec` into a file, neither compressed nor checked."""
        file = self._lab.folder / "rival"
        begun = time.monotonic()
        for dump in self._dumps:
            assert isinstance(dump.source, Exec)
            bash('docker exec "${@:2}" >"$1"', str(file), self._target.container.id, *dump.source.argv)
        seconds = time.monotonic() - begun
        file.unlink()
        return seconds


def bash(script: str, *arguments: str) -> None:
    """Raises `Failed` when a part of it does; what that says goes to the person."""
    done = subprocess.run(("bash", "-c", script, "bash", *arguments), stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Failed(f"the rival ended with {done.returncode}")
