"""A copy is rehearsed with a real identity on another machine, and the host believes the receipt."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.copies_stand import FILES, PLACE, Stand, commanded, told
from tests.kit.stage import SIDECAR_IMAGE, Sidecar, eventually, execute, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def anywhere(stand: Stand, *options: str, kit: str, mode: str = "ro") -> subprocess.CompletedProcess[bytes]:
    """`copies rehearse` on a machine that has the operator's words, the destination and the kit, and nothing else."""
    mounts = ("--volume", f"{stand.config}:/etc/sidecar:ro", "--volume", f"{stand.volume}:{PLACE}:{mode}")
    machine = ("docker", "run", "--rm", "--interactive", "--network", "none", *mounts)
    return execute(
        *machine, SIDECAR_IMAGE, "copies", "rehearse", "nas", *options, "--identity", "-", input=kit.encode()
    )


def piped(sidecar: Sidecar, receipts: bytes) -> subprocess.CompletedProcess[bytes]:
    command = ("docker", "exec", "--interactive", sidecar.container, "backup-sidecar", "copies", "receipts", "nas")
    return execute(*command, input=receipts)


def target(sidecar: Sidecar) -> Any:
    (found,) = told(sidecar)["targets"]
    return found


def reasons(sidecar: Sidecar) -> str:
    return str(sidecar.http.get("/v1/status").json()["reasons"])


def with_ssh_key(stand: Stand, folder: Path) -> str:
    """In the place of the second recipient; gives the kit with its private half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    words = yaml.safe_load((stand.config / "config.yaml").read_text())
    words["copies"]["recipients"][1] = (folder / "key.pub").read_text().strip()
    words["policy"] = {"create-containers": True}
    (stand.config / "config.yaml").write_text(yaml.safe_dump(words))
    verify = next(line for line in stand.kit.splitlines() if line.startswith("verify:"))
    return f"{(folder / 'key').read_text()}{verify}\n"


def test_a_copy_is_rehearsed_from_any_machine_and_the_receipt_is_believed(stand: Stand, tmp_path: Path) -> None:
    ssh_kit = with_ssh_key(stand, tmp_path)
    with stand.host() as (sidecar, _, container):
        within(container, FILES)
        run, key = sidecar.backup("files")["id"], sidecar.key("files")
        commanded(sidecar, "copies", "prepare")
        commanded(sidecar, "copies", "send")
        before, untried = target(sidecar), reasons(sidecar)
        # Whoever may only read there prints the receipt, which is brought by hand.
        read_only = anywhere(stand, key, kit=ssh_kit)
        spoiled = piped(sidecar, read_only.stdout.replace(b'"objects":', b'"objects":1'))
        brought = piped(sidecar, read_only.stdout)
        after, tried = target(sidecar), reasons(sidecar)
        # Whoever may write leaves it there.
        written = anywhere(stand, kit=stand.kit, mode="rw")
        commanded(sidecar, "copies", "check", "nas")
        receipts = within(sidecar.container, f"cd {PLACE}/rehearsals/{run}; ls -n | sed 1d").splitlines()
        table, status = sidecar.cli("copies").stdout, sidecar.cli("status").stdout
        drilled = commanded(sidecar, "drill", key, "--from", "nas", "--identity", "-", kit=stand.kit)
        newest = eventually(lambda: within(sidecar.container, f"cat {PLACE}/rehearsals/{run}/*"), what="receipts")
        within(sidecar.container, f"for file in {PLACE}/objects/base/*/*; do printf x >>$file; done")
        rotten = anywhere(stand, kit=stand.kit)

    assert (before["level"], before["rehearsed"]) == ("read-back", None)
    assert "untried-recipient" in untried
    assert read_only.returncode == 0, read_only.stderr
    assert b"copies receipts nas" in read_only.stderr
    assert (spoiled.returncode, brought.returncode) == (1, 0)
    assert (after["level"], after["run"]) == ("rehearsed", run)
    assert after["rehearsed"]
    assert "untried-recipient" not in tried
    assert written.returncode == 0, written.stderr
    assert b"left" in written.stdout
    assert len(receipts) == 2
    assert {tuple(line.split()[2:4]) for line in receipts} == {("10001", "10001")}
    assert "ago" in table.splitlines()[1]
    assert "nas fresh, rehearsed" in status
    assert (drilled["state"], drilled["run"]) == ("passed", run)
    assert '"drilled":true' in newest
    assert rotten.returncode == 1
    assert b"is another one" in rotten.stderr
    assert stand.kit.splitlines()[1].encode() not in rotten.stdout + rotten.stderr + written.stdout + written.stderr
