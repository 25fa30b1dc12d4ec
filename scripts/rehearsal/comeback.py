"""The host is lost: store and databases are removed, and everything comes back from the copy with the recovery kit."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rehearsal.compare import Difference, Things, differences
from rehearsal.containers import Failed, Project
from rehearsal.kinds import KINDS

LOST = ("postgres_data", "mariadb_data", "app_data", "sidecar_store")
"""Volumes of the host; what is left is the destination's, and the orchestrator's."""
DESTINATION = "nas"
EMPTY = {"BANK_SH": "/dev/null", "SHOP_SQL": "/dev/null", "FILES_SH": "/bin/true"}
"""In the place of what fills the app at its first start."""
SIDECAR = ("exec", "-T", "sidecar", "backup-sidecar")


@dataclass(frozen=True, slots=True)
class Returned:
    """How the comeback went: what differs by service, and how long it took from the bare host on."""

    seconds: float
    size: int
    """Plain bytes that were restored."""
    differences: Mapping[str, Sequence[Difference]]


class Comeback:
    """Steps in their order, each called once."""

    def __init__(self, project: Project, kit: str, say: Callable[[str], None]) -> None:
        """`kit` is the text of the recovery kit."""
        self.project, self.kit, self.say = project, kit, say

    def prepare(self) -> None:
        """Let the sidecar have the destination, whoever wrote there before."""
        self.project.compose(*SIDECAR, "copies", "prepare", DESTINATION, "--take-over")

    def copied(self) -> None:
        """Wait until every run is copied, encrypted, and read back; raises `Failed` for what is not."""
        self.project.compose(*SIDECAR, "copies", "send", DESTINATION)

    def lose_host(self, writers: Sequence[str]) -> None:
        """Remove containers and volumes, as a disk that is broken."""
        services = (*KINDS, *writers, "sidecar")
        self.project.compose("kill", *services)
        self.project.compose("rm", "--force", "--stop", "--volumes", *services)
        # The next sidecar is another one, which its orchestrator has to be told.
        self.project.compose("exec", "-T", "orchestrator", "rm", "--force", "/backups/state/sidecar")
        self.project.remove_volumes(*LOST)

    def come_back(
        self, sources: Mapping[str, Things], quiet: Callable[[], object], plant: Callable[[], object]
    ) -> Returned:
        """By the commands of docs/copies.md on a host with nothing on it; `sources` is what was there.

        `quiet` keeps the app from writing by itself, `plant` may spoil what came back.
        """
        begun = time.monotonic()
        with self.project.environment(EMPTY):
            self.project.compose("up", "--detach", "--wait", "--quiet-pull", *(set(KINDS) - {"app"}), "sidecar")
            self.project.compose("up", "--detach", "--no-deps", "app")
        quiet()
        self.project.compose(*SIDECAR, "adopt", DESTINATION, "--identity", "-", given=self.kit.encode())
        rows = self._restored()
        seconds = time.monotonic() - begun
        plant()
        with ThreadPoolExecutor(len(KINDS)) as pool:
            looks = {
                service: pool.submit(kind.look, self.project.container(service)) for service, kind in KINDS.items()
            }
            found = {service: differences(sources[service], look.result()) for service, look in looks.items()}
        return Returned(seconds, sum(row["report"]["bytes"] for row in rows), found)

    def _restored(self) -> list[dict[str, Any]]:
        said = self.project.compose(*SIDECAR, "restore", "--all", "--with-passwords", "--json")
        rows: list[dict[str, Any]] = json.loads(said)
        back = {row["key"].removeprefix(f"{self.project.name}/") for row in rows if row["state"] == "restored"}
        if missing := set(KINDS) - back:
            raise Failed(f"{', '.join(sorted(missing))} did not come back: {said.decode()[-2000:]}")
        return rows
