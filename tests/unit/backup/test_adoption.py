"""Runs of another store are taken in whole and looked at, or not at all; nothing that they say is believed or run."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.fields import Compression
from controller.backup.adoption import Adopted
from controller.core.errors import NotAdopted, SidecarError, StoreFull
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.core.run import SAFETY, Report
from controller.storage import disk, marks, staging
from controller.storage.bundle import of_runs
from controller.storage.catalog import Catalog
from controller.storage.codecs import compressor
from controller.storage.rebuild import rebuild
from controller.storage.store import Store
from tests.kit.world import World

OLD, DB = Key(project="old-shop", service="db"), Key(project="shop", service="db")
RUN, LATER = "20260301T030000Z-0123abcd", "20260302T030000Z-4567ef01"
MADE = datetime(2026, 3, 1, 3, tzinfo=UTC)
RELEASED = Path(__file__).parents[2] / "fixtures" / "store-0.1.0"


def tar_of(files: dict[str, bytes], **changes: object) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            archive.addfile(header(name, len(data), **changes), io.BytesIO(data))
    return file.getvalue()


def header(name: str, size: int = 0, **changes: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    for field, value in changes.items():
        setattr(made, field, value)
    return made


PLAIN = tar_of({"data/one": b"one", "data/two": b"two" * 1000})


def artifact(name: str = "files.tar.zst", plain: bytes = PLAIN, codec: Any = "zstd", **changes: object) -> Artifact:
    data = packed(plain, codec)
    facts = {"size": len(data), "sha256": digest(data), "plain_size": len(plain), "plain_sha256": digest(plain)}
    words = {"name": name, "format": "tar", "compression": codec, "proof": "full", "restore": "rm -rf / #"}
    return Artifact.model_validate(words | facts | changes)


def packed(plain: bytes, codec: Any = "zstd") -> bytes:
    encoder = compressor(Compression(codec))
    return bytes(encoder.compress(plain)) + encoder.flush()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(run: str = RUN, key: Key = OLD, **changes: object) -> Manifest:
    words = dict.fromkeys(("container", "container_id", "image", "image_id", "engine", "sidecar"), "x")
    facts = {"run": run, "target": key, "strategy": "filesystem", "proof": "full", "artifacts": (artifact(),)}
    return Manifest.model_validate(words | facts | {"started": MADE, "finished": MADE} | changes)


def run_of(told: Manifest, folder: str = "", **files: bytes) -> dict[str, bytes]:
    """The files of a run by their paths; `files` stand for those of their names."""
    folder = folder or "/".join((*told.target.folders, told.run))
    own = {"manifest.json": told.model_dump_json().encode(), "files.tar.zst": packed(PLAIN)}
    return {f"{folder}/{name}": data for name, data in {**own, **files}.items()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def adopt(world: World, archive: bytes, size: int = 10_000) -> list[Adopted]:
    return world.adoption.runs((archive[at : at + size] for at in range(0, len(archive), size)), "old.tar")


def outcomes(found: list[Adopted]) -> list[str]:
    return [one.outcome for one in found]


def stored(world: World) -> list[str]:
    """Every file in the store."""
    root = world.store.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != ".lock")


def why(found: list[Adopted]) -> str:
    (only,) = found
    assert only.error
    return str(only.error)


# --- what is taken in -----------------------------------------------------------------------------------------------


def test_a_run_is_entered_as_of_elsewhere_and_a_new_catalog_knows_it_too(world: World) -> None:
    assert outcomes(adopt(world, tar_of(run_of(manifest())))) == ["adopted"]

    report = world.catalog.get(RUN)
    assert (report.target, report.origin, report.trigger, report.proof) == (OLD, "old.tar", "adopt", "full")
    assert (report.started, report.good) == (MADE, True)
    assert report.adopted == report.verified
    assert stored(world) == [
        f"old-shop/db/{RUN}/{name}"
        for name in ("files.tar.zst", "manifest.json", "marks/adopted.json", "marks/report.json")
    ]
    path = world.folder / "another.sqlite"
    assert rebuild(world.store, path).runs == 1
    with closing(Catalog(path)) as catalog:
        assert catalog.get(RUN) == report


def test_what_an_export_sends_is_taken_in_by_another_sidecar(tmp_path: Path, world: World) -> None:
    other = Store(tmp_path / "other")
    shutil.copytree(RELEASED / "artifacts", other.root)
    told = [one for one in other.manifests() if isinstance(one, Manifest)]
    bundle = of_runs(other, [(one.target, one.run) for one in told], as_tar=True)

    found = world.adoption.runs(bundle.verified(), "export.tar")

    assert outcomes(found) == ["adopted"] * len(told)
    for one in told:
        for name in (part.name for part in one.artifacts):
            here, there = world.store.artifact(one.target, one.run, name), other.artifact(one.target, one.run, name)
            assert here.read_bytes() == there.read_bytes()


@pytest.mark.parametrize("folder", ["x", "./artifacts/old-shop/db/here", ".", "a//b/./c"])
def test_where_the_files_lie_does_not_matter_nor_what_lies_beside_them(world: World, folder: str) -> None:
    files = {"work/catalog.sqlite": b"x", f"{folder}/.hidden": b"x", f"{folder}/drill.json": b"{}"}
    files |= {f"{folder}/manifest.json.deleted": b"x", f"{folder}/more.txt": b"x"}
    files |= dict(reversed(run_of(manifest(), folder).items()))
    assert outcomes(adopt(world, tar_of(files))) == ["adopted"]
    assert len(stored(world)) == 4


@pytest.mark.parametrize("compress", [gzip.compress, packed], ids=["gzip", "zstd"])
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_tar_may_be_compressed_and_come_in_any_pieces(
    world: World, compress: Callable[[bytes], bytes], size: int
) -> None:
    assert outcomes(adopt(world, compress(tar_of(run_of(manifest()))), size)) == ["adopted"]


def test_the_same_run_again_changes_nothing(world: World) -> None:
    archive = tar_of(run_of(manifest()))
    adopt(world, archive)
    before = world.catalog.get(RUN), stored(world)
    assert outcomes(adopt(world, archive)) == ["known"]
    assert (world.catalog.get(RUN), stored(world)) == before


def test_a_damaged_run_gives_way_to_the_same_one_that_is_whole_and_stays_pinned(world: World) -> None:
    archive = tar_of(run_of(manifest()))
    adopt(world, archive)
    world.pruner.pin(world.catalog.get(RUN), "the auditor")
    rotten = world.store.folder(OLD, RUN) / "files.tar.zst"
    rotten.write_bytes(b"rotten")
    world.catalog.amend(RUN, damaged="its digest is another")

    cut = tar_of(run_of(manifest(), **{"files.tar.zst": packed(PLAIN)[:-1]}))
    assert outcomes(adopt(world, cut)) == ["refused"]
    assert rotten.read_bytes() == b"rotten", "nothing goes for what is no better"
    with world.leases.held(RUN):
        assert "is in use" in why(adopt(world, archive))
    assert outcomes(adopt(world, archive)) == ["adopted"]

    report = world.catalog.get(RUN)
    assert (report.good, report.pruned, bool(report.pinned), report.note) == (True, None, True, "the auditor")
    assert rotten.read_bytes() == packed(PLAIN)
    assert marks.report(world.store, manifest()) == report


def test_who_had_asked_and_that_it_was_accepted_come_along_and_no_other_mark(world: World) -> None:
    told = {"report": {"trigger": SAFETY, "target": "x"}, "accepted": {"accepted": True, "good": 1}}
    told |= {"damaged": {"damaged": "very"}, "pinned": {"pinned": "2026-03-01T03:00:00Z", "note": "x"}}
    files = {f"marks/{name}.json": json.dumps(fields).encode() for name, fields in told.items()}
    adopt(world, tar_of(run_of(manifest(suspicious=["small"]), **files)))
    report = world.catalog.get(RUN)
    assert (report.trigger, report.accepted, report.good, report.pinned) == (SAFETY, True, True, None)


@pytest.mark.parametrize(
    "mark", [b"[" * 5000, b"[]", b'{"trigger": "$(id)"}', b'{"trigger": ["x"]}', b"\xff", b"x" * 99_999]
)
def test_a_mark_that_is_none_of_ours_does_no_harm(world: World, mark: bytes) -> None:
    files = {"marks/report.json": mark, "marks/accepted.json": mark}
    assert outcomes(adopt(world, tar_of(run_of(manifest(), **files)))) == ["adopted"]
    assert world.catalog.get(RUN).trigger == "adopt"


def test_a_run_of_another_key_is_no_backup_of_a_target_here(world: World) -> None:
    adopt(world, tar_of(run_of(manifest()) | run_of(manifest(LATER, DB))))
    assert [report.id for report in world.catalog.good(DB, limit=9)] == [LATER]
    (own,) = world.expectations.all()
    assert (str(own.key), own.good and own.good.id) == ("shop/db", LATER)


# --- what is refused ------------------------------------------------------------------------------------------------


HOSTILE = {
    "parent": header("../x"),
    "parent within": header("a/../../x"),
    "absolute": header("/etc/cron.d/x"),
    "symbolic link": header("a/link", type=tarfile.SYMTYPE, linkname="/etc"),
    "hard link": header("a/link", type=tarfile.LNKTYPE, linkname="manifest.json"),
    "character device": header("a/null", type=tarfile.CHRTYPE),
    "block device": header("a/disk", type=tarfile.BLKTYPE),
    "pipe": header("a/pipe", type=tarfile.FIFOTYPE),
    "sparse": header("a/holes", type=tarfile.GNUTYPE_SPARSE),
    "folder elsewhere": header("../../y", type=tarfile.DIRTYPE),
    "escape": header("a/\x1b[2J"),
    "no text": header("a/\udcff"),
    "long": header("a/" * 3000 + "x"),
}


@pytest.mark.parametrize("member", HOSTILE.values(), ids=HOSTILE)
def test_what_no_store_holds_has_the_whole_archive_refused(world: World, member: tarfile.TarInfo) -> None:
    archive = tar_of(run_of(manifest()))[: -2 * 512].rstrip(b"\0")
    whole = archive + bytes(-len(archive) % 512)
    data = member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + bytes(1024)
    with pytest.raises(NotAdopted):
        adopt(world, whole + data)
    assert stored(world) == []
    assert [path.name for path in world.store.root.iterdir()] == [".lock"]


def test_a_file_that_is_there_twice_has_the_archive_refused(world: World) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for _ in range(2):
            archive.addfile(header("a/manifest.json", 2), io.BytesIO(b"{}"))
    with pytest.raises(NotAdopted, match=r"manifest\.json is twice"):
        adopt(world, file.getvalue())


def test_a_giant_member_is_refused_before_a_byte_of_it_is_written(world: World) -> None:
    archive = header("a/files.tar.zst", disk.free(world.store.root)).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(StoreFull):
        adopt(world, archive + bytes(100_000))
    assert stored(world) == []


def test_what_has_no_size_ends_when_the_room_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "LOOK_BYTES", 1000)
    monkeypatch.setattr(disk, "free", lambda folder: staging.RESERVE_BYTES - 1)
    with staging.staging(world.store) as place, pytest.raises(StoreFull):
        place.write(place.run() / "file", iter([b"x" * 600] * 9))


def test_more_files_than_any_store_holds_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.storage.adopt.MOST_FILES", 2)
    with pytest.raises(NotAdopted, match="more than 2 files"):
        adopt(world, tar_of({str(number): b"" for number in range(3)}))


@pytest.mark.parametrize(
    "archive", [b"", b"no tar", bytes(1024), gzip.compress(b"x")[:-9]], ids=["empty", "text", "zeros", "cut"]
)
def test_what_is_no_archive_of_runs_is_refused(world: World, archive: bytes) -> None:
    with pytest.raises(NotAdopted):
        adopt(world, archive)


def test_an_archive_that_is_cut_leaves_nothing(world: World) -> None:
    archive = tar_of(run_of(manifest()) | run_of(manifest(LATER)))
    for end in range(0, len(archive) - 10_240, 1536):
        with pytest.raises(NotAdopted):
            adopt(world, archive[:end])
    assert stored(world) == []


NOW = datetime.now(UTC)
FAULTS: dict[str, Manifest] = {
    "names no run": manifest("../../x"),
    "names no run ": manifest("20261332T030000Z-0123abcd"),
    "has not come": manifest(finished=NOW + timedelta(hours=2)),
    "has not come ": manifest(f"{NOW + timedelta(hours=2):%Y%m%dT%H%M%SZ}-0123abcd"),
    "end before its start": manifest(finished=MADE - timedelta(hours=2)),
    "no target": manifest(key=Key(project="", service="db")),
    "no target ": manifest(key=Key(project="x" * 300, service="db")),
    "no target  ": manifest(key=Key(project="a\x1bb", service="db")),
    "no artifacts": manifest(artifacts=()),
    "no artifacts, or one twice": manifest(artifacts=(artifact(), artifact())),
    "cannot be: `../x`": manifest(artifacts=(artifact("../x"),)),
    "cannot be: `.x`": manifest(artifacts=(artifact(".x"),)),
    "cannot be: `manifest.json`": manifest(artifacts=(artifact("manifest.json"),)),
    "cannot be: `marks`": manifest(artifacts=(artifact("marks"),)),
    "cannot be: `a.partial`": manifest(artifacts=(artifact("a.partial"),)),
    "cannot be: `files.tar.zst`": manifest(artifacts=(artifact().model_copy(update={"compression": "xz"}),)),
    "claims a proof": manifest(artifacts=(artifact(proof="framed"),)),
    "has schema 2": manifest().model_copy(update={"schema_": 2}),
    "not there with its": manifest(artifacts=(artifact("other.tar"),)),
    "`filesystem` has no format `rdb`": manifest(artifacts=(artifact(format="rdb"),)),
    "`foreign` has no format `tar`": manifest(strategy="foreign"),
}


@pytest.mark.parametrize(("words", "told"), FAULTS.items(), ids=map(repr, FAULTS))
def test_a_manifest_that_cannot_be_has_its_run_refused_and_no_other(world: World, words: str, told: Manifest) -> None:
    found = adopt(world, tar_of(run_of(told, "a") | run_of(manifest(LATER), "b")))
    assert outcomes(found) == ["refused", "adopted"]
    assert (words.strip() in str(found[0].error), found[0].place) == (True, "a")
    assert {name.split("/")[2] for name in stored(world)} == {LATER}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"run": 1}', b"[" * 100_000, b"\xff" * 10])
def test_what_is_no_manifest_has_its_run_refused(world: World, text: bytes) -> None:
    assert "its manifest cannot be read" in why(
        adopt(world, tar_of(run_of(manifest()) | {f"old-shop/db/{RUN}/manifest.json": text}))
    )


CUT = tar_of({"data/one": b"one"})[:700]
DAMAGED: dict[str, tuple[Artifact, bytes]] = {
    "flipped": (artifact(), packed(PLAIN)[:-9] + b"x" + packed(PLAIN)[-8:]),
    "shorter": (artifact(), packed(PLAIN)[:-1]),
    "another": (artifact(), packed(PLAIN[:-1] + b"x")),
    "digest": (artifact(sha256="0" * 64), packed(PLAIN)),
    "plain digest": (artifact(plain_sha256="0" * 64), packed(PLAIN)),
    "bomb": (artifact(plain=bytes(50 << 20), plain_size=1000), packed(bytes(50 << 20))),
    "format": (artifact(plain=CUT), packed(CUT)),
}


@pytest.mark.parametrize(("told", "data"), DAMAGED.values(), ids=DAMAGED)
def test_bytes_that_are_not_what_the_manifest_says_are_refused(world: World, told: Artifact, data: bytes) -> None:
    found = adopt(world, tar_of(run_of(manifest(artifacts=(told,)), **{"files.tar.zst": data})))
    assert outcomes(found) == ["refused"]
    assert stored(world) == []


def test_a_few_bytes_that_become_many_are_read_no_further_than_they_should(world: World) -> None:
    told, data = DAMAGED["bomb"]
    assert "more than the 1000 plain bytes" in why(
        adopt(world, tar_of(run_of(manifest(artifacts=(told,)), **{"files.tar.zst": data})))
    )


def test_a_run_that_is_there_with_another_content_stays_and_so_does_one_of_another_key(world: World) -> None:
    adopt(world, tar_of(run_of(manifest())))
    before = stored(world)
    assert "with another content" in why(adopt(world, tar_of(run_of(manifest(image="evil")))))
    assert "is one of old-shop/db here" in why(adopt(world, tar_of(run_of(manifest(key=DB)))))
    assert stored(world) == before


def test_a_run_that_was_deleted_here_is_brought_back_by_undeleting(world: World) -> None:
    archive = tar_of(run_of(manifest()))
    adopt(world, archive)
    world.store.delete(OLD, RUN)
    assert f"undelete {RUN}" in why(adopt(world, archive))


def test_a_process_that_is_killed_leaves_nothing_half(world: World) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from controller.storage.adopt import arrivals
from controller.storage.codecs import opened
from controller.storage.staging import staging
from controller.storage.store import Store
store = Store(Path(sys.argv[1]))
data = sys.stdin.buffer.read()
def chunks():
    yield data[:-(2 << 20)]
    print(*(path.name for path in store.root.rglob("manifest.json")), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
with staging(store) as place:
    list(arrivals(opened(chunks()), place, lambda: None))
"""
    archive = tar_of(run_of(manifest()) | {"x/y": bytes(4 << 20)})
    killed = subprocess.run(
        [sys.executable, "-c", script, world.store.root], input=archive, capture_output=True, check=False
    )
    assert (killed.returncode, killed.stdout) == (-9, b"manifest.json\n"), killed.stderr
    assert list(world.store.manifests()) == []
    staging.clear(world.store)
    assert stored(world) == []


def test_a_sidecar_that_is_being_stopped_gives_up(world: World) -> None:
    world.jobs.refuse()
    with pytest.raises(SidecarError, match="shutting down"):
        adopt(world, tar_of(run_of(manifest())))
    assert stored(world) == []


def test_the_report_of_a_run_of_this_store_says_nothing_of_elsewhere(world: World) -> None:
    told = manifest(key=DB)
    assert marks.succeeded(told).origin == Report.model_fields["origin"].default == ""
