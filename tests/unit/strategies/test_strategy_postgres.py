import io
import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.base import Answer, Container, Facts, Unsuitable
from strategies.plan import Exec, ExecCheck, Feed, Incomplete, RestoreRequest, StoredDump
from strategies.postgres import Postgres, PostgresOptions, whole_globals
from strategies.postgres_client import dbname
from strategies.postgres_sql import Afterwards, Beforehand, renamed_in, statements

CONTAINER = Container("1f", "shop-db-1", "postgres:17")
SERVER = {
    "version": 170012,
    "name": "17.12",
    "user": "app",
    "roles": True,
    "databases": ["postgres", "shop"],
    "closed": [],
}
GLOBALS = (Path(__file__).parents[2] / "contract/samples/globals.sql").read_bytes()
REFUSED = Answer(2, "", 'psql: error: connection failed:\nFATAL:  password authentication failed for user "app"\n')


def plan(*, shell="sh", client=None, ready=0, server=None, options=None, **said):
    answers = {
        "client": client or Answer(0, "pg_dump (PostgreSQL) 17.12 (Debian 17.12-0+deb13u1)\n"),
        "ready": Answer(ready),
        "server": server or Answer(0, json.dumps(SERVER | said)),
    }
    return Postgres().plan(CONTAINER, Facts(shell, answers), PostgresOptions.model_validate(options or {}))


def refused(**arguments):
    with pytest.raises(Unsuitable) as error:
        plan(**arguments)
    return error.value


@pytest.fixture
def ask(tmp_path):
    """Run an argv with a psql that tells its words and its account."""
    tool = tmp_path / "psql"
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$PGUSER" "$PGPASSWORD" "$@"\n')
    tool.chmod(0o755)

    def run(environment, **options):
        argv = Postgres().probes(PostgresOptions(**options))["server"]
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(argv, env=path | environment, capture_output=True, text=True, check=True)
        user, password, *words = done.stdout.split("\n")
        return user, password, words

    return run


def test_each_database_is_a_dump_after_the_globals_which_have_the_roles_that_it_needs():
    dumps = plan().dumps
    assert [(dump.name, dump.format) for dump in dumps] == [
        ("globals.sql", "pg_globals"),
        ("postgres.pgdump", "pg_custom"),
        ("shop.pgdump", "pg_custom"),
    ]
    assert isinstance(dumps[1].check, ExecCheck)


def test_named_databases_are_dumped_alone():
    assert [dump.name for dump in plan(options={"databases": "shop,shop"}).dumps] == ["globals.sql", "shop.pgdump"]


def test_a_database_that_nobody_may_connect_to_is_left_out_and_told():
    shut = plan(closed=["old"])
    assert [dump.name for dump in shut.dumps] == ["globals.sql", "postgres.pgdump", "shop.pgdump"]
    assert shut.warnings == ("left-out: the database old allows no connections, so it is not backed up",)
    assert not plan(closed=["old"], options={"databases": "shop"}).warnings


def test_what_a_count_tells_beside_its_numbers_is_no_number():
    count = plan().dumps[1].count
    assert count.read(io.BytesIO(b"left-out: the index a of b is invalid\n7\trows of public.a\n")) == {
        "rows of public.a": 7
    }
    with pytest.raises(Incomplete, match="right-out"):
        count.read(io.BytesIO(b"right-out: x\n7\trows of public.a\n"))


def test_a_database_that_is_not_there_is_refused_by_name():
    error = refused(options={"databases": "shop,shpo"})
    assert (error.code, error.message) == ("unknown-database", "there is no database shpo")
    assert "postgres, shop" in error.hint


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"shell": None}, "no-client"),
        ({"client": Answer(127)}, "no-client"),
        ({"ready": 1}, "not-ready"),
        ({"ready": 2}, "not-ready"),
        ({"server": REFUSED}, "refused"),
        ({"version": 180001}, "client-too-old"),
        ({"server": Answer(0, "[" * 10_000)}, "unreadable-answer"),
        ({"user": "a\0b"}, "unreadable-answer"),
    ],
)
def test_what_keeps_a_dump_from_working_is_known_beforehand(change, code):
    assert refused(**change).code == code


def test_a_refusal_repeats_the_servers_last_words():
    assert "password authentication failed" in refused(server=REFUSED).message


@pytest.mark.parametrize("version", [170099, 160001, 90624])
def test_a_client_as_new_as_the_server_is_enough(version):
    assert plan(version=version).dumps


def test_an_account_that_may_not_read_passwords_is_told():
    without_passwords = plan(roles=False)
    assert without_passwords.warnings[0].startswith("no-role-passwords")
    assert isinstance(without_passwords.dumps[0].source, Exec)
    assert "--no-role-passwords" in without_passwords.dumps[0].source.argv


@pytest.mark.parametrize("name", ["app", '"o\'b ""q"" ; é & \\1 PASSWORD \'md5a\'"'])
def test_by_hand_a_role_has_its_password_from_where_it_is_made(name):
    shown = f"COMMENT ON ROLE {name} IS 'x\nCREATE ROLE {name};\nALTER ROLE {name} WITH LOGIN PASSWORD ''md5b'';\n';\n"
    made = f"--\nCREATE ROLE {name};\nALTER ROLE {name} WITH LOGIN CONNECTION LIMIT -1"
    without = f"{made};\nCREATE ROLE other;\n"
    given = f"{made} PASSWORD 'SCRAM-SHA-256$4096:a/b+c==$x:y=' VALID UNTIL '2030-01-01';\n{shown}{without}"
    script, *_ = plan().dumps[0].restore.partition(" | ")
    done = subprocess.run(["sh", "-c", script], input=given, capture_output=True, text=True, check=True)

    assert done.stdout == (
        f"SET log_min_error_statement = panic;\n--\nCREATE ROLE {name} PASSWORD 'SCRAM-SHA-256$4096:a/b+c==$x:y=';\n"
        f"ALTER ROLE {name} WITH LOGIN CONNECTION LIMIT -1 VALID UNTIL '2030-01-01';\n{shown}{without}"
    )


@pytest.mark.parametrize(
    ("environment", "user", "password"),
    [
        ({}, "postgres", ""),
        ({"POSTGRES_PASSWORD": "pw"}, "postgres", "pw"),
        ({"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "p'w \"$x\\"}, "app", "p'w \"$x\\"),
        ({"POSTGRESQL_USERNAME": "app", "POSTGRESQL_PASSWORD": "pw"}, "app", "pw"),
        ({"PGUSER": "me", "PGPASSWORD": "mine", "POSTGRES_USER": "app", "POSTGRES_PASSWORD": "pw"}, "me", "mine"),
    ],
)
def test_the_targets_own_account_is_used_and_its_password_is_never_an_argument(ask, environment, user, password):
    found_user, found_password, words = ask(environment)
    assert (found_user, found_password) == (user, password)
    assert not password or password not in " ".join(words)


def test_user_and_password_may_be_in_files(ask, tmp_path):
    (tmp_path / "user").write_text("app\n")
    (tmp_path / "password").write_text("from a file\n")
    names = {"POSTGRES_USER_FILE": str(tmp_path / "user"), "POSTGRES_PASSWORD_FILE": str(tmp_path / "password")}
    assert ask(names)[:2] == ("app", "from a file")


def test_user_and_port_come_from_the_options(ask):
    _, _, words = ask({}, user="-me", port=5433)
    assert words[:2] == ["--username=-me", "--port=5433"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_name_is_one_value_of_the_connection_string(name):
    match = re.fullmatch(r"--dbname=dbname='((?:[^'\\]|\\.)*)'", dbname(name), re.DOTALL)
    assert match
    assert re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL) == name


def test_globals_pass_with_and_without_restrict():
    assert whole_globals(io.BytesIO(GLOBALS), {}) == ()
    assert whole_globals(io.BytesIO(re.sub(rb"\\(un)?restrict.*\n", b"", GLOBALS)), {}) == ()


def test_an_unrestrict_with_another_key_is_refused():
    with pytest.raises(Incomplete, match="unrestrict"):
        whole_globals(io.BytesIO(re.sub(rb"(\\unrestrict )\w+", rb"\1other", GLOBALS)), {})


def test_the_trailer_of_a_single_database_is_not_that_of_the_cluster():
    other = GLOBALS.replace(b"database cluster dump complete", b"database dump complete")
    with pytest.raises(Incomplete, match="cluster dump complete"):
        whole_globals(io.BytesIO(other), {})


EVIL = rb"""
\restrict token
SET standard_conforming_strings = on;
CREATE ROLE app;
ALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM;x' VALID UNTIL 'infinity';
ALTER ROLE app SET work_mem TO '6MB';
COMMENT ON ROLE app IS E'a line\
CREATE ROLE evil;
ALTER ROLE app WITH PASSWORD \'\';
\! rm';
CREATE TABLESPACE fast OWNER app LOCATION '/fast';
"""


def rewritten(rewrite, sql=EVIL):
    return b"".join(rewrite(iter([sql[:40], sql[40:]]))).decode()


def test_globals_are_read_by_statement_whatever_a_text_in_them_looks_like():
    heads = [b" ".join(words[:3]).decode() for words in statements(EVIL)]
    assert heads == [
        "SET standard_conforming_strings =",
        *("CREATE ROLE app", "ALTER ROLE app", "ALTER ROLE app", "COMMENT ON ROLE", "CREATE TABLESPACE fast"),
    ]


def test_roles_that_exist_keep_their_passwords_unless_the_runs_are_wanted():
    kept = rewritten(Afterwards(("alter x",), "marker", passwords=False))
    assert kept.startswith("begin;\nalter x;\n")
    assert kept.endswith("commit;\n")
    assert "ALTER ROLE app WITH NOSUPERUSER LOGIN VALID UNTIL 'infinity';" in kept
    assert "SCRAM" not in kept
    assert "CREATE ROLE app" not in kept
    assert "PASSWORD 'SCRAM;x'" in rewritten(Afterwards((), "marker", passwords=True))


def test_beforehand_only_what_is_missing_is_made_and_marked():
    made = rewritten(Beforehand("marker"))
    assert "rolname =  E''app''" in made
    assert made.count("CREATE ROLE app") == 1
    assert "restrict" not in made
    assert "COMMENT ON ROLE" not in made


def test_a_database_is_renamed_in_its_statements_and_nowhere_else():
    sql = b"ALTER ROLE x IN DATABASE a SET p TO 'DATABASE', DATABASE;\nCOMMENT ON DATABASE \"o d\" IS 'DATABASE a';"
    assert renamed_in(sql, b"n") == (
        b"ALTER ROLE x IN DATABASE n SET p TO 'DATABASE', DATABASE;\nCOMMENT ON DATABASE n IS 'DATABASE a';"
    )


def test_the_restore_names_the_user_who_made_the_dump():
    assert "--username='o'\"'\"'neil'" in plan(user="o'neil").dumps[0].restore


@pytest.mark.parametrize(
    ("said", "silent"),
    [({}, True), ({"version": 160009}, False), ({"roles": False}, False)],
    ids=["17", "16", "no root"],
)
def test_only_a_superuser_of_a_server_from_17_on_loads_again_without_event_triggers(said, silent):
    server = Answer(0, json.dumps(SERVER | said))
    answers = {"client": Answer(0, "pg_dump (PostgreSQL) 17.12\n"), "ready": Answer(0), "server": server}
    request = RestoreRequest("r", (StoredDump("shop.pgdump", "pg_custom", "shop"),), replace=True)
    steps = Postgres().restore(CONTAINER, Facts("sh", answers), PostgresOptions(), request).steps
    (load,) = (step for step in steps if isinstance(step, Feed))
    again = load.again("failed: 7")
    assert ("event_triggers=off" in again.argv[-1]) == silent
