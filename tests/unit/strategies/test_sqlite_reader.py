"""Reading a database that nobody may write to: at one moment, whole, or not at all."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from strategies.sqlite_check import PARTLY
from strategies.sqlite_reader import Unreadable, at_rest, begun, main, reading
from tests.kit.shelf import COUNTS, shelf, spoilt


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """In WAL mode, with two tables of 100 and 1 rows, its log gone with its last connection."""
    path = tmp_path.resolve() / "o'dd name?%41.db"
    with closing(writer(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE item (n INTEGER PRIMARY KEY, text)")
        connection.executemany("INSERT INTO item (text) VALUES (?)", [("x" * 500,)] * 100)
        connection.execute('CREATE TABLE "two ""quoted"" words\t" AS SELECT 1')
    assert not path.with_name(f"{path.name}-wal").exists()
    return path


def writer(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def program(question: str, path: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "strategies.sqlite_reader", question, str(path)], capture_output=True, check=False
    )


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM item").fetchone()[0])


def test_a_copy_has_what_is_only_in_the_log_of_a_writer_and_not_what_he_has_not_committed(database, tmp_path):
    with closing(writer(database)) as connection:
        connection.execute("INSERT INTO item (text) VALUES ('committed')")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO item (text) VALUES ('not yet')")
        done = program("copy", database)
    (tmp_path / "copy").write_bytes(done.stdout)
    assert rows(tmp_path / "copy") == 101


def test_rows_are_counted_by_table(database):
    assert program("count", database).stdout == b'100\titem\n1\ttwo "quoted" words \n'


def test_what_is_not_here_keeps_nothing_from_being_copied(tmp_path):
    shelf(path := tmp_path.resolve() / "shelf.db")
    done = program("copy", path)
    assert (done.returncode, done.stdout[100:]) == (PARTLY, path.read_bytes()[100:])
    for word in (b"shelf.db: ", b"movie (no such collation sequence: naturalsort)", b"note (", b"plain()"):
        assert word in done.stderr
    counted = [line.split("\t") for line in program("count", path).stdout.decode().splitlines()]
    assert {name: int(number) for number, name in counted} == COUNTS


@pytest.mark.parametrize("what", ["movie", "by_title", "note", "usual"])
def test_what_is_damaged_is_no_copy_also_where_its_neighbours_cannot_be_compared(what, tmp_path):
    shelf(path := tmp_path.resolve() / "shelf.db")
    path.write_bytes(spoilt(path, what))
    done = program("copy", path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"shelf.db: " in done.stderr


def elsewhere(path: Path, *statements: str) -> None:
    """In another process, since locks are a process's own."""
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)"
    script += "; [c.execute(statement) for statement in sys.argv[2:]]; c.close()"
    subprocess.run([sys.executable, "-c", script, str(path), *statements], check=True)


def test_at_rest_a_database_is_read_while_others_open_write_and_close_it(database, tmp_path):
    with at_rest(database) as connection, closing(writer(tmp_path / "copy")) as target:
        elsewhere(database, "INSERT INTO item (text) VALUES ('y')")
        connection.backup(target)
        assert target.execute("SELECT count(*) FROM item").fetchone() == (100,)
    assert rows(database) == 101


def test_at_rest_a_database_that_changes_nevertheless_is_refused(database):
    with pytest.raises(Unreadable, match="changed"), at_rest(database):
        elsewhere(database, "DELETE FROM item", "PRAGMA wal_checkpoint")


def test_at_rest_a_database_is_not_read_while_somebody_has_it_for_himself(database):
    script = f"import fcntl; f = open({str(database)!r}, 'rb+'); fcntl.lockf(f, fcntl.LOCK_EX, 510, {0x40000002})"
    command = [sys.executable, "-c", f"{script}; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        owner.stdout.readline()
        with pytest.raises(Unreadable, match="locked"), at_rest(database):
            pass
        owner.communicate(b"\n")


def test_the_times_of_a_file_are_trusted_once_they_are_old_enough(database):
    os.utime(database)
    with at_rest(database):
        assert time.time_ns() - database.stat().st_mtime_ns >= 100_000_000


def test_a_log_that_nobody_has_read_into_its_database_is_not_passed_over(database):
    database.with_name(f"{database.name}-wal").write_bytes(b"x")
    with pytest.raises(Unreadable, match="recovered"), at_rest(database):
        pass


def test_a_symbolic_link_is_refused_since_the_log_lies_elsewhere(database, tmp_path):
    (tmp_path / "link.db").symlink_to(database)
    with pytest.raises(Unreadable, match="symbolic link"), reading(tmp_path.resolve() / "link.db"):
        pass


def test_a_copy_whose_index_and_table_differ_is_not_sent(database, capsys):
    elsewhere(database, "INSERT INTO item (text) VALUES ('needle')", "CREATE INDEX by_text ON item (text)")
    database.write_bytes(database.read_bytes().replace(b"needle", b"noodle", 1))
    assert main(["copy", str(database)]) == 1
    printed = capsys.readouterr()
    assert f"{database}: integrity check: row 101 missing from index by_text" in printed.err
    assert printed.out == ""


def test_a_missing_database_is_told_with_its_path(capsys):
    assert main(["count", "/nowhere.db"]) == 1
    assert "/nowhere.db: " in capsys.readouterr().err


def test_a_transaction_has_begun_before_anything_is_read(database):
    with begun(database, "mode=ro") as connection:
        assert connection.in_transaction
