"""One process has a store; a lock file that came from elsewhere, and that nobody holds, keeps nobody out."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.core.errors import StoreError
from controller.storage.lock import LOCK, StoreLock


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[StoreLock, StoreLock]]:
    """Two who want the same store."""
    pair = StoreLock(tmp_path), StoreLock(tmp_path)
    yield pair
    for lock in pair:
        lock.release()


@pytest.fixture
def shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock file that is there may not be opened; root may open any."""
    path, real = tmp_path / LOCK, os.open
    path.touch()
    foreign = path.stat().st_ino

    def opened(name: str | Path, *arguments: int) -> int:
        if Path(name) == path and path.exists() and path.stat().st_ino == foreign:
            raise PermissionError(13, "Permission denied")
        return real(name, *arguments)

    monkeypatch.setattr(os, "open", opened)


def test_only_one_has_the_store_until_it_lets_go(locks: tuple[StoreLock, StoreLock]) -> None:
    one, other = locks
    one.acquire()
    with pytest.raises(StoreError, match="another sidecar"):
        other.acquire()
    one.release()
    other.acquire()


def test_the_lock_file_alone_keeps_out_since_earlier_releases_lock_nothing_else(
    tmp_path: Path, locks: tuple[StoreLock, StoreLock]
) -> None:
    with (tmp_path / LOCK).open("w") as earlier:
        fcntl.flock(earlier, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another sidecar"):
            locks[0].acquire()
    locks[1].acquire()


@pytest.mark.usefixtures("shut")
def test_a_lock_file_of_somebody_else_that_nobody_holds_is_taken_over(locks: tuple[StoreLock, StoreLock]) -> None:
    locks[0].acquire()
    assert not locks[0].is_lost


@pytest.mark.usefixtures("shut")
def test_a_lock_file_that_cannot_be_opened_is_left_where_nothing_tells_whether_it_is_held(
    locks: tuple[StoreLock, StoreLock], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locks_no_folders(descriptor: int, flags: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", locks_no_folders)
    with pytest.raises(StoreError, match="Permission denied"):
        locks[0].acquire()
    assert (tmp_path / LOCK).exists()


@pytest.mark.usefixtures("shut")
def test_a_lock_file_that_cannot_be_opened_is_left_to_who_has_the_store(
    locks: tuple[StoreLock, StoreLock], tmp_path: Path
) -> None:
    one, other = locks
    one.acquire()
    before = (tmp_path / LOCK).stat()
    with pytest.raises(StoreError, match="another sidecar"):
        other.acquire()
    assert os.path.samestat(before, (tmp_path / LOCK).stat())
    assert not one.is_lost
