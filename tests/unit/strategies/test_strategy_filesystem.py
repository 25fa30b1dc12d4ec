import io
import os
import re
import shutil
import subprocess
import tarfile

import pytest
from pydantic import ValidationError

from strategies.base import Answer, Container, Facts, Unsuitable
from strategies.checks import whole_tar
from strategies.environment import neutral
from strategies.filesystem import PATH_STATES, Filesystem, FilesystemOptions
from strategies.plan import Archive, Exec, Incomplete

GNU, BUSYBOX, NONE = Answer(0, "tar (GNU tar) 1.35\n"), Answer(0, "tar (busybox) 1.37.0\n"), Answer(126)
CONTAINER = Container(
    "1f", "shop-app-1", "shop:1", mounts=("/data", "/data/sub", "/database", "/etc/x.conf"), tmpfs=("/scratch",)
)


def plan(tar=GNU, *, container=CONTAINER, excludes=True, look="", **options):
    answers = {"tar": tar, "exclude": Answer(0 if excludes else 1), "paths": Answer(0 if look else 127, look)}
    facts = Facts(None if tar is NONE else "sh", answers)
    return Filesystem().plan(container, facts, FilesystemOptions.model_validate(options))


def argv(**arguments):
    (dump,) = plan(**arguments).dumps
    assert isinstance(dump.source, Exec)
    return dump.source.argv


def archive(*members, **options):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return file.getvalue()


def member(name="a", size=3, **values):
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in values.items():
        setattr(info, key, value)
    return info


def refused(content):
    with pytest.raises(Incomplete) as error:
        whole_tar(io.BytesIO(content), {})
    return str(error.value)


def test_by_default_everything_mounted_is_read_once():
    assert argv()[-3:] == ("./data", "./database", "./etc/x.conf")


def test_named_paths_replace_the_mounted_ones():
    assert argv(paths="/srv/-x, /srv//b/./c/")[-2:] == ("./srv/-x", "./srv/b/c")


def test_nothing_to_read_is_refused():
    with pytest.raises(Unsuitable) as error:
        plan(container=Container("1f", "shop-app-1", "shop:1"))
    assert error.value.code == "no-paths"


@pytest.mark.parametrize("path", ["data", "./data", "/", "//", "/srv/..", "/srv/../etc", "/proc/1", "/sys", "/a\0b"])
def test_paths_that_mean_trouble_are_refused(path):
    with pytest.raises(ValidationError):
        FilesystemOptions(paths=(path,))


def test_only_gnu_tar_may_exit_1():
    assert set(plan(tar=GNU).dumps[0].warning_codes) == {1}
    assert not plan(tar=BUSYBOX).dumps[0].warning_codes


def test_a_pattern_with_a_leading_slash_is_a_whole_path():
    words = argv(exclude="cache,/data/*.log")
    assert {"--exclude=cache", "--exclude=./data/*.log"} < set(words)


@pytest.mark.parametrize("tar", [BUSYBOX, NONE])
def test_a_tar_that_cannot_exclude_is_refused_only_when_it_matters(tar):
    assert plan(tar, excludes=False).dumps
    with pytest.raises(Unsuitable) as error:
        plan(tar, excludes=False, exclude="cache")
    assert error.value.code == "no-exclude"


def test_without_tar_the_engine_reads_each_path():
    dumps = plan(NONE, paths="/srv/data,/srv/a b,/srv/data/sub").dumps
    assert [dump.source for dump in dumps] == [Archive("/srv/a b"), Archive("/srv/data")]
    assert [dump.name for dump in dumps] == ["srv%2Fa%20b.tar", "srv%2Fdata.tar"]
    assert dumps[0].restore == "docker cp - shop-app-1:/srv"


def test_without_tar_tmpfs_cannot_be_read():
    assert plan(GNU, paths="/scratch/x").dumps
    with pytest.raises(Unsuitable) as error:
        plan(NONE, paths="/scratch/x")
    assert error.value.code == "tmpfs-path"


def test_a_missing_path_and_a_symbolic_link_are_told_apart(tmp_path):
    folder, link, missing = tmp_path / "a b", tmp_path / "link", tmp_path / "-missing"
    folder.mkdir()
    link.symlink_to(folder)
    paths = [str(path) for path in (folder, link, missing)]
    said = subprocess.run(["sh", "-c", PATH_STATES, "sh", *paths], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["there", f"link {folder} ", "missing"]
    with pytest.raises(Unsuitable) as error:
        plan(look=said, paths=paths)
    assert error.value.code == "symlink-path"
    assert str(folder) in error.value.hint
    with pytest.raises(Unsuitable) as error:
        plan(look="there\nmissing\n", paths=[paths[0], paths[2]])
    assert error.value.code == "missing-path"


@pytest.mark.skipif(
    not shutil.which("tar") or "GNU" not in subprocess.check_output(["tar", "--version"], text=True),
    reason="no GNU tar",
)
def test_gnu_tar_brings_back_what_it_read(tmp_path, monkeypatch):
    monkeypatch.setenv("TAR_OPTIONS", "--exclude=soft")
    source, restored = tmp_path / "source", tmp_path / "restored"
    (source / "skip").mkdir(parents=True)
    (source / "skip" / "x.log").touch()
    (source / "new\nline ñ").write_text("content")
    (source / "hard").hardlink_to(source / "new\nline ñ")
    (source / "soft").symlink_to("hard")
    (source / "-dash").touch(mode=0o641)
    with (source / "sparse").open("wb") as file:
        file.truncate(10_000_000)
    (dump,) = plan(paths=[str(source)], exclude=["*.log"]).dumps
    environment = os.environ | neutral(os.environ)
    stream = subprocess.check_output(dump.source.argv, env=environment)
    assert len(stream) < 100_000
    assert whole_tar(io.BytesIO(stream), {}) == ()
    restored.mkdir()
    back = dump.restore.replace("--directory=/", f"--directory='{restored}'")
    subprocess.run(["sh", "-c", back], input=stream, check=True)
    copy = restored / str(source).lstrip("/")
    assert (copy / "hard").samefile(copy / "new\nline ñ")
    assert (copy / "soft").readlink().name == "hard"
    assert (copy / "new\nline ñ").read_text() == "content"
    assert (copy / "new\nline ñ").stat().st_mtime_ns == (source / "new\nline ñ").stat().st_mtime_ns
    assert (copy / "-dash").stat().st_mode & 0o777 == (source / "-dash").stat().st_mode & 0o777
    assert (copy / "sparse").stat().st_size == 10_000_000
    assert not list((copy / "skip").iterdir())


def test_an_archive_without_a_member_is_refused():
    assert "no file and no folder" in refused(archive())


def test_an_archive_of_nothing_but_a_link_is_refused():
    assert "no file and no folder" in refused(archive(member(size=0, type=tarfile.SYMTYPE, linkname="/data")))


def test_an_empty_folder_is_a_whole_archive():
    assert whole_tar(io.BytesIO(archive(member(size=0, type=tarfile.DIRTYPE))), {}) == ()


def test_one_zero_block_is_not_the_end():
    content = archive(member())
    assert "cut off" in refused(content[:1536])
    assert "two zero blocks" in refused(content[:1536] + content)


def test_something_behind_the_end_is_refused():
    assert "follows the end" in refused(archive(member()) + b"x")


def test_a_broken_header_in_the_middle_is_refused_by_place_and_member():
    content = bytearray(archive(member("first"), member("second")))
    content[1024] ^= 1
    assert re.search(r"byte 1536, after the header of 'first'", refused(bytes(content)))


def test_a_size_in_a_pax_header_overrides_the_members_own():
    info = member("ñ", 0, pax_headers={"comment": " size=9 ", "size": "700"})
    content = archive(info, format=tarfile.PAX_FORMAT)
    header = content.rstrip(b"\0")
    header += bytes(-len(header) % 512)
    assert whole_tar(io.BytesIO(header + bytes([7]) * 700 + bytes(324) + bytes(1024)), {}) == ()
    refused(header + bytes([7]) * 700 + bytes(324))


def test_a_size_in_base_256_is_read():
    info = member("big", 600)
    header = bytearray(info.tobuf())
    header[124:136] = b"\x80" + (600).to_bytes(11)
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
    assert whole_tar(io.BytesIO(bytes(header) + b"x" * 600 + bytes(424 + 1024)), {}) == ()


@pytest.mark.parametrize("size", [b"-0000000001\0", b"00000000008\0", b"\xff" * 12, b"hello world\0"])
def test_a_size_that_is_none_is_refused(size):
    header = bytearray(member().tobuf())
    header[124:136] = size
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
    refused(bytes(header) + bytes(2048))


def test_a_hard_link_has_no_data_whatever_its_size_says():
    header = member("link", 700, type=tarfile.LNKTYPE, linkname="a").tobuf()
    assert whole_tar(io.BytesIO(header + bytes(1024)), {}) == ()
