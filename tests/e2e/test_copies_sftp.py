"""Copies by SFTP: sent, proved, brought back by another host; and the key of the place changes meanwhile."""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.copies_stand import FILES, SUM, Stand, commanded
from tests.kit.stage import LABEL, SIDECAR_IMAGE, Json, docker, eventually, execute, image, within

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
ASYNCSSH = """
import asyncio, asyncssh

async def serve():
    await asyncssh.listen(
        "0.0.0.0", 2222, server_host_keys=["/keys/host"], authorized_client_keys="/keys/authorized",
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot="/home/keeper"))
    await asyncio.Event().wait()

asyncio.run(serve())
"""
OPENSSH = """
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -qq --yes --no-install-recommends openssh-server >/dev/null 2>&1
useradd --create-home --password '*' keeper
mkdir -p /run/sshd /home/keeper/place && chown keeper /home/keeper/place
exec /usr/sbin/sshd -D -e -p 2222 -h /keys/host -o AuthorizedKeysFile=/keys/authorized -o StrictModes=no \
    -o Subsystem='sftp internal-sftp' -o ForceCommand='internal-sftp -d /home/keeper'
"""


@dataclass
class Box:
    """A machine that is reached by SFTP."""

    container: str
    folder: Path

    @property
    def words(self) -> Json:
        host_key = (self.folder / "host.pub").read_text().strip()
        return {"host": self.container, "port": 2222, "user": "keeper", "path": "place", "host-key": host_key}

    def new_key(self, name: str) -> str:
        """Of the user: from now on only this one is let in; gives the private half."""
        path = self.folder / name
        keygen(path)
        (self.folder / "authorized").write_text(path.with_suffix(".pub").read_text())
        return path.read_text()


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


@contextmanager
def box(kind: str, folder: Path) -> Iterator[Box]:
    """Listens on the machine's usual network too, until its end."""
    name = f"box-{secrets.token_hex(3)}"
    folder.mkdir()
    folder.chmod(0o755)
    keygen(folder / "host")
    (folder / "host").chmod(0o600)
    (folder / "authorized").write_text("")
    common = ("run", "--detach", "--name", name, "--label", f"{LABEL}={name}", "--volume", f"{folder}:/keys:ro")
    if kind == "asyncssh":
        entry = ("--entrypoint", "sh", SIDECAR_IMAGE)
        python = 'mkdir -p /home/keeper/place; exec /opt/backup-sidecar/bin/python -c "$0"'
        docker(*common, *entry, "-c", python, ASYNCSSH)
    else:
        docker(*common, image("DEBIAN"), "sh", "-c", OPENSSH)
    try:
        yield Box(name, folder)
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.mark.fault(43, "the key of a destination is changed", "`destination-refused` at once; copied with the new one")
@pytest.mark.parametrize("kind", ["asyncssh", "openssh"])
def test_a_host_comes_back_by_sftp_and_a_key_that_is_changed_is_told(kind: str, stand: Stand, tmp_path: Path) -> None:
    with box(kind, tmp_path / "box") as place:
        key = place.new_key("one")

        def words(words: Json) -> None:
            words["copies"]["destinations"] = {"box": {"sftp": place.words}}

        stand.configure(words)
        stand.secrets["SSH_PRIVATE_KEY"] = key
        with stand.host("--network-alias", "sidecar") as (sidecar, app, container):
            docker("network", "connect", app.network, place.container)
            within(container, FILES)
            before, run = within(container, SUM), sidecar.backup("files")["id"]
            eventually(lambda: listens(place), seconds=60, what="the box listens")
            commanded(sidecar, "copies", "prepare")
            commanded(sidecar, "copies", "send")
            stand.secrets["SSH_PRIVATE_KEY"] = place.new_key("two")
            later = sidecar.backup("files")["id"]
            refused = commanded(sidecar, "copies", "send", code=1)
            stand.write_secrets()
            eventually(lambda: sent(sidecar.container), seconds=60, what="it is copied with the new key")
            verified = commanded(sidecar, "copies", "verify")
            docker("network", "disconnect", app.network, place.container)

        with stand.host(signs=False) as (sidecar, app, container):
            docker("network", "connect", app.network, place.container)
            sidecar.wait("files")
            rows = commanded(sidecar, "restore", "--all", "--from", "box", "--identity", "-", kit=stand.kit)
            after = within(container, SUM)
            docker("network", "disconnect", app.network, place.container)

    assert refused[0]["failure"]["code"] == "destination-refused"
    assert {*verified[0]["proved"]} == {run, later}
    assert [(row["state"], row["run"]) for row in rows] == [("restored", later)]
    assert after == before


def listens(place: Box) -> bool:
    script = "exec 3<>/dev/tcp/127.0.0.1/2222 && head -c 4 <&3"
    return b"SSH-" in execute("docker", "exec", place.container, "bash", "-c", script).stdout


def sent(container: str) -> bool:
    return execute("docker", "exec", container, "backup-sidecar", "copies", "send").returncode == 0
