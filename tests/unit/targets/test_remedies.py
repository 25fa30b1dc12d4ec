"""The next step after a command of a restore has failed: each kind of failure has its own."""

import pytest

from controller.core.errors import CommandFailed
from controller.engine.context import ExecContext
from controller.engine.models import ExecResult
from controller.targets.remedies import KINDS, OTHER, always, kind_of, restoring
from controller.targets.session import Session, reason

SAID = [
    ("memory", 137, ""),
    ("memory", 137, "Killed\n"),
    ("memory", 137, "the kernel killed something in the container for memory while the command ran"),
    ("memory", 1, "ERROR:  out of memory\nDETAIL:  Failed on request of size 1073741820."),
    ("server's memory", 1, "(error) OOM command not allowed when used memory > 'maxmemory'."),
    (
        "shared memory",
        1,
        'ERROR:  could not resize shared memory segment "/PostgreSQL.1" to 8388608 bytes: No space left on device',
    ),
    ("disk", 1, 'pg_restore: error: ERROR:  could not extend file "base/1": No space left on device'),
    ("disk", 2, "tar: ./a: Cannot write: No space left on device\ntar: Exiting with failure status"),
    ("disk", 1, "ERROR 1114 (HY000) at line 38: The table 'item' is full"),
    ("disk", 1, "Error: database or disk is full"),
    ("disk", 2, "tar: ./random: Wrote only 4096 of 10240 bytes"),
    ("disk", 1, "tar: short write"),
    ("disk", 1, "mkdir: cannot create directory 'x': Disk quota exceeded"),
    ("read-only file system", 1, "mkdir: cannot create directory '/data/x': Read-only file system"),
    ("read-only file system", 1, "Error: attempt to write a readonly database"),
    ("read-only server", 1, "ERROR:  cannot execute CREATE DATABASE in a read-only transaction"),
    ("read-only server", 1, "(error) READONLY You can't write against a read only replica."),
    ("read-only server", 1, "ERROR 1290 (HY000) at line 1: The MariaDB server is running with the --read-only option"),
    (
        "password",
        2,
        'connection to server on socket "/run/x" failed: FATAL:  password authentication failed for user "a"',
    ),
    ("password", 1, "ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)"),
    ("password", 1, "NOAUTH Authentication required."),
    ("right", 3, "psql:<stdin>:1: ERROR:  permission denied to create database"),
    ("right", 1, "ERROR:  must be owner of table item"),
    ("right", 1, "ERROR 1044 (42000) at line 1: Access denied for user 'app'@'%' to database 'restore'"),
    ("right", 1, "ERROR 1142 (42000) at line 7: CREATE command denied to user 'app'@'localhost' for table `x`"),
    ("right", 1, "(error) NOPERM User app has no permissions to run the 'config|set' command"),
    ("right", 2, "mkdir: cannot create directory '/root/x': Permission denied"),
    ("right", 126, "sh: 1: /bin/tool: Permission denied"),
    ("connection", 1, "pg_restore: error: server closed the connection unexpectedly"),
    ("connection", 2, "FATAL:  terminating connection due to administrator command"),
    ("connection", 1, "ERROR 2013 (HY000) at line 5: Lost connection to server during query"),
    ("connection", 1, "ERROR 2006 (HY000) at line 5: Server has gone away"),
    ("connection", 1, "ERROR 2002 (HY000): Can't connect to local server through socket '/run/x.sock' (111)"),
    ("connection", 1, "Could not connect to Redis at 127.0.0.1:6379: Connection refused"),
    ("in use", 1, "ERROR 1205 (HY000) at line 3: Lock wait timeout exceeded; try restarting transaction"),
    ("in use", 1, 'ERROR:  database "shop" is being accessed by other users'),
    ("in use", 1, "Error: database is locked"),
    (
        "in use",
        1,
        "they are in use by session 7 of app@%, sleep for 27 s: end that, stop the app (--stop), or give --force",
    ),
    ("time limit", 1, "ERROR:  canceling statement due to statement timeout"),
    ("lacking", 1, 'ERROR:  extension "postgis" is not available'),
    ("lacking", 1, 'ERROR:  could not access file "$libdir/own": No such file or directory'),
    ("lacking", 1, "ERROR 1286 (42000) at line 4: Unknown storage engine 'ROCKSDB'"),
    ("version", 1, 'ERROR:  syntax error at or near "NOT"\nLINE 1: ...'),
    ("version", 1, 'ERROR:  unrecognized configuration parameter "transaction_timeout"'),
    ("version", 1, "pg_restore: error: unsupported version (1.16) in file header"),
    ("version", 1, "ERROR 1064 (42000) at line 9: You have an error in your SQL syntax; check the manual"),
    ("version", 1, "ERROR 1273 (HY000) at line 9: Unknown collation: 'utf8mb4_0900_ai_ci'"),
    ("version", 1, "the second server has ended: 7:C Can't handle RDB format version 12"),
    ("damaged", 1, "pg_restore: error: input file does not appear to be a valid archive"),
    ("damaged", 1, "Error: file is not a database"),
    ("no program", 127, "sh: 1: pg_restore: not found"),
    ("no program", 127, ""),
    ("signal", 143, "Terminated"),
    ("signal", 139, ""),
    ("", 1, 'ERROR:  role "auditor" does not exist'),
    ("", 3, ""),
]


@pytest.mark.parametrize(("kind", "code", "stderr"), SAID)
def test_each_kind_is_known_by_what_the_tools_say(kind: str, code: int, stderr: str) -> None:
    assert kind_of(code, reason(stderr)) == kind


def test_every_kind_has_an_example_and_a_step_of_its_own() -> None:
    assert {kind for kind, *_ in SAID} == {*KINDS, ""}
    steps = [each.step for each in KINDS.values()]
    assert len({*steps, OTHER}) == len(steps) + 1
    assert not [step for step in steps if "by hand" in step]


def test_what_is_told_of_a_failing_command_has_the_step_of_its_kind() -> None:
    session = Session(None, ExecContext("c"), str, restoring)  # type: ignore[arg-type]  # nothing is asked
    with pytest.raises(CommandFailed) as error:
        session.demand_success("tar", ExecResult(2, False, "tar: a: Cannot write: No space left on device"))
    assert error.value.hint == KINDS["disk"].step
    with pytest.raises(CommandFailed) as error:
        session.demand_success("tar", ExecResult(2, False, "tar: it rains"))
    assert error.value.hint == OTHER


def test_elsewhere_it_is_what_was_said_there() -> None:
    session = Session(None, ExecContext("c"), str, always("Mend it."))  # type: ignore[arg-type]  # nothing is asked
    with pytest.raises(CommandFailed) as error:
        session.demand_success("pre", ExecResult(137, False, ""))
    assert error.value.hint == "Mend it."
