"""Throw-away containers for the tests of the engine's streams."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

DEBIAN = "backup-sidecar-local/debian:trixie"
BUSYBOX = "backup-sidecar-local/busybox:1.37"
PYTHON = "backup-sidecar-local/python:3.13"
DISTROLESS = "backup-sidecar-local/distroless:1"
SLEEP = ("sleep", "36000")


def docker(*arguments: str) -> str:
    return subprocess.run(("docker", *arguments), check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def container(image: str, *command: str, options: tuple[str, ...] = ("--init",)) -> Iterator[str]:
    """A running container's id; removed at the end."""
    made = docker("run", "-d", "--label", "backup-sidecar.test=1", *options, image, *command)
    try:
        yield made
    finally:
        subprocess.run(("docker", "rm", "-fv", made), check=False, capture_output=True)


@contextmanager
def shell_container(shell: str, *options: str) -> Iterator[str]:
    """A container whose `sh` is dash, BusyBox or bash."""
    image = BUSYBOX if shell == "busybox" else DEBIAN
    with container(image, *SLEEP, options=("--init", *options)) as made:
        if shell == "bash":
            docker("exec", made, "ln", "-sf", "bash", "/bin/sh")
        yield made
