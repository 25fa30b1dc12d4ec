"""A restore's memory is that of its buffers, whatever the size of what is restored."""

import json
import secrets
from collections.abc import Iterator

import pytest

from tests.kit import stage
from tests.kit.stage import App, Sidecar, docker, within

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MEBIBYTE = 1 << 20
SMALL, LARGE = 16 * MEBIBYTE, 1024 * MEBIBYTE
ALLOWED = 24 * MEBIBYTE
"""What a restore of 64 times as much may need more, at most."""


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    folder = tmp_path_factory.mktemp("memory")
    (folder / "config.yaml").write_text("schema: 1\n")
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"memory-{secrets.token_hex(3)}", folder, token) as (sidecar, app), app:
        yield sidecar, app


def most(sidecar: Sidecar) -> int:
    """Bytes that the process has had resident at most since it was started (proc(5), VmHWM)."""
    return int(within(sidecar.container, "grep VmHWM /proc/1/status").split()[1]) * 1024


def restarted(sidecar: Sidecar) -> None:
    docker("restart", sidecar.container)
    sidecar.is_back()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("service", "labels"),
    [
        ("files", {"strategy": "filesystem", "filesystem.paths": "/data"}),
        ("command", {"commands.backup": "cat /data/random", "commands.restore": "sha256sum >/tmp/sum"}),
    ],
)
def test_memory_does_not_grow_with_what_is_restored(
    service: str, labels: dict[str, str], stand: tuple[Sidecar, App]
) -> None:
    sidecar, app = stand
    labels = labels | {"compression": "zstd:1", "timeout": "10m"}
    container = app.target(service, labels, "--volume", "/data", of="DEBIAN")
    peaks = []
    for size in (SMALL, LARGE):
        within(container, f"head -c {size} /dev/urandom >/data/random")
        run = sidecar.backup(service)
        restarted(sidecar)
        sidecar.wait(service)

        done = sidecar.cli("restore", sidecar.key(service), "--json")

        report = json.loads(done.stdout)
        assert (report["state"], report["run"]) == ("succeeded", run["id"]), report["failure"]
        assert report["bytes"] == report["total"] >= size
        peaks.append(most(sidecar))
        there = f"/restore-{run['id']}/data/random"
        seen = within(container, f"cat /tmp/sum 2>/dev/null || sha256sum <{there}; rm -rf /restore-*").split()[0]
        assert seen == within(container, "sha256sum /data/random").split()[0]
    assert peaks[1] - peaks[0] < ALLOWED, [f"{peak / MEBIBYTE:.0f} MiB" for peak in peaks]
