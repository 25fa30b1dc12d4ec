"""Where the benchmarks happen: containers and a network of their own, gone at the end, also after Ctrl-C.

Everything carries the label `backup-sidecar.test` with this process's own value, and only that is removed.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from controller.engine.client import Engine
from controller.targets.origin import PROJECT, SERVICE
from controller.targets.scope import NETWORK

LABEL = "backup-sidecar.test"
AT_A_TIME = 4
"""Containers that are started at a time."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is moved and waited for; the limits hold for the full sizes."""

    scale: int = 50
    """Of pgbench; 50 makes 5 million rows."""
    replaced: int = 75
    """The same for a restore: 1 GB on the server's disk."""
    stream: int = 2 << 30
    small: int = 200 << 20
    large: int = 4 << 30
    """Bytes; at most twice the stream."""
    idle: float = 60.0
    """Seconds; the sidecar lists anew once a minute."""
    runs: int = 100_000
    """Of one target."""
    some: int = 50
    many: int = 200
    """Containers."""
    copied: int = 400 << 20
    sparse: int = 4 << 30
    """Bytes of a run that is copied."""
    comeback: int = 30
    """Of pgbench; 30 makes 450 MB on the server's disk."""
    repeats: int = 5
    """Samples of each figure whose median counts."""


QUICK = Sizes(
    scale=1,
    replaced=1,
    comeback=1,
    stream=32 << 20,
    small=8 << 20,
    large=64 << 20,
    copied=16 << 20,
    sparse=160 << 20,
    runs=2_500,
    some=2,
    many=4,
    repeats=1,
    idle=1.0,
)


class Failed(Exception):
    """Nothing can be measured; the message is for the person who waits."""


def docker(*arguments: str) -> str:
    """What the command prints; raises `Failed` with what it complained of."""
    done = subprocess.run(("docker", *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"docker {arguments[0]}: {done.stderr.strip()[-1000:]}")
    return done.stdout.strip()


def image(name: str, default: str) -> str:
    """The base image that set-up found or made, else the public one."""
    return os.environ.get(f"{name}_IMAGE", default)


def wait_for(what: str, there: Callable[[], bool], *, seconds: float = 120.0, pause: float = 0.02) -> float:
    """Seconds until it was there; raises `Failed`."""
    begun = time.monotonic()
    while not there():
        if time.monotonic() - begun > seconds:
            raise Failed(f"{what} did not come within {seconds:.0f} s")
        time.sleep(pause)
    return time.monotonic() - begun


class Lab:
    """One Compose-like project with the network `app_internal`, and a folder for what is stored."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """`say` tells a person what goes on."""
        self.name = f"bench-{secrets.token_hex(3)}"
        self.folder = folder / self.name
        self.say = say
        self.engine = Engine()

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.folder.mkdir(parents=True)
        marks = (f"--label={LABEL}={self.name}", f"--label={PROJECT}={self.name}", f"--label={NETWORK}=app_internal")
        self.network = docker("network", "create", *marks, f"{self.name}_app_internal")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.say("removing what was made")
        mine = ("--quiet", f"--filter=label={LABEL}={self.name}")
        # A container that `docker run` was starting when it was interrupted may appear a moment later.
        while containers := docker("ps", "--all", *mine).split():
            subprocess.run(("docker", "rm", "--force", "--volumes", *containers), capture_output=True, check=False)
        docker("network", "rm", *docker("network", "ls", *mine).split())
        shutil.rmtree(self.folder)
        self.engine.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def create(
        self, service: str, image: str, *command: str, labels: Mapping[str, str], options: Sequence[str] = ()
    ) -> str:
        """A container of the project that is not started; gives its id."""
        everything = {LABEL: self.name, PROJECT: self.name, SERVICE: service, **labels}
        marks = [f"--label={name}={value}" for name, value in everything.items()]
        return docker("create", f"--network={self.network}", *marks, *options, image, *command)

    def sleepers(self, names: Sequence[str]) -> list[str]:
        """Running containers of one image that ask to be backed up; gives their ids."""
        labels = {"backup.enable": "true", "backup.strategy": "filesystem", "backup.filesystem.paths": "/etc"}
        busybox = image("BUSYBOX", "busybox:1.37")

        def start(name: str) -> str:
            # A process 1 without a handler ignores SIGTERM.
            made = self.create(name, busybox, "sleep", "infinity", labels=labels, options=["--stop-signal=SIGKILL"])
            return docker("start", made)

        self.say(f"starting {len(names)} labelled containers")
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return list(pool.map(start, names))

    def remove(self, containers: Sequence[str]) -> None:
        """Containers with their anonymous volumes."""
        docker("rm", "--force", "--volumes", *containers)
