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


def extended(records, **values):
    """One member behind a pax header, without its data."""
    whole = archive(member("n", 0, pax_headers=records, **values), format=tarfile.PAX_FORMAT)
    content = whole.rstrip(b"\0")
    return content + bytes(-len(content) % 512)


def test_a_size_that_a_header_has_no_room_for_is_that_of_its_pax_header():
    content = extended({"comment": " size=9 ", "size": str(8 << 30)})
    assert "cut off" in refused(content + bytes(1024))


@pytest.mark.parametrize("size", ["700", "9" * 5000])
def test_a_size_that_is_told_in_two_ways_is_refused(size):
    assert "size" in refused(extended({"size": size}) + bytes(2048))


@pytest.mark.parametrize("key", ["path", "linkpath", "size", "GNU.sparse.name", "GNU.sparse.realsize"])
def test_what_a_header_says_of_all_members_at_once_is_refused_unless_it_is_a_comment(key):
    kind = {"format": tarfile.PAX_FORMAT, "pax_headers": {key: "7"}}
    assert f"{key} for all members" in refused(archive(member(), **kind))
    assert whole_tar(io.BytesIO(archive(member(), format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"})), {}) == ()


def test_a_file_with_holes_whose_size_is_not_told_is_refused():
    holes = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    assert "with holes whose size" in refused(extended(holes) + bytes(1024))
    assert whole_tar(io.BytesIO(extended(holes | {"GNU.sparse.realsize": "9"}) + bytes(1024)), {}) == ()


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_that_ends_elsewhere_for_another_tar_is_refused(name):
    assert "is no name" in refused(extended({"path": name}) + bytes(1024))


def test_two_names_of_one_member_are_refused():
    by_pax, twice = extended({"path": "a"})[:-512], extended({"path": "b"})
    assert "two values of 'path'" in refused(by_pax + twice + bytes(1024))
    by_gnu = archive(member("long" * 30, 0), format=tarfile.GNU_FORMAT)[:1024]
    assert "two names" in refused(by_gnu + extended({"path": "short"}) + bytes(1024))


def resummed(header):
    """A header with the checksum that it needs."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


@pytest.mark.parametrize(("at", "kind", "said"), [(124, b"0", "no valid header"), (483, b"S", "with holes whose size")])
def test_a_size_behind_zero_bytes_is_none(at, kind, said):
    header = archive(member(size=0, type=kind))[:512]
    header = header[:at] + b"\0\0\000000001000"[:12] + header[at + 12 :]
    assert said in refused(resummed(header) + bytes(2048))


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_a_link_to_nothing_is_refused(kind):
    assert "a link to nothing" in refused(archive(member(size=0, type=kind)))


def test_a_long_name_that_does_not_end_within_its_size_is_refused():
    long_name = archive(member("././@LongLink", 3, type=b"L"))[:1024]
    assert long_name[512:515] == b"xxx"
    assert "without an end" in refused(long_name + archive(member()))


@pytest.mark.parametrize("kind", [b"D", b"M", b"N", b"V", b"X", b"8", b"A"])
def test_a_member_that_not_every_tar_knows_is_refused(kind):
    assert "not every tar knows" in refused(archive(member(type=kind)))


@pytest.mark.timeout(60)
def test_a_pax_header_of_many_records_is_read_once():
    """Reading it anew for each record would take an hour."""

    def pax(text: bytes) -> bytes:
        header = member("pax", len(text), type=b"x")
        return header.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512)

    assert whole_tar(io.BytesIO(pax(b"6 a=b\n" * 170_000 + b"10 size=3\n") * 2 + archive(member())), {}) == ()
    large = b"1000000 a=" + b"b" * 999_989 + b"\n"
    assert "too many headers of one member" in refused(pax(large) * 17 + archive(member()))


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


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_what_has_no_data_has_no_size(kind):
    """Some tars pass over so many bytes, others take them for the next header."""
    header = member("link", 700, type=kind, linkname="a").tobuf()
    assert "with a size" in refused(header + bytes(2048))


def test_a_prefix_of_a_header_that_is_not_posix_is_refused():
    header = bytearray(member("passwd", 0).tobuf(tarfile.GNU_FORMAT))
    header[345:348] = b"etc"
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
    assert "prefix" in refused(bytes(header) + bytes(1024))
