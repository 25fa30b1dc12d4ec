"""A changed configuration holds within two looks, a wrong one is refused, and what cannot change says so."""

import os
from pathlib import Path

import pytest

from config.loading import Loaded, load
from controller.app.reload import Reloader
from controller.backup.jobs import Turns
from controller.core.events import Bus, ConfigReloaded
from tests.kit.world import World, client, is_problem, serving

TOKEN, OTHER = "a-token-of-the-tests-0123456789", "another-token-9876543210-abcdef"


class Folder:
    """The operator's folder, and the reloader that watches it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.applied, self.events = folder, 0, Bus()
        self.events.subscribe(ConfigReloaded, self.count)
        self.write("schema: 1\n")
        self.token(TOKEN)
        self.reloader = Reloader(self.read(), folder, self.read, self.events)

    def read(self) -> Loaded:
        return load(self.folder, {})

    def count(self, _: ConfigReloaded) -> None:
        self.applied += 1

    def write(self, text: str) -> None:
        (self.folder / "config.yaml").write_text(text)

    def token(self, token: str) -> None:
        (self.folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")

    def look(self, times: int = 2) -> list[str]:
        for _ in range(times):
            self.reloader.look()
        return [problem.code for problem in self.reloader.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_change_holds_once_it_has_stayed_the_same_for_two_looks(folder: Folder) -> None:
    folder.write("schema: 1\npolicy: {max-concurrent-runs: 7}\n")

    folder.look(1)
    assert folder.reloader.loaded.settings.policy.max_concurrent_runs == 2
    folder.look(1)
    assert folder.reloader.loaded.settings.policy.max_concurrent_runs == 7
    folder.look(5)
    assert folder.applied == 1


def test_a_wrong_one_is_refused_whole_and_mended_later(folder: Folder) -> None:
    folder.write("schema: 1\npolicy: {max-concurrent-runs: 7}\ndefaults: {timeout: 10}\n")

    assert folder.look() == ["reload-refused", "bad-value"]
    assert folder.reloader.loaded.settings.policy.max_concurrent_runs == 2
    assert folder.applied == 0

    folder.write("schema: 1\npolicy: {max-concurrent-runs: 7}\ndefaults: {timeout: 10s}\n")
    assert folder.look() == []
    assert folder.reloader.loaded.settings.policy.max_concurrent_runs == 7


def test_the_token_changes_and_a_weak_one_is_refused(folder: Folder) -> None:
    folder.token(OTHER)
    folder.look()
    assert folder.reloader.loaded.api_token == OTHER

    folder.token("short")
    assert folder.look() == ["reload-refused", "weak-token"]
    assert folder.reloader.loaded.api_token == OTHER


@pytest.mark.parametrize(
    "change",
    [
        "api: {port: 9000}",
        "api: {host: 127.0.0.1}",
        "paths: {tmp: /elsewhere}",
        "orchestrator: {url: 'http://o', key: k}",
    ],
)
def test_what_cannot_change_is_kept_and_told_beside_what_can(change: str, folder: Folder) -> None:
    before = folder.reloader.loaded.settings

    folder.write(f"schema: 1\npolicy: {{max-concurrent-runs: 7}}\n{change}\n")

    assert folder.look() == ["needs-restart"]
    after = folder.reloader.loaded.settings
    assert (after.api, after.paths, after.orchestrator) == (before.api, before.paths, before.orchestrator)
    assert after.policy.max_concurrent_runs == 7


def test_a_running_server_takes_the_new_token_and_no_longer_the_old(tmp_path: Path) -> None:
    world = World(tmp_path)
    with serving(world) as server, client(server) as old, client(server, token=OTHER) as new:
        assert is_problem(new.get("/v1/targets"), 401, "unauthorized")

        world.loaded = load(tmp_path / "config", {"BACKUP_API_TOKEN": OTHER, "ORCHESTRATOR_KEY": "k" * 20})

        assert new.get("/v1/targets").is_success
        assert is_problem(old.get("/v1/targets"), 401, "unauthorized")


def test_fewer_runs_at_a_time_cut_none_that_is_running() -> None:
    turns = Turns(2)
    with turns.taken(0, lambda: None), turns.taken(1, lambda: None):
        turns.resize(1)
    with turns.taken(2, lambda: None):
        assert turns._free == 0
        turns.resize(2)
        with turns.taken(3, lambda: None):
            assert turns._free == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_only_root_could_read_is_named(folder: Folder) -> None:
    (folder.folder / ".env").chmod(0)
    reloader = Reloader(folder.reloader.loaded, folder.folder, folder.read, folder.events)

    assert [problem.code for problem in reloader.problems] == ["reload-off"]
