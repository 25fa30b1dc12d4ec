import importlib.util
import io
import sqlite3
import subprocess

import pytest
from pydantic import ValidationError

from strategies.base import Answer, Container, Facts, NeedsHelper, Unsuitable
from strategies.plan import Exec, Incomplete
from strategies.sqlite import FIND_DATABASES, Sqlite, SqliteOptions, whole_database

CONTAINER = Container("1f", "shop-app-1", "shop:1", mounts=("/data", "/etc/one.db"))
CLIENT = Answer(0, "3.46.1 2024-08-13\n")
ABSENT = Answer(127)


def plan(*, shell="sh", client=CLIENT, listing="database /data/shop.db\n", helper=False):
    facts = Facts(shell, {"client": client, "databases": Answer(0, listing)}, helper=helper)
    return Sqlite().plan(CONTAINER, facts, SqliteOptions())


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
    assert dumps[0].source.argv[-1] == "file:/data/a%3Fmode%3Dro%26x%3D%2541.db?mode=rw"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"client": ABSENT}, "no-client"),
        ({"shell": None}, "no-client"),
        ({"listing": ""}, "no-database"),
        ({"listing": "missing /data/x.db\n"}, "missing-path"),
        ({"listing": "folder /data\n"}, "no-database"),
        ({"listing": "database /data/a.db\nother /data/encrypted.db\n"}, "no-database"),
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
    ],
)
def test_a_helper_reads_only_what_it_sees_with_all_that_belongs_to_it(listing, code):
    with pytest.raises(Unsuitable) as refused:
        plan(listing=listing, helper=True)
    assert refused.value.code == code


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
