import importlib.util
import io
import os
import sqlite3
import subprocess

import pytest
from pydantic import ValidationError

from strategies.base import Answer, Container, Facts, NeedsHelper, Unsuitable
from strategies.plan import Exec, Incomplete
from strategies.sqlite import Sqlite, SqliteOptions, whole_database
from strategies.sqlite_find import FIND_DATABASES

CONTAINER = Container("1f", "shop-app-1", "shop:1", mounts=("/data", "/etc/one.db"))
CLIENT = Answer(0, "3.46.1 2024-08-13\n")
ABSENT = Answer(127)


def plan(*, shell="sh", client=CLIENT, listing="database /data/shop.db\n", helper=False, paths=("/data/shop.db",)):
    facts = Facts(shell, {"client": client, "databases": Answer(0, listing)}, helper=helper)
    return Sqlite().plan(CONTAINER, facts, SqliteOptions(paths=paths))


def database(path, pages=4, page_size=512):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size = {page_size}")
    connection.execute("CREATE TABLE item (name)")
    connection.execute("INSERT INTO item VALUES (zeroblob(?))", (pages * page_size,))
    connection.commit()
    connection.close()
    return path.read_bytes()


def looked(*paths):
    return subprocess.run(["sh", "-c", FIND_DATABASES, "sh", *paths], capture_output=True, text=True, check=True).stdout


def test_each_database_is_a_dump_whose_path_is_no_option_and_no_url():
    dumps = plan(listing="database /data/b.db\ndatabase /data/a?mode=ro&x=%41.db\n").dumps
    assert [dump.name for dump in dumps] == ["data%2Fa%3Fmode%3Dro%26x%3D%2541.db.sqlite", "data%2Fb.db.sqlite"]
    assert isinstance(dumps[0].source, Exec)
    assert dumps[0].source.argv[-2] == "file:/data/a%3Fmode%3Dro%26x%3D%2541.db?mode=rw"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"client": ABSENT}, "no-client"),
        ({"shell": None}, "no-client"),
        ({"listing": ""}, "no-database"),
        ({"listing": "missing /data/x.db\n"}, "missing-path"),
        ({"listing": "folder /data\n"}, "no-database"),
        ({"listing": "database -x\n"}, "unreadable-answer"),
        ({"listing": "database /data/\0.db\n"}, "unreadable-answer"),
        ({"listing": "database /data/a.db\nother /data/encrypted.db\n"}, "no-database"),
        ({"listing": "".join(f"database /data/{number:05}.db\n" for number in range(2001))}, "too-many"),
    ],
)
def test_what_keeps_a_dump_from_working_is_known_beforehand(change, code):
    with pytest.raises(Unsuitable) as refused:
        plan(**change)
    assert refused.value.code == code


@pytest.mark.parametrize("change", [{"client": ABSENT}, {"shell": None}])
def test_without_a_client_a_helper_would_do(change):
    with pytest.raises(NeedsHelper):
        plan(**change)


def test_a_helper_reads_by_the_program_that_it_brings_along():
    (dump,) = plan(client=ABSENT, helper=True).dumps
    assert isinstance(dump.source, Exec)
    assert dump.source.argv == ("python", "-m", "strategies.sqlite_reader", "copy", "/data/shop.db")
    assert importlib.util.find_spec(dump.source.argv[2])
    assert "--volumes-from shop-app-1 " in dump.restore
    assert dump.restore.endswith(" /data/shop.db && docker start shop-app-1)")


@pytest.mark.parametrize(
    ("listing", "code"),
    [
        ("database /etc/one.db\n", "not-mounted"),
        ("missing /srv/shop.db\n", "not-mounted"),
        ("database /database/shop.db\n", "not-mounted"),
        ("missing /data/no.db\n", "missing-path"),
        ("other /etc/one.db\n", "not-mounted"),
    ],
)
def test_a_helper_reads_only_what_it_sees_with_all_that_belongs_to_it(listing, code):
    named = listing.partition(" ")[2].rstrip()
    with pytest.raises(Unsuitable) as refused:
        plan(listing=listing, helper=True, paths=(named,))
    assert refused.value.code == code


def test_what_looks_like_a_database_and_is_none_is_told_and_keeps_no_other_from_being_dumped():
    listing = "other /data/c.db\nempty /data/e.db\nunseen find: '/data/own': Permission denied\ndatabase /data/a.db\n"
    found = plan(listing=listing + "odd /data/...x.db\ndatabase /data/\ufffd.db\nmissing /data/b\n", paths=())
    assert [dump.subject for dump in found.dumps] == ["/data/a.db"]
    assert [warning.partition(":")[0] for warning in found.warnings] == [
        "not-sqlite",
        "empty",
        "odd-name",
        "not-searched",
    ]
    assert "/data/...x.db, /data/\ufffd.db" in found.warnings[2]


@pytest.mark.parametrize(
    ("mounts", "tmpfs", "found"),
    [
        (("/data",), (), True),
        (("/data",), ("/data/cache",), False),
        (("/", "/data/cache"), ("/data",), True),
        ((), (), True),
        (("/dat",), ("/data",), False),
    ],
)
def test_memory_that_a_volume_lies_in_is_a_volume(mounts, tmpfs, found):
    facts = Facts("sh", {"client": CLIENT, "databases": Answer(0, "memory /data/cache/a.db\ndatabase /srv/b.db\n")})
    plan = Sqlite().plan(Container("1f", "app", "app:1", mounts, tmpfs), facts, SqliteOptions())
    assert [dump.subject for dump in plan.dumps] == ["/data/cache/a.db", "/srv/b.db"][0 if found else 1 :]
    assert bool(plan.warnings) is not found


def test_a_helper_tells_too_what_it_leaves_out():
    listing = "database /data/a.db\nother /etc/one.db\nunseen find: '/data/own': Permission denied\n"
    found = plan(listing=listing, helper=True, paths=())
    assert [dump.subject for dump in found.dumps] == ["/data/a.db"]
    assert [warning.partition(":")[0] for warning in found.warnings] == ["not-sqlite", "not-searched"]


@pytest.mark.parametrize("path", ["shop.db", "/data/../etc/shop.db"])
def test_a_path_is_absolute(path):
    with pytest.raises(ValidationError):
        SqliteOptions(paths=(path,))


def test_named_paths_are_told_apart(tmp_path):
    odd = tmp_path / 'o\'dd "name".db'
    database(odd)
    (tmp_path / "notes.db").write_text("SQLite is a library")
    answer = looked(str(odd), str(tmp_path), str(tmp_path / "notes.db"), str(tmp_path / "no.db"))
    assert [line.split(" ")[0] for line in answer.splitlines()] == ["database", "folder", "other", "missing"]
    assert answer.startswith(f"database {odd}\n")


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_a_database_is_as_long_as_its_header_says(page_size, tmp_path):
    content = database(tmp_path / "x.db", page_size=page_size)
    assert whole_database(io.BytesIO(content), {}) == ()
    for wrong in (content[:-page_size], content + bytes(page_size), b"x" + content[1:]):
        with pytest.raises(Incomplete):
            whole_database(io.BytesIO(wrong), {})


def test_the_copy_goes_where_there_is_room_and_is_gone_when_it_was_sent(tmp_path):
    database(tmp_path / "shop.db")
    (dump,) = plan(listing=f"database {tmp_path}/shop.db\n").dumps
    environ = os.environ | {"TMPDIR": str(tmp_path / "missing")}
    done = subprocess.run(dump.source.argv, capture_output=True, check=False, env=environ)
    assert (done.returncode, len(done.stdout)) == (0, (tmp_path / "shop.db").stat().st_size), done.stderr
    whole_database(io.BytesIO(done.stdout), {})
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


def test_without_room_anywhere_it_is_said_what_each_folder_has(tmp_path):
    """`df` tells that all is full, as a disk would."""
    database(tmp_path / "shop.db")
    (tmp_path / "df").write_text("#!/bin/sh\necho head; echo overlay 9 9 1 100% /\n")
    (tmp_path / "df").chmod(0o755)
    (dump,) = plan(listing=f"database {tmp_path}/shop.db\n").dumps
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(dump.source.argv, capture_output=True, check=False, env={"PATH": path})
    assert done.returncode != 0
    assert f"1 KiB in {tmp_path}/, 1 KiB in /dev/shm; name another folder by backup.env.TMPDIR" in done.stderr.decode()
    assert done.stdout == b""
