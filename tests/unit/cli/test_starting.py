"""The commands beside a `serve` that has only just been started."""

import threading
from pathlib import Path

import pytest

from controller.cli import terminal
from tests.kit.world import World, serving


def test_a_command_waits_for_a_serve_that_is_about_to_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, done, served = World(tmp_path, services={}), threading.Event(), threading.Event()
    monkeypatch.setenv("SIDECAR_PATHS_WORKDIR", str(world.folder))
    monkeypatch.setenv("SIDECAR_CONFIG", str(tmp_path / "nowhere"))
    first = tmp_path / "cmdline"
    first.write_bytes(b"/usr/bin/python\0/usr/bin/backup-sidecar\0serve\0")
    monkeypatch.setattr(terminal, "FIRST_PROCESS", first)

    def serve_late() -> None:
        with serving(world):
            served.set()
            done.wait(30)

    late = threading.Timer(0.2, serve_late)
    late.start()
    try:
        with terminal.client() as connection:
            assert connection.get("/v1/targets").status_code == 200
        assert served.is_set()
    finally:
        done.set()
        late.join()


def test_elsewhere_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "FIRST_PROCESS", tmp_path / "nothing")
    assert not terminal.is_sidecar_here()
