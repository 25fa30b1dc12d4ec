"""Where the program's files lie is known without reading the whole configuration."""

import subprocess
import sys
from pathlib import Path

import pytest

from controller.app import program

OWN_VARIABLE = "SIDECAR_PATHS_WORKDIR"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of `config.yaml`; the one of the repository lies beside it."""
    monkeypatch.setenv("SIDECAR_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv(OWN_VARIABLE, raising=False)
    monkeypatch.setattr(program, "REPOSITORY", tmp_path / "repository")
    for name in ("config", "repository"):
        (tmp_path / name).mkdir()
    return tmp_path / "config"


def test_the_work_folder_is_that_of_who_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program.work_folder() == Path("/var/lib/sidecar/work")
    (folder / "config.yaml").write_text("paths: {workdir: '${WHERE:-/file}'}\n")
    assert program.work_folder() == Path("/file")
    (program.REPOSITORY / ".env").write_text(f"WHERE=/filled\n{OWN_VARIABLE}=/repository\n")
    assert program.work_folder() == Path("/repository")
    (folder / ".env").write_text(f"{OWN_VARIABLE}=/beside\n")
    assert program.work_folder() == Path("/beside")
    monkeypatch.setenv(OWN_VARIABLE, "/environment")
    assert program.work_folder() == Path("/environment")


@pytest.mark.parametrize("text", ["paths: {workdir: /w}\nnonsense: [1]\n", "paths: {workdir: /w, tmp: 3}\n"])
def test_it_is_known_where_the_file_is_wrong_elsewhere(folder: Path, text: str) -> None:
    (folder / "config.yaml").write_text(text)
    assert program.work_folder() == Path("/w")


@pytest.mark.parametrize("text", ["paths: {workdir: '${NOT_SET}'}\n", "paths: [\n", "paths: 3\n"])
def test_what_says_nothing_leaves_the_usual_one(folder: Path, text: str) -> None:
    (folder / "config.yaml").write_text(text)
    assert program.work_folder() == Path("/var/lib/sidecar/work")


def test_a_command_that_asks_serve_reads_no_more() -> None:
    """Whoever calls a command waits for all that it imports."""
    heavy = "{'config.loading', 'config.settings', 'strategies', 'sqlite3', 'docker', 'pyrage', 'loguru'}"
    asks = (
        f"import sys, controller.cli, controller.cli.status, controller.cli.runs; print({heavy} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
