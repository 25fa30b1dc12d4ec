"""The sidecar as it is deployed: its image, as a container of the lab, asked over HTTP and watched by `/proc`."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.lab import Failed, Lab, docker, wait_for
from controller.app.privileges import SOCKET, socket_path
from controller.core.key import Key

TICKS = os.sysconf("SC_CLK_TCK")


class Sidecar:
    """A container with `serve`; started and stopped as often as one likes."""

    def __init__(self, lab: Lab, *more: str) -> None:
        """`more` are further options of the container."""
        self._lab = lab
        token = secrets.token_hex(16)
        options = (
            f"--env=BACKUP_API_TOKEN={token}",
            "--env=SIDECAR_API_HOST=0.0.0.0",
            f"--volume={socket_path() or SOCKET}:{SOCKET}",
            "--volume=/var/lib/sidecar",
            "--read-only",
            "--tmpfs=/tmp",
            "--security-opt=no-new-privileges:true",
            *more,
        )
        image = os.environ.get("SIDECAR_IMAGE", "backup-sidecar:local")
        self.id = lab.create("sidecar", image, labels={}, options=options)
        self._client = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def start(self) -> float:
        """Start it; gives the moment, of `time.monotonic()`, just before."""
        begun = time.monotonic()
        docker("start", self.id)
        endpoints = self._lab.engine.inspect(self.id).networks.values()
        self._client.base_url = httpx.URL(f"http://{next(iter(endpoints)).ipv4}:8000")
        return begun

    def stop(self) -> None:
        docker("stop", self.id)

    def close(self) -> None:
        self._client.close()
        self._lab.remove([self.id])

    def ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        try:
            return self._client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def targets(self, *states: str) -> int:
        """How many are listed in one of the states; any but `absent` when none is named."""
        try:
            answer = self._client.get("/v1/targets")
        except httpx.TransportError:
            return 0
        listed = answer.raise_for_status().json()["targets"]
        return sum(one["state"] in states if states else one["state"] != "absent" for one in listed)

    def lists(self, key: Key) -> bool:
        """Whether the target is there and its container runs."""
        answer = self._client.get(f"/v1/targets/{'/'.join(key.folders)}")
        return answer.status_code == 200 and answer.json()["state"] != "absent"

    def run(self, key: Key) -> dict[str, Any]:
        """A whole run; gives its report."""
        started = self._client.post(f"/v1/targets/{'/'.join(key.folders)}/runs").raise_for_status().json()
        report: dict[str, Any] = {}

        def ended() -> bool:
            report.update(self._client.get(f"/v1/runs/{started['id']}").raise_for_status().json())
            return bool(report["finished"])

        wait_for(f"the end of run {started['id']}", ended, seconds=600, pause=0.2)
        if report["state"] != "succeeded":
            raise Failed(f"the run failed: {report['failure']}")
        return report

    def copy(self, file: Path, folder: str) -> None:
        """Put a file into a folder of the container; whoever runs there may write both."""
        file.chmod(0o666)
        docker("cp", "--quiet", str(file), f"{self.id}:{folder}")

    def runs(self, **query: str | int) -> list[dict[str, Any]]:
        """A page of the list."""
        found: list[dict[str, Any]] = self._client.get("/v1/runs", params=query).raise_for_status().json()["runs"]
        return found

    def memory(self) -> tuple[float, float]:
        """Resident memory of its process, and the most that it ever was, in MiB."""
        status = dict(line.split(":", 1) for line in (self._process / "status").read_text().splitlines())
        now, most = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return now, most

    def processor_time(self) -> float:
        """Seconds of a core that its process has used since it started (proc(5), utime and stime)."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def _process(self) -> Path:
        return Path("/proc", docker("inspect", "--format={{.State.Pid}}", self.id))


@contextmanager
def serving(lab: Lab, *, targets: int) -> Iterator[Sidecar]:
    """A running sidecar that has asked every one of its targets; removed at the end."""
    sidecar = Sidecar(lab)
    try:
        sidecar.start()
        wait_for("readiness", sidecar.ready)
        wait_for("the answers of all targets", lambda: sidecar.targets("ready") >= targets, pause=0.5)
        yield sidecar
    finally:
        sidecar.close()
