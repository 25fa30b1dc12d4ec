"""What each strategy decides for a restore, and what guards and counts make of a stream."""

import io
import re
import subprocess
import tarfile
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backup.counts import compared, settled
from controller.backup.jobs import Jobs
from controller.core.errors import Busy, RestoreUnderWay
from controller.core.events import Bus
from controller.core.key import Key
from controller.core.manifest import Artifact
from controller.storage.catalog import Catalog
from strategies.base import Answer, Container, Facts, Unsuitable
from strategies.checks import count_tar, read_counts, safe_tar, safe_tar_without_holes
from strategies.filesystem import Filesystem, FilesystemOptions
from strategies.filesystem_part import Part
from strategies.filesystem_restore import OCCUPIED
from strategies.mysql import Mysql, MysqlOptions
from strategies.plan import Archive, Count, Exec, Feed, Put, RestoreRequest, Run, StoredDump, Unsafe
from strategies.postgres import Postgres, PostgresOptions
from strategies.postgres_sql import identifier, literal

RUN = "20260301T030000Z-1a2b3c4d"
BOX = Container("1f", "shop-app-1", "shop:1")
GNU, BUSYBOX, NONE = Answer(0, "tar (GNU tar) 1.35\n"), Answer(0, "tar (busybox) 1.37.0\n"), Answer(127)
FILES = (StoredDump("files.tar", "tar", "/data '/srv/a b'"),)
ARCHIVES = (StoredDump("srv%2Fdata.tar", "tar", "/srv/data"), StoredDump("data.tar", "tar", "/data"))


def of_files(tar=GNU, artifacts=FILES, **wanted):
    facts = Facts(None if tar is NONE else "sh", {"tar": tar})
    return Filesystem().restore(BOX, facts, FilesystemOptions(), RestoreRequest(RUN, artifacts, **wanted))


def archive(*members, **options):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return io.BytesIO(file.getvalue())


def member(name, kind=tarfile.REGTYPE, link="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


# --- files


def test_files_go_into_a_new_folder_that_goes_again_when_the_restore_fails():
    made, fed = of_files().steps
    assert made == Run(("mkdir", "-p", f"/restore-{RUN}"), undo=("rm", "-rf", f"/restore-{RUN}"))
    assert isinstance(fed, Feed)
    assert f"--directory=/restore-{RUN}" in fed.argv


@pytest.mark.parametrize("wanted", [{"replace": True, "into": "/srv/x"}, {"in_place": True}, {"into": "/srv/x"}])
def test_where_something_may_be_it_is_unpacked_beside_compared_and_then_exchanged(wanted):
    restore = of_files(**wanted)
    (fed,), (swapped,), (cleared,) = restore.steps, restore.swap, restore.finish
    assert isinstance(fed, Feed)
    assert fed.undo == swapped.undo
    assert restore.counts["files.tar"].source.argv[-2:] == fed.argv[-2:] == cleared[-2:]
    assert fed.rewrite is None


def test_each_mount_gets_its_own_members_and_the_folders_above_a_mount_stay():
    mounts = ("/data/a/deep", "/srv/a b")
    facts, request = Facts("sh", {"tar": GNU}), RestoreRequest(RUN, FILES, in_place=True)
    container = Container("1f", "shop-app-1", "shop:1", mounts=mounts, tmpfs=("/data/tmp",))
    restore = Filesystem().restore(container, facts, FilesystemOptions(), request)
    assert [tuple(place for place in step.argv if place[1:2] == "/") for step in restore.steps] == [
        ("0/data/a/deep",),
        *(("1/data/a", "4/data"), ("2/data/tmp",), ("3/srv/a b",)),
    ]
    content = archive(member("./data/one", size=700), member("./data/a/deep/two", size=3), member("./srv/a b"))
    (deep, outer, _, _) = (b"".join(step.rewrite(iter([content.getvalue()]))) for step in restore.steps)
    with tarfile.open(fileobj=io.BytesIO(deep)) as tar:
        assert tar.getnames() == ["./data/a/deep/two"]
    with tarfile.open(fileobj=io.BytesIO(outer)) as tar:
        assert tar.extractfile("./data/one").read() == b"x" * 700
    assert count_tar(io.BytesIO(outer))["files"] == 1


def test_an_archive_that_is_cut_is_no_part_of_one():
    content = archive(member("./data/one", size=700)).getvalue()[:900]
    with pytest.raises(Unsafe, match="cut off"):
        b"".join(Part("", frozenset(["/data"]), frozenset(["/data", "/srv"]))(iter([content])))


def test_without_a_shell_nothing_is_exchanged_and_a_mirror_is_refused():
    assert of_files(NONE, ARCHIVES, in_place=True, replace=True).warnings[0].startswith("no-undo")
    with pytest.raises(Unsuitable) as error:
        of_files(NONE, ARCHIVES, in_place=True, replace=True, mirror=True)
    assert error.value.code == "no-mirror"


def test_what_was_restored_is_read_again_from_there():
    assert of_files().counts["files.tar"].source.argv[-2:] == ("./data", "./srv/a b")
    assert f"--directory=/restore-{RUN}" in of_files().counts["files.tar"].source.argv


def test_archives_of_the_engine_go_where_their_names_begin():
    puts = [step for step in of_files(NONE, ARCHIVES).steps if isinstance(step, Put)]
    assert [put.folder for put in puts] == [f"/restore-{RUN}/srv", f"/restore-{RUN}"]
    assert of_files(NONE, ARCHIVES).counts["srv%2Fdata.tar"].source == Archive(f"/restore-{RUN}/srv/data")
    in_place = of_files(NONE, ARCHIVES, in_place=True)
    assert [step.folder for step in in_place.steps] == ["/srv", "/"]
    assert in_place.occupied == (Archive("/srv/data"), Archive("/data"))


def test_a_tar_of_the_target_takes_archives_of_the_engine_too():
    fed = [step for step in of_files(BUSYBOX, ARCHIVES).steps if isinstance(step, Feed)]
    assert [step.argv[-1] for step in fed] == [f"/restore-{RUN}/srv", f"/restore-{RUN}"]
    fed = of_files(BUSYBOX, ARCHIVES, into="/back").steps
    assert [step.argv[-1] for step in fed] == ["0/back/srv/data", "1/back/data"]


@pytest.mark.parametrize("folder", ["back", "/", "/proc/x", "/a/../etc"])
def test_a_folder_that_means_trouble_is_refused(folder):
    with pytest.raises(Unsuitable) as error:
        of_files(into=folder)
    assert error.value.code == "bad-folder"


def test_a_run_that_does_not_tell_its_paths_is_refused():
    with pytest.raises(Unsuitable) as error:
        of_files(artifacts=(StoredDump("files.tar", "tar", ""),))
    assert "--to-file" in error.value.hint


def by_user(*places, user=1000, tmpfs=(), **wanted):
    """The restore of a container whose user may write into these folders."""
    said = "".join(f"{line}\n" for line in (*places, user))
    facts = Facts("sh", {"tar": GNU, "places": Answer(0, said)})
    box = Container("1f", "shop-app-1", "shop:1", tmpfs=tmpfs)
    return Filesystem().restore(box, facts, FilesystemOptions(), RestoreRequest(RUN, FILES, **wanted))


def test_who_may_not_write_everywhere_gets_a_folder_on_a_disk_where_that_is_allowed():
    assert by_user("/var/tmp", "/tmp").where == f"the folder /var/tmp/restore-{RUN}"
    assert by_user("/var/tmp", "/tmp", tmpfs=("/var/tmp",)).where == f"the folder /tmp/restore-{RUN}"
    with pytest.raises(Unsuitable) as error:
        by_user("/tmp", tmpfs=("/tmp",))
    assert error.value.code == "no-place"
    assert by_user(in_place=True).steps


def test_who_is_not_root_is_told_what_becomes_of_owners():
    content = archive(member("./data"), member("./data/own"), member("./data/other"))
    assert by_user("/", user=0).guards["files.tar"](content) == ()
    (told,) = by_user("/").guards["files.tar"](io.BytesIO(content.getvalue()))
    assert told.startswith("owners-not-set: 3 of its entries are not of user 1000")


def test_only_gnu_tar_gets_files_with_holes():
    assert of_files(GNU).guards["files.tar"] is safe_tar
    assert of_files(NONE).guards["files.tar"] is safe_tar
    assert of_files(BUSYBOX).guards["files.tar"] is safe_tar_without_holes


def test_what_lies_there_is_named_and_an_empty_folder_is_nothing(tmp_path):
    for name in ("full", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/-x y").touch()
    (tmp_path / "full/.hidden").touch()
    (tmp_path / "empty/lost+found").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    paths = [str(tmp_path / name) for name in ("full", "empty", "link", "missing")]
    said = subprocess.run(["sh", "-c", OCCUPIED, "sh", *paths], capture_output=True, text=True, check=True).stdout
    assert sorted(said.splitlines()) == sorted([f"{paths[0]}/-x y", f"{paths[0]}/.hidden", paths[2]])


# --- guards and counts of a tar


@pytest.mark.parametrize(
    ("said", "members"),
    [
        ("absolute", [member("/etc/passwd")]),
        ("leads out", [member("a/../../b")]),
        ("leads out", [member("..")]),
        ("device", [member("null", tarfile.CHRTYPE)]),
        ("device", [member("disk", tarfile.BLKTYPE)]),
        ("through a symbolic link", [member("way", tarfile.SYMTYPE, "/etc"), member("./way//x")]),
        ("through a symbolic link", [member("a/way", tarfile.SYMTYPE, ".."), member("a/way/b/x")]),
        ("leads out", [member("hard", tarfile.LNKTYPE, "../x")]),
        ("absolute", [member("hard", tarfile.LNKTYPE, "/etc/passwd")]),
        ("through a symbolic link", [member("w", tarfile.SYMTYPE, "/"), member("h", tarfile.LNKTYPE, "w/etc/passwd")]),
        (
            "through a symbolic link",
            [member("w", tarfile.SYMTYPE, "/"), member("also", tarfile.LNKTYPE, "w"), member("also/x")],
        ),
        ("takes the place", [member("way", tarfile.SYMTYPE, "/etc/passwd"), member("way", size=3)]),
    ],
)
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_member_that_could_be_written_elsewhere_is_refused(said, members, kind):
    with pytest.raises(Unsafe, match=said):
        safe_tar(archive(member("innocent", size=700), *members, format=kind))


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_long_name_is_looked_at_as_a_whole(kind):
    with pytest.raises(Unsafe, match="leads out"):
        safe_tar(archive(member("long/" * 60 + "../" * 61 + "etc"), format=kind))
    with pytest.raises(Unsafe, match="leads out"):
        safe_tar(archive(member("x", tarfile.LNKTYPE, "long/" * 60 + "../" * 61 + "etc"), format=kind))


def test_a_tar_that_passes_over_pax_headers_is_looked_at_as_it_reads():
    """For others the second member has a long name of its own."""
    link = member("way" + "y" * 97, tarfile.SYMTYPE, "/")
    through = member("way" + "y" * 97 + "/passwd")
    through.pax_headers = {"path": "innocent"}
    stream = archive(link, through, format=tarfile.PAX_FORMAT)
    safe_tar(stream)
    stream.seek(0)
    with pytest.raises(Unsafe, match="takes the place"):
        safe_tar_without_holes(stream)


def test_a_file_that_is_named_like_a_folder_is_refused():
    with pytest.raises(Unsafe, match="named like a folder"):
        safe_tar(archive(member("data/", size=3)))


def test_links_that_lead_anywhere_are_data_as_long_as_nothing_goes_through_them():
    safe_tar(
        archive(
            member("./data", tarfile.DIRTYPE),
            member("./data/root", tarfile.SYMTYPE, "/"),
            member("./data/up", tarfile.SYMTYPE, "../.."),
            member("./data/hard", tarfile.LNKTYPE, "./data/root"),
            member("./data/rootless"),
            member("./data/a..b/..c"),
        )
    )


def test_the_numbers_of_a_tar_tell_files_bytes_folders_and_links():
    assert count_tar(
        archive(
            member("d", tarfile.DIRTYPE),
            member("d/a", size=700),
            member("d/b", size=1),
            member("d/s", tarfile.SYMTYPE, "a"),
            member("d/h", tarfile.LNKTYPE, "d/a"),
            member("d/p", tarfile.FIFOTYPE),
        )
    ) == {"files": 2, "bytes": 701, "folders": 1, "links": 1, "hard links": 1, "others": 1}


def test_the_bytes_of_a_file_with_holes_are_those_that_a_reader_sees(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10_000_000)
        file.write(b"head")
    for kind in ("gnu", "posix"):
        argv = ["tar", "-c", f"--format={kind}", "--sparse", "-C", str(tmp_path), "./sparse"]
        stream = subprocess.run(argv, capture_output=True, check=True).stdout
        assert count_tar(io.BytesIO(stream))["bytes"] == 10_000_000
        safe_tar(io.BytesIO(stream))
        with pytest.raises(Unsafe, match=r"'\./sparse' has holes"):
            safe_tar_without_holes(io.BytesIO(stream))


# --- databases

POSTGRES = Facts(
    "sh",
    {
        "client": Answer(0, "pg_dump (PostgreSQL) 17.12\n"),
        "ready": Answer(0),
        "server": Answer(
            0,
            '{"version": 170012, "name": "17.12", "user": "app", "roles": true, "databases": [], "closed": []}',
        ),
    },
)


def of_postgres(*artifacts, **wanted):
    return Postgres().restore(BOX, POSTGRES, PostgresOptions(), RestoreRequest(RUN, artifacts, **wanted))


def test_roles_come_before_the_databases_whose_owners_they_are():
    restore = of_postgres(StoredDump("shop.pgdump", "pg_custom", "shop"), StoredDump("globals.sql", "pg_globals", ""))
    fed = [step.artifact for step in restore.steps if isinstance(step, Feed)]
    assert fed == ["globals.sql", "shop.pgdump"]


def test_a_database_is_loaded_under_another_name_and_takes_its_own_at_the_end():
    restore = of_postgres(StoredDump("shop.pgdump", "pg_custom", "shop"), restore="20260302T030000Z-aaaaaaaa")
    (fed,) = restore.steps
    sent_away, swapped = restore.swap
    loaded, aside = "restore-20260302T030000Z-aaaaaaaa-0", "before-20260302T030000Z-aaaaaaaa-0"
    assert f'drop database if exists "{loaded}"' in " ".join(fed.undo)
    assert f"dbname='{loaded}'" in " ".join(restore.counts["shop.pgdump"].source.argv)
    assert "allow_connections false" in " ".join(sent_away.argv)
    assert "allow_connections true" in " ".join(sent_away.undo)
    assert f'alter database "{loaded}" rename to "shop"' in " ".join(swapped.argv)
    assert f'alter database "{aside}" rename to "shop"' in " ".join(swapped.undo)
    assert f'drop database if exists "{aside}"' in " ".join(restore.finish[-1])


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_name_is_one_identifier_and_one_literal(name):
    quoted = re.fullmatch(r'"((?:[^"]|"")*)"', identifier(name), re.DOTALL)
    assert quoted
    assert quoted[1].replace('""', '"') == name
    text = re.fullmatch(r" E'((?:[^'\\]|''|\\\\)*)'", literal(name), re.DOTALL)
    assert text
    assert text[1].replace("''", "'").replace("\\\\", "\\") == name


def of_mysql(*artifacts, aside="3", **wanted):
    answers = {"mariadb-dump": Answer(0), "mysqldump": Answer(127), "databases": Answer(0, "")}
    answers |= {"history": Answer(0), "account": Answer(0, "root\n\n"), "aside": Answer(0, f"{aside}\n")}
    return Mysql().restore(BOX, Facts("sh", answers), MysqlOptions(), RestoreRequest(RUN, artifacts, **wanted))


DUMPED = (StoredDump("a%60b.sql", "mysql", "a`b"), StoredDump("users.grants", "mysql_users", ""))


def test_mariadbs_accounts_come_before_the_swap_and_their_grants_after_it():
    restore = of_mysql(*DUMPED)
    assert [getattr(step, "artifact", "") for step in restore.steps] == ["", "a%60b.sql", "users.grants"]
    assert [getattr(step, "artifact", "") for step in restore.swap] == ["", "users.grants", "", ""]
    assert all(step.undo for step in (*restore.steps, *restore.swap))


def test_an_account_of_mariadb_that_may_not_make_databases_fills_empty_ones_only():
    restore = of_mysql(*DUMPED, aside="1")
    loads = ["users.grants", "a%60b.sql", "a%60b.sql", "users.grants", "a%60b.sql"]
    assert [step.artifact for step in restore.steps] == loads
    assert restore.steps[1].undo[-2] == "drop database if exists `a``b`; create database `a``b`"
    with pytest.raises(Unsuitable, match="root may not make databases"):
        of_mysql(*DUMPED, aside="1", replace=True)


def test_a_run_of_an_older_release_tells_its_database_by_the_artifacts_name():
    assert of_mysql(StoredDump("a%60b.sql", "mysql", "")).where == "databases a`b"
    assert of_postgres(StoredDump("a%20b.pgdump", "pg_custom", "")).where == "databases a b"


def test_questions_about_what_is_there_are_asked_of_every_database():
    restore = of_postgres(StoredDump("a.pgdump", "pg_custom", "a"), StoredDump("b.pgdump", "pg_custom", "b"))
    assert len(restore.occupied) == 2
    assert all(isinstance(question, Exec) for question in restore.occupied)


# --- numbers

COUNTED = Artifact(
    name="shop.sql.zst",
    format="mysql",
    compression="zstd",
    size=1,
    sha256="",
    plain_size=1,
    plain_sha256="",
    proof="full",
    counts={"rows of item": 3, "rows of audit": 5, "views": 0},
    approximate=("rows of audit",),
)


ASKED = Count(Exec(("count",)), read_counts)


def test_numbers_that_stay_are_exact_and_what_came_or_went_is_not_counted():
    found = settled({"a": 1, "b": 2, "gone": 3}, {"a": 1, "b": 4, "new": 5})
    assert (found.numbers, found.approximate) == ({"a": 1, "b": 2}, ("b",))


def test_the_same_numbers_and_something_new_are_no_difference():
    found = compared(COUNTED, {"rows of item": 3, "rows of audit": 5, "views": 0, "rows of new": 9}, ASKED)
    assert (found.differences, found.warnings) == ((), ())


def test_what_is_missing_or_differs_is_named_with_its_likely_cause_and_an_approximate_number_only_warned_of():
    found = compared(COUNTED, {"rows of item": 2, "rows of audit": 6}, ASKED)
    item, views = found.differences
    assert item.startswith("shop.sql.zst: rows of item: 2, 3 were counted; something deleted between the count and")
    assert views == "shop.sql.zst: views: none, 0 were counted; the dump lacks it"
    (audit,) = found.warnings
    assert audit.startswith("approximate: shop.sql.zst: rows of audit: 6, 5 were counted; something wrote while")
    assert "rows of audit: none, 5 were counted" in " ".join(compared(COUNTED, {}, ASKED).differences)


def test_what_a_server_makes_anew_is_a_warning_that_says_why():
    asked = replace(ASKED, remade=lambda what, counted, restored: "it is filled anew" if what == "rows of item" else "")
    found = compared(COUNTED, {"rows of item": 500, "rows of audit": 5, "views": 0}, asked)
    assert found.differences == ()
    assert found.warnings == ("made-anew: shop.sql.zst: it is filled anew: rows of item: 500, 3 were counted",)


# --- the lock

DB, WEB = Key(project="shop", service="db"), Key(project="shop", service="web")


@pytest.fixture
def catalog(tmp_path):
    with closing(Catalog(tmp_path / "catalog.sqlite")) as made:
        yield made


def test_a_held_target_is_run_only_by_its_holder(catalog):
    jobs = Jobs(lambda job: job.update(state="succeeded"), catalog, 2, Bus())
    jobs.reserve([DB, WEB], RUN)
    for key in (DB, WEB):
        with pytest.raises(RestoreUnderWay, match="is being restored"):
            jobs.start(key, "api")
    assert jobs.start(DB, "restore", holder=RUN).future.result(5).state == "succeeded"
    jobs.release(RUN)
    assert jobs.start(WEB, "api").future.result(5).state == "succeeded"


def test_a_target_that_runs_cannot_be_held_nor_any_other_with_it(catalog):
    go = threading.Event()
    jobs = Jobs(lambda job: job.update(state="succeeded") if go.wait(5) else job.report, catalog, 2, Bus())
    job = jobs.start(DB, "api")
    with pytest.raises(Busy):
        jobs.reserve([WEB, DB], RUN)
    jobs.reserve([WEB], "another")
    go.set()
    assert job.future.result(5).state == "succeeded"
