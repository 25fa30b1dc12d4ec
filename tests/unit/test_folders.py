"""The operator's folders: what keeps them from being used, and what does not outlive the container."""

import os
from pathlib import Path

import pytest

from config.loading import load
from config.problems import Problem
from controller.folders import file_system, problems

MOUNTS = """\
22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/a
23 22 0:21 / {0} rw - ext4 /dev/vda rw
24 23 0:22 / {0}/store rw,nosuid shared:5 - tmpfs tmpfs rw
"""


def found(tmp_path: Path, folder: str) -> list[Problem]:
    (tmp_path / "config.yaml").write_text(
        f"paths:\n  artifacts: {folder}\n  workdir: {tmp_path}/w\n  tmp: {tmp_path}/t\n"
    )
    return [
        one for one in problems(load(tmp_path, {"BACKUP_API_TOKEN": "gK4c0nT2vQ8yZp1LrX6w"})) if one.severity == "error"
    ]


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


@pytest.mark.parametrize(("folder", "kind"), [("store/deep", "tmpfs"), ("stores", "ext4"), ("../..", "overlay")])
def test_the_innermost_mount_tells_the_kind(tmp_path: Path, folder: str, kind: str) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTS.format(tmp_path.resolve()))
    assert file_system(tmp_path / folder, mountinfo) == kind


def test_without_mountinfo_nothing_is_said(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "none") == ""
