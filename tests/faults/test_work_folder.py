"""The real process starts, watches and backs up whatever lies in its work folder, and names what it has set aside."""

import signal
from pathlib import Path

import pytest

from tests.faults.process import process
from tests.kit.stage import eventually

pytestmark = pytest.mark.e2e

ID = "20260301T030000Z-1a2b3c4d"
SPOILT = {
    "identity": b"nobody",
    "schedule.json": b"[" * 10_000,
    "clock.json": b"null",
    "promises.json": b'{"targets": {"shop/db": 7}}',
    "scrub.json": b"\xff\xfe\x00",
    "catalog.sqlite": b"no database" * 1000,
    "quiesced/c1.json": b'{"x": 1}',
    f"restores/{ID}.json": b"{}",
    f"restores/owed/{ID}.json": b'{"restore": "another"}',
    "restores/owed/\x1b[31m.json": b"[]",
}
FILES = {"strategy": "filesystem", "filesystem.paths": "/etc"}


def test_no_file_in_the_work_folder_keeps_the_sidecar_from_its_work() -> None:
    with process() as (sidecar, app):
        sidecar.begin()
        app.target("files", FILES)
        before = sidecar.backup("files")
        assert sidecar.end(signal.SIGTERM) == 0
        spoil(sidecar.folder / "work")

        sidecar.begin()

        eventually(lambda: sidecar.states().get("files") == "ready", what="the target is ready")
        after = sidecar.backup("files")
        runs = sidecar.http.get("/v1/runs").json()["runs"]
        problems = sidecar.http.get("/v1/status").json()["problems"]
        places = [problem["place"] for problem in problems if problem["code"] == "bad-fact"]

    assert [run["id"] for run in runs] == [after["id"], before["id"]]
    for name in SPOILT:
        assert any(f"work/{name!r}".replace("'", "") in place for place in places), (name, places)


def spoil(work: Path) -> None:
    for name, content in SPOILT.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (work / "promises.json").unlink()
    (work / "promises.json").mkdir()
