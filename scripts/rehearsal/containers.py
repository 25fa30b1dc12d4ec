"""The docker command, as far as the demo needs it; apart, so that nothing else starts programs."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

LABEL = "backup-sidecar.demo"
"""Of the throw-away containers, which are all that the demo makes beside its Compose project."""


class Failed(Exception):
    """A step of the demo did not succeed; the message is for the person who watches."""


def docker(
    *arguments: str,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | int = subprocess.PIPE,
    given: bytes | None = None,
) -> bytes:
    """Run `docker` and give its standard output; raises `Failed` with the end of its standard error.

    `given` is text for its standard input.
    """
    source: dict[str, Any] = {"stdin": stdin or subprocess.DEVNULL} if given is None else {"input": given}
    done = subprocess.run(["docker", *arguments], stdout=stdout, stderr=subprocess.PIPE, check=False, **source)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-15:]
        raise Failed("\n".join([f"docker {' '.join(arguments)[:200]} ended with {done.returncode}:", *said]))
    return done.stdout or b""


class Container:
    """A running container, by name or id."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *argv: str, stdin: IO[bytes] | None = None) -> bytes:
        """Give what a command in it prints."""
        return docker("exec", *(["--interactive"] if stdin else []), self.name, *argv, stdin=stdin)

    def script(self, path: Path, *arguments: str, stdout: IO[bytes] | int = subprocess.PIPE) -> bytes:
        """Give what a bash script of the host's prints when it runs there."""
        with path.open("rb") as file:
            return docker("exec", "--interactive", self.name, "bash", "-s", *arguments, stdin=file, stdout=stdout)

    def image(self) -> str:
        return docker("inspect", "--format={{.Config.Image}}", self.name).decode().strip()

    def wait(self, *argv: str, seconds: float) -> None:
        """Until a command in it succeeds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.run(*argv)
            except Failed as error:
                if time.monotonic() > deadline:
                    raise Failed(f"not ready within {seconds:.0f} s: {error}") from error
                time.sleep(0.2)
            else:
                return


def start(image: str, *arguments: str, environment: Mapping[str, str], volume: str | None = None) -> Container:
    """A throw-away container without network."""
    variables = [f"--env={name}={value}" for name, value in environment.items()]
    volumes = [f"--volume={volume}"] if volume else []
    options = ["--detach", "--network=none", f"--label={LABEL}", *variables, *volumes]
    return Container(docker("run", *options, image, *arguments).decode().strip())


class Project:
    """The demo's Compose project."""

    name = "shop-demo"
    image = "shop-demo-orchestrator:local"
    """Of the orchestrator, under a name that nobody else uses."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        os.environ.update(environment | {"ORCHESTRATOR_IMAGE": self.image, "ORCHESTRATOR_PORT": "0"})

    def compose(self, *arguments: str, given: bytes | None = None) -> bytes:
        """As `docker`."""
        place = (f"--project-name={self.name}", f"--project-directory={self.folder}")
        return docker("compose", "--progress=quiet", *place, *arguments, given=given)

    @contextmanager
    def environment(self, variables: Mapping[str, str]) -> Iterator[None]:
        """With further variables for its Compose file."""
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                del os.environ[name]

    def remove_volumes(self, *names: str) -> None:
        docker("volume", "rm", *(f"{self.name}_{name}" for name in names))

    def up(self) -> None:
        """Start what does not run yet, and wait until all of it is healthy."""
        try:
            self.compose("build", "--quiet", "orchestrator")
            self.compose("up", "--detach", "--wait", "--quiet-pull", "--remove-orphans")
        except Failed as error:
            raise Failed(f"{error}\n{self.compose('logs', '--tail=10').decode(errors='replace')}") from error

    def down(self) -> None:
        """Remove its containers, volumes and network, and the orchestrator's image."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=2")
        docker("image", "rm", "--force", self.image)

    def container(self, service: str) -> Container:
        return Container(self.compose("ps", "--quiet", service).decode().strip())

    def address(self, service: str, port: int) -> str:
        """Where this machine reaches a port of a service."""
        return self.compose("port", service, str(port)).decode().strip()


def remove_copies() -> None:
    """All throw-away containers with their volumes, also those of a demo that was killed."""
    if names := docker("ps", "--all", "--quiet", f"--filter=label={LABEL}").decode().split():
        docker("rm", "--force", "--volumes", *names)
