"""What counts as a backup on the disk, and what never does."""

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.errors import StoreError, StoreFull, UnknownRun
from controller.core.key import RUN_ID, Key, encode
from controller.core.manifest import Artifact, Manifest, weakest
from controller.core.run import new_run_id
from controller.storage import disk
from controller.storage.draft import MANIFEST
from controller.storage.files import store_error
from controller.storage.store import Store

KEY = Key(project="shop", service="db")
RUN = "20260301T030000Z-0123abcd"


def manifest(run: str = RUN, key: Key = KEY, **changes: object) -> Manifest:
    artifact = Artifact(
        name="a.zst",
        format="raw",
        compression="zstd",
        size=3,
        sha256="0",
        plain_size=3,
        plain_sha256="0",
        proof="sealed",
    )
    now = datetime(2026, 3, 1, 3, tzinfo=UTC)
    facts = {
        "run": run, "target": key, "strategy": "command", "container": "c", "container_id": "1", "image": "i",
        "image_id": "2", "engine": "26.1.5", "sidecar": "0.1.0", "started": now, "finished": now, "proof": "sealed",
        "artifacts": (artifact,),
    }  # fmt: skip
    return Manifest.model_validate(facts | changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.acquire()
    return store


def publish(store: Store, key: Key = KEY, run: str = RUN) -> Path:
    with store.draft(key, run) as draft:
        with draft.open("a.zst") as file:
            file.write(b"abc")
        draft.publish(manifest(run, key))
    return store.folder(key, run)


def test_a_published_run_has_its_artifacts_its_manifest_and_no_partial(store: Store) -> None:
    folder = publish(store)
    assert sorted(path.name for path in folder.iterdir()) == ["a.zst", MANIFEST]
    assert store.artifact(KEY, RUN, "a.zst").read_bytes() == b"abc"
    assert store.manifest(KEY, RUN) == manifest()


def test_a_run_that_is_not_published_leaves_nothing(store: Store) -> None:
    with store.draft(KEY, RUN) as draft, draft.open("a.zst") as file:
        file.write(b"abc")
    assert not store.folder(KEY, RUN).exists()
    assert list(store.manifests()) == []


def test_the_manifest_is_written_after_every_artifact_has_its_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (seen.append(sorted(path.name for path in store.folder(KEY, RUN).iterdir())), real(fd))
    )
    publish(store)
    assert all(MANIFEST not in names or "a.zst" in names for names in seen)
    assert seen[-1] == ["a.zst", MANIFEST]


def test_everything_is_durable_before_what_relies_on_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def seen_sync(descriptor: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def seen_rename(path: Path, target: Path) -> Path:
        done.append(f"name {target.name}")
        return rename(path, target)

    with store.draft(KEY, RUN) as draft:
        monkeypatch.setattr(os, "fsync", seen_sync)
        monkeypatch.setattr(Path, "rename", seen_rename)
        with draft.open("a.zst") as file:
            file.write(b"abc")
        draft.publish(manifest())

    assert done == [
        *("sync a.zst.partial", "name a.zst", f"sync {RUN}"),
        *("sync manifest.json.partial", "name manifest.json", f"sync {RUN}"),
    ]


def test_sweep_removes_what_a_dead_process_left_and_nothing_else(store: Store) -> None:
    good = publish(store)
    half = store.folder(KEY, "20260302T030000Z-0123abcd")
    half.mkdir(parents=True)
    (half / "a.zst").write_bytes(b"whole, but without its manifest")
    (store.root / "shop/new/media").mkdir(parents=True)
    assert store.sweep() == [half.name]
    assert {path.name for path in store.root.rglob("*")} == {".lock", "shop", "db", RUN, "a.zst", MANIFEST}
    assert good.exists()


def test_a_deleted_run_is_gone_with_the_folders_that_it_leaves_empty(store: Store) -> None:
    later = "20260302T030000Z-0123abcd"
    publish(store)
    publish(store, run=later)

    store.purge(KEY, RUN)
    assert [found.run for found in store.manifests()] == [later]
    assert not store.folder(KEY, RUN).exists()

    store.purge(KEY, later)
    assert [path.name for path in store.root.iterdir()] == [".lock"]


def test_what_is_not_published_cannot_be_deleted(store: Store) -> None:
    with store.draft(KEY, RUN) as draft:
        with pytest.raises(UnknownRun):
            store.purge(KEY, RUN)
        assert draft.folder.is_dir()
    with pytest.raises(UnknownRun):
        store.purge(KEY, RUN)


def test_deleting_removes_nothing_before_the_manifest_is_durably_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish(store)

    def power_fails(descriptor: int) -> None:
        raise OSError(errno.EIO, f"after {sorted(path.name for path in folder.iterdir())}")

    monkeypatch.setattr(os, "fsync", power_fails)
    with pytest.raises(StoreError) as failed:
        store.purge(KEY, RUN)

    assert failed.value.message.endswith("after ['a.zst', 'manifest.json.deleted']")
    assert list(store.manifests()) == []
    assert Store(store.root).sweep() == [RUN]
    assert not folder.exists()


def test_a_run_is_durable_up_to_the_root_before_it_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), real(fd)))
    with store.draft(KEY, RUN):
        assert set(synced) == {str(store.root / "shop/db"), str(store.root / "shop"), str(store.root)}


def test_a_publication_that_fails_at_its_last_step_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fails_once_published(descriptor: int) -> None:
        if (store.folder(KEY, RUN) / MANIFEST).exists():
            monkeypatch.setattr(os, "fsync", real)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails_once_published)
    with pytest.raises(StoreError):
        publish(store)
    assert [path.name for path in store.root.iterdir()] == [".lock"]


def test_a_second_process_cannot_take_the_store(store: Store) -> None:
    with pytest.raises(StoreError, match="another sidecar"):
        Store(store.root).acquire()
    store.release()
    Store(store.root).acquire()


@pytest.mark.parametrize(
    "run", ["..", "../../etc", "20260301T030000Z-0123ABCD", "", "a" * 10_000, "20260301T030000Z-0123abcd/.."]
)
def test_only_a_run_id_names_a_run(store: Store, run: str) -> None:
    with pytest.raises(UnknownRun):
        store.artifact(KEY, run, "a.zst")


@pytest.mark.parametrize("name", ["../a.zst", "manifest.json", "", "nothing", "/etc/passwd"])
def test_only_what_the_manifest_lists_is_an_artifact(store: Store, name: str) -> None:
    publish(store)
    with pytest.raises(UnknownRun):
        store.artifact(KEY, RUN, name)


def test_a_planted_link_is_no_artifact(store: Store) -> None:
    folder = publish(store)
    (folder / "a.zst").unlink()
    (folder / "a.zst").symlink_to("/etc/passwd")
    with pytest.raises(UnknownRun):
        store.artifact(KEY, RUN, "a.zst")


@pytest.mark.parametrize("planted", ["shop", "shop/db", f"shop/db/{RUN}"])
def test_nothing_is_done_beyond_a_planted_link(store: Store, tmp_path: Path, planted: str) -> None:
    other = Store(tmp_path / "other")
    folder = publish(other)
    (folder.parent / "20260302T030000Z-0123abcd").mkdir()
    (store.root / planted).parent.mkdir(parents=True, exist_ok=True)
    (store.root / planted).symlink_to(other.root / planted)

    assert store.sweep() == []
    assert list(store.manifests()) == []
    for act in (store.manifest, store.delete, publish_in(store)):
        with pytest.raises(StoreError, match="symbolic link"):
            act(KEY, RUN)
    assert {path.name for path in folder.parent.rglob("*")} == {RUN, "20260302T030000Z-0123abcd", "a.zst", MANIFEST}


def publish_in(store: Store) -> Callable[[Key, str], Path]:
    return lambda key, run: publish(store, key, run)


def test_a_planted_link_is_no_manifest(store: Store, tmp_path: Path) -> None:
    path = publish(store) / MANIFEST
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        store.manifest(KEY, RUN)
    assert list(store.manifests()) == []


def test_a_manifest_of_a_later_schema_is_refused_by_version(store: Store) -> None:
    path = publish(store) / MANIFEST
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(StoreError, match="schema 2"):
        store.manifest(KEY, RUN)


def test_unknown_fields_of_a_manifest_are_ignored(store: Store) -> None:
    path = publish(store) / MANIFEST
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 1, "moon": "full"'))
    assert store.manifest(KEY, RUN).run == RUN


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreError)]
)
def test_errors_of_the_disk_are_named(number: int, kind: type[StoreError]) -> None:
    error = store_error(OSError(number, os.strerror(number)), Path("/store/a"))
    assert type(error) is kind
    assert error.hint


def test_a_target_name_and_a_run_id_never_collide(store: Store) -> None:
    named = KEY.model_copy(update={"name": "media"})
    publish(store, named, "20260302T030000Z-0123abcd")
    publish(store)
    assert {str(found.target) for found in store.manifests()} == {"shop/db", "shop/db/media"}


def test_a_manifest_that_cannot_be_read_does_not_hide_the_others(store: Store) -> None:
    later = "20260302T030000Z-0123abcd"
    (publish(store) / MANIFEST).write_text("{")
    publish(store, run=later)

    found = {type(one): one for one in store.manifests()}
    assert found[Manifest].run == later
    assert RUN in found[StoreError].message


def test_a_manifest_in_the_folder_of_another_is_refused(store: Store) -> None:
    (publish(store) / MANIFEST).write_text(manifest(key=Key(project="shop", service="victim")).model_dump_json())
    with pytest.raises(StoreError, match="shop/victim"):
        store.manifest(KEY, RUN)


def test_a_run_is_refused_where_the_last_one_would_not_fit_again(store: Store) -> None:
    room = os.statvfs(store.root).f_bavail * os.statvfs(store.root).f_frsize
    great = manifest().artifacts[0].model_copy(update={"size": room - (1 << 20)})
    with store.draft(KEY, RUN) as draft:
        draft.publish(manifest(artifacts=(great,)))

    with pytest.raises(StoreFull, match=str(great.size)), store.draft(KEY, "20260302T030000Z-0123abcd"):
        pytest.fail("it was let in")
    other = KEY.model_copy(update={"service": "new"})
    with store.draft(other, "20260302T030000Z-0123abcd") as draft:
        assert draft.folder.is_dir()


def test_a_run_that_found_no_room_is_refused_until_there_is_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt() -> None:
        with store.draft(KEY, RUN) as draft, draft.open("a") as file:
            file.write(bytes(1 << 20))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreFull, match="No space"):
        attempt()
    monkeypatch.setattr(disk, "free", lambda folder: 1 << 20)
    with pytest.raises(StoreFull, match="no room for a run"):
        publish(store)
    monkeypatch.setattr(disk, "free", lambda folder: 2 << 20)
    publish(store)


def test_a_store_whose_mount_is_gone_is_not_written(store: Store) -> None:
    store.root.rename(store.root.with_name("unmounted"))
    store.root.mkdir()
    with pytest.raises(StoreError, match="not there any more"):
        publish(store)
    assert list(store.root.iterdir()) == []


def test_a_store_in_memory_is_warned_of(tmp_path: Path) -> None:
    assert disk.file_system(Path("/proc")) == "proc"
    assert disk.file_system(Path("/dev/shm")) == "tmpfs"
    warning = disk.passing(Path("/dev/shm"))
    assert warning is not None
    assert (warning.severity, warning.place) == ("warning", "paths.artifacts")
    assert "memory" in warning.message


texts = st.text(min_size=1, max_size=30).filter(lambda text: not any(0xD800 <= ord(letter) < 0xE000 for letter in text))


@given(texts)
def test_no_part_of_a_key_leaves_its_folder(part: str) -> None:
    folder = encode(part)
    assert "/" not in folder
    assert not folder.startswith(".")
    assert "\0" not in folder


@given(texts, texts)
def test_two_parts_never_share_a_folder(one: str, other: str) -> None:
    assert (encode(one) == encode(other)) == (one == other)


@given(texts, texts, st.none() | st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True))
def test_a_key_survives_being_written_and_read(project: str, service: str, name: str | None) -> None:
    key = Key(project=project, service=service, name=name)
    assert Key.parse(str(key)) == key


def test_a_run_is_proved_as_far_as_its_least_proved_artifact() -> None:
    assert weakest(["full", "sealed", "full"]) == "sealed"
    assert weakest(["full", "framed", "sealed"]) == "framed"


def test_run_ids_sort_by_time() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    times = [first, first + timedelta(microseconds=1), first + timedelta(microseconds=999_999), first.replace(day=2)]
    ids = [new_run_id(time) for time in times]
    assert sorted(ids) == ids
    assert len({new_run_id(first) for _ in range(50)}) > 1
    assert all(RUN_ID.fullmatch(found) for found in ids)
