"""The operator's folders: what keeps them from being used, in plain words."""

import os
from pathlib import Path

import pytest

from config.loading import load
from config.problems import Problem
from controller.app.folders import problems


def found(tmp_path: Path, folder: str) -> list[Problem]:
    (tmp_path / "config.yaml").write_text(
        f"paths:\n  artifacts: {folder}\n  workdir: {tmp_path}/w\n  tmp: {tmp_path}/t\n"
    )
    return list(problems(load(tmp_path, {"BACKUP_API_TOKEN": "gK4c0nT2vQ8yZp1LrX6w"})))


def test_a_folder_that_can_be_made_is_no_problem(tmp_path: Path) -> None:
    assert found(tmp_path, f"{tmp_path}/new/store") == []


def test_a_file_in_a_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    (problem,) = found(tmp_path, f"{tmp_path}/store")
    assert problem.place == "config.yaml:2 paths.artifacts"
    assert problem.message == f"{tmp_path}/store is not a folder"


def test_a_folder_that_cannot_be_written_tells_uid_and_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    store.mkdir(mode=0o755)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != store)  # root may write anywhere
    (problem,) = found(tmp_path, f"{store}/deeper")
    uid = os.getuid()
    assert (
        problem.message == f"{store}/deeper is not there, and uid {uid} may not write to {store} (mode 0755, uid {uid})"
    )
    assert problem.hint == f"Mount a volume there that uid {uid} may write to."
