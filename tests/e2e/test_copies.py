"""Copies on the real engine: sent, proved, told; and a host that is gone comes back from them with the recovery kit."""

import pytest

from tests.e2e.copies_stand import FILES, PLACE, SUM, Stand, commanded, objects, told
from tests.kit.stage import eventually, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.mark.slow
def test_a_host_that_is_gone_comes_back_from_its_copies(stand: Stand) -> None:
    with stand.host() as (sidecar, _, container):
        within(container, FILES)
        before, key = within(container, SUM), sidecar.key("files")
        run = sidecar.backup("files")["id"]
        eventually(lambda: "destination-foreign" in sidecar.http.get("/v1/status").text, what="it is told")
        unprepared = sidecar.cli("status").stdout
        commanded(sidecar, "copies", "prepare", "nas")
        commanded(sidecar, "copies", "send")
        first = objects(sidecar)
        (target,) = told(sidecar)["targets"]
        again = sidecar.backup("files")["id"]
        commanded(sidecar, "copies", "send", "nas")
        status, metrics = sidecar.cli("status"), sidecar.http.get("/metrics").text
        verified = commanded(sidecar, "copies", "verify", "nas")
        readable = within(sidecar.container, f"grep -rl noise {PLACE} || true")
        new = set(objects(sidecar)) - set(first)
        working = within(sidecar.container, "ps ax 2>/dev/null || true; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")

    assert "destination-foreign" in unprepared
    assert (target["key"], target["state"], target["run"]) == (key, "fresh", run)
    assert new == {f"runs/{stand.project}/files/{again}/run.json"}
    assert "nas fresh" in status.stdout
    assert f'backup_copy_fresh{{destination="nas",target="{key}"}} 1.0' in metrics
    assert verified[0]["damaged"] == verified[0]["wrong"] == []
    assert {*verified[0]["proved"]} == {run, again}
    assert readable == ""
    assert "copies.worker" not in working

    with stand.host(signs=False) as (sidecar, _, container):
        assert within(container, SUM) == ""
        assert "--identity -" in commanded(sidecar, "adopt", "nas", code=1)
        wrong = "AGE-SECRET-KEY-1HYMW0EZLAW2CRA7AEY4KS2XZAKM6DYGYSSMGYZYKPHDUJJKLJSESRYY26T"
        other = stand.kit.replace(stand.kit.splitlines()[1], wrong)
        assert "cannot be decrypted" in commanded(sidecar, "adopt", "nas", "--identity", "-", kit=other, code=1)
        unsigned = stand.kit.replace("verify:", "nothing:")
        assert "verify:" in commanded(sidecar, "adopt", "nas", "--identity", "-", kit=unsigned, code=1)
        (adopted,) = commanded(sidecar, "adopt", "nas", "--identity", "-", kit=stand.kit)
        sidecar.wait("files")
        commanded(sidecar, "restore", key, "--in-place", "--replace")
        after, log = within(container, SUM), sidecar.log()

    assert (adopted["outcome"], adopted["run"], adopted["key"]) == ("adopted", again, key)
    assert after == before
    assert stand.kit.splitlines()[1] not in log


@pytest.mark.slow
def test_one_copy_is_taken_and_restored_by_one_command(stand: Stand) -> None:
    with stand.host() as (sidecar, _, container):
        within(container, FILES)
        before, key = within(container, SUM), sidecar.key("files")
        run = sidecar.backup("files")["id"]
        commanded(sidecar, "copies", "prepare")
        commanded(sidecar, "copies", "check")
        within(container, "echo later >/data/later")
        sidecar.backup("files")
        commanded(sidecar, "copies", "send")

    with stand.host() as (sidecar, _, container):
        sidecar.wait("files")
        arguments = ("restore", key, "--from", "nas", "--identity", "-", "--run", run, "--in-place", "--replace")
        commanded(sidecar, *arguments, kit=stand.kit)
        after, sent = within(container, SUM), commanded(sidecar, "copies", "send", code=1)
        taken = commanded(sidecar, "copies", "prepare", "nas", "--take-over")
        commanded(sidecar, "copies", "send")

    assert after == before
    assert "writes there" in sent[0]["failure"]["message"]
    assert taken == [{"destination": "nas"}]


@pytest.mark.slow
def test_a_share_that_is_not_mounted_is_not_filled(stand: Stand) -> None:
    with stand.host() as (sidecar, _, container):
        within(container, FILES)
        sidecar.backup("files")
        commanded(sidecar, "copies", "prepare")
        commanded(sidecar, "copies", "send")
        within(sidecar.container, f"mv {PLACE}/backup-sidecar-copies.json /tmp/")
        report = sidecar.backup("files")
        failed = commanded(sidecar, "copies", "send", code=1)
        safe = sidecar.http.get("/freshz").status_code
        within(sidecar.container, f"mv /tmp/backup-sidecar-copies.json {PLACE}/")
        commanded(sidecar, "copies", "send")
        mended = sidecar.http.get("/freshz").status_code

    assert report["state"] == "succeeded"
    assert failed[0]["failure"]["code"] == "destination-foreign"
    assert (safe, mended) == (503, 200)
