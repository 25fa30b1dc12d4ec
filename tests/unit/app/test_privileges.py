"""What root does for the unprivileged user before it gives itself up: a store that came from elsewhere is mended."""

import os
import resource
import stat
import time
from pathlib import Path

import pytest

from controller.app.privileges import GID, UID, let_through, mend, take_descriptors

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")


def made(path: Path, mode: int, uid: int = UID, gid: int = GID) -> Path:
    """A file, or a folder where the path ends without a suffix."""
    path.touch() if path.suffix else path.mkdir()
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def state(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return made(tmp_path / "store", 0o750)


def test_what_others_own_is_given_to_the_user_also_where_the_folder_above_is_its_own(store: Path) -> None:
    folder = made(store / "shop", 0o700, 0, 0)
    file = made(folder / "manifest.json", 0o600, 1234, 1234)
    mend(store)
    assert state(folder) == (UID, GID, 0o700)
    assert state(file) == (UID, GID, 0o600)


def test_what_the_owner_itself_may_not_do_is_granted(store: Path) -> None:
    folder = made(store / "shop", 0o500)
    file, foreign = made(folder / "a.zst", 0o040), made(folder / "b.zst", 0o400, 0, 0)
    mend(store)
    assert (state(folder), state(file)) == ((UID, GID, 0o700), (UID, GID, 0o640))
    assert state(foreign) == (UID, GID, 0o600)


@pytest.mark.parametrize(("mode", "uid", "gid"), [(0o666, 1234, 1234), (0o660, 0, GID), (0o600, UID, 1234)])
def test_what_the_user_can_use_stays_as_it_is(store: Path, mode: int, uid: int, gid: int) -> None:
    file = made(store / "a.zst", mode, uid, gid)
    mend(store)
    assert state(file) == (uid, gid, mode)


def test_no_link_is_followed_and_what_is_no_file_stays(store: Path, tmp_path: Path) -> None:
    file, folder = made(tmp_path / "secret.txt", 0o600, 0, 0), made(tmp_path / "outside", 0o700, 0, 0)
    inside = made(folder / "more.txt", 0o600, 0, 0)
    (store / "file").symlink_to(file)
    (store / "folder").symlink_to(folder)
    os.mkfifo(store / "pipe", 0o600)
    mend(store)
    assert [state(path) for path in (file, folder, inside)] == [(0, 0, 0o600), (0, 0, 0o700), (0, 0, 0o600)]
    assert state(store / "pipe")[0] == 0


def test_the_folders_above_are_passed_and_stay_their_owners(store: Path) -> None:
    volume, other = made(store / "volume", 0o700, 0, 0), made(store / "other", 0o700, 0, 0)
    between = made(volume / "between", 0o600, 1234, 1234)
    passed = made(volume / "between" / "passed", 0o771, 0, 0)
    let_through(made(passed / "artifacts", 0o700, 0, 0))
    assert (state(volume), state(between)) == ((0, 0, 0o701), (1234, 1234, 0o601))
    assert (state(passed), state(other)) == ((0, 0, 0o771), (0, 0, 0o700))
    assert state(passed / "artifacts") == (0, 0, 0o700)


def test_what_the_disk_keeps_for_itself_stays(store: Path) -> None:
    lost = made(store / "lost+found", 0o700, 0, 0)
    mend(store)
    assert state(lost) == (0, 0, 0o700)


@pytest.mark.slow
def test_a_large_store_costs_the_start_a_few_seconds(store: Path) -> None:
    for number in range(1000):
        folder = store / f"{number}"
        folder.mkdir()
        for name in range(100):
            (folder / f"{name}.zst").touch()
    begun = time.monotonic()
    mend(store)
    first, begun = time.monotonic() - begun, time.monotonic()
    mend(store)
    again = time.monotonic() - begun
    assert state(store / "999" / "99.zst")[0] == UID
    print(f"100,000 files: mended in {first:.2f} s, looked at in {again:.2f} s")


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        take_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
