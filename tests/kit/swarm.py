"""Nodes of a swarm of the tests' own, and the stack of `examples/compose/swarm` on them."""

import json
import os
import secrets
from typing import Any

from tests.kit.second_engine import SecondEngine
from tests.kit.stage import REPOSITORY, SIDECAR_IMAGE, Json, docker, eventually, image

STACK = "shop"
FILE = REPOSITORY / "examples" / "compose" / "swarm" / "docker-stack.yml"


class Node(SecondEngine):
    """One engine of the swarm, and its sidecar as its operator sees it: by `docker exec` on that node."""

    def create_swarm(self, address: str) -> None:
        """Make a swarm, with what the stack asks its operator for."""
        self.docker("swarm", "init", "--advertise-addr", address)
        self.docker("network", "create", "--driver", "overlay", "--attachable", "backups_net")
        self.docker("secret", "create", "backup_api_token", "-", input=secrets.token_hex(32).encode())

    def deploy(self) -> None:
        """Deploy the stack as it is written, with this machine's images."""
        told = os.environ | {"SIDECAR_IMAGE": SIDECAR_IMAGE, "BUSYBOX_IMAGE": image("BUSYBOX")}
        self.docker("stack", "deploy", "--resolve-image", "never", "--compose-file", FILE, STACK, env=told)

    def revive(self) -> None:
        """Start it again, after its container was killed as a host is that loses its power."""
        docker("start", self.name)
        self.start()

    def load_stack(self) -> None:
        self.load(SIDECAR_IMAGE, image("BUSYBOX"))

    def update(self, *options: str) -> None:
        """Update the app's service; nobody waits for it."""
        self.docker("service", "update", "--detach", *options, f"{STACK}_app")

    def task(self, service: str) -> str:
        """The container of this service that runs here; empty where there is none."""
        listed = self.docker("ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={STACK}_{service}")
        return listed.partition("\n")[0]

    def sidecar(self, *arguments: str) -> Any:
        """What the sidecar here says as JSON."""
        done = self.execute("exec", self.task("sidecar"), "backup-sidecar", *arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def targets(self) -> dict[str, Json] | None:
        """By key; None while no sidecar answers here."""
        task = self.task("sidecar")
        done = self.execute("exec", task, "backup-sidecar", "targets", "--json") if task else None
        return {target["key"]: target for target in json.loads(done.stdout)} if done and done.stdout else None

    def waits(self, states: dict[str, str], *, seconds: float = 60, but: str = "") -> Json:
        """The app as a target, once the targets here have these states and it is another container's than `but`."""

        def is_so() -> Json | None:
            found = self.targets() or {}
            app = found.get(f"{STACK}/app")
            as_told = {key: target["state"] for key, target in found.items()} == states
            return app if app and as_told and app["container"]["name"] != but else None

        return eventually(is_so, seconds=seconds, what=f"the targets of {self.name} are {states}") or {}

    def backup(self) -> Json:
        """A run of the app that succeeded."""
        report: Json = self.sidecar("run", f"{STACK}/app")
        assert (report["state"], report["proof"]) == ("succeeded", "full"), report
        return report

    def runs(self) -> set[str]:
        """Ids of the app's runs that lie here."""
        return {run["id"] for run in self.sidecar("runs") if run["key"] == f"{STACK}/app"}
