"""PostgreSQL is restored whole or not at all: whatever step or statement fails, `pg_dumpall` says what it said before.

The restore is carried out by the sidecar's own parts on the real engine, so that a failure can be planted anywhere.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controller.core.errors import SidecarError
from controller.core.manifest import Artifact
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.restore.apply import Applying
from controller.restore.room import free
from controller.storage.source import Source
from controller.targets.session import Session
from strategies.base import Answer, Container, Facts
from strategies.plan import Exec, Feed, Restore, RestoreRequest, Rewrite, Step
from strategies.postgres import Postgres, PostgresOptions
from strategies.postgres_client import room, size_of
from tests.e2e.engine_fixtures import SLEEP, container
from tests.e2e.journal import Dies, Kept
from tests.e2e.live_app import living
from tests.e2e.planting import cut_off, killed, planted, undo
from tests.kit.few import few
from tests.kit.stage import docker, eventually, execute, image, said, within

pytestmark = pytest.mark.e2e

RUN = "20260301T030000Z-1a2b3c4d"
PASSWORD = "a new 'one'"
OPTIONS = PostgresOptions()
RUNS = ("shop", "we ird \"x' =db")
"""Databases."""

RICH = r"""
create role app login password 'old'; create role "Odd ""r" nologin; grant "Odd ""r" to app;
alter role app set work_mem = '6MB'; alter role postgres password 'old';
comment on role app is E'a line\nALTER ROLE app WITH SUPERUSER PASSWORD ''evil'';\n\\! touch /tmp/evil';
create database shop owner app; alter database shop set search_path = 'DATABASE', public;
comment on database shop is 'CREATE DATABASE shop; DATABASE x'; grant connect on database shop to "Odd ""r";
alter database shop set default_transaction_read_only = on; alter role app in database shop set work_mem = '7MB';
create database "we ird ""x' =db";
\connect "dbname=shop user=postgres options='-c default_transaction_read_only=off'"
create schema inner_ authorization app; create type mood as enum ('a', 'b'); create sequence s start 7;
create table item (id int primary key, m mood default 'a', t text); create index on item (t);
insert into item select g, 'b', 'DATABASE ' || g from generate_series(1, 500) g;
create table line (item int references item, check (item > 0)); insert into line values (1), (2);
create view v as select id from item; create materialized view mv as select count(*) from item;
create function f() returns trigger language plpgsql as 'begin return new; end';
create trigger tr before insert on item for each row execute function f();
create policy p on item using (id > 0); create rule r as on delete to line do nothing;
alter default privileges grant select on tables to app; select from lo_from_bytea(0, 'large');
create subscription s1 connection 'host=upstream.example dbname=x' publication p with (connect=false);
"""


def sql(server: str, text: str, database: str = "template1") -> str:
    flags = ("-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database)
    return docker("exec", "-i", server, "psql", *flags, input=text.encode())


def state(server: str) -> str:
    """Everything in the server, as its own tools tell it."""
    told = docker("exec", server, "pg_dumpall", "-U", "postgres")
    connections = sql(server, "select datname, datallowconn, datconnlimit from pg_database order by 1")
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", told) + connections


FOLDER = "/var/lib/postgresql/data"


def start(options: tuple[str, ...] = ("--tmpfs", FOLDER)) -> Any:
    settings = ("-c", "fsync=off", "-c", "wal_level=logical", "-c", "shared_buffers=16MB")
    about = ("--init", "--env", f"POSTGRES_PASSWORD={PASSWORD}", *options)
    return container(image("POSTGRES"), "postgres", *settings, options=about)


def ready(server: str) -> None:
    ping = ("docker", "exec", server, "pg_isready", "-h", "127.0.0.1")
    eventually(lambda: execute(*ping).returncode == 0, seconds=60, what="PostgreSQL is ready")


@dataclass
class Stored:
    """A run, and where it can be restored to."""

    folder: Path
    artifacts: Mapping[str, Source]

    def applying(self, engine: Engine, server: str, restore: Restore) -> Applying:
        context = ExecContext(server, "sh", run=RUN, deadline=time.monotonic() + 120)
        return Applying(Session(engine, context, str), restore, self.artifacts)

    def plan(self, **wanted: Any) -> Restore:
        artifacts = tuple(source.stored for source in self.artifacts.values())
        return Postgres().restore(CONTAINER, FACTS, OPTIONS, RestoreRequest(RUN, artifacts, replace=True, **wanted))


CONTAINER = Container("1f", "db", "postgres:17")


def server_of(*databases: str) -> str:
    """What a server says of itself."""
    facts = {"version": 170000, "name": "17", "user": "postgres", "roles": True, "databases": databases, "closed": []}
    return json.dumps(facts)


FACTS = Facts(
    "sh",
    {
        "client": Answer(0, "pg_dump (PostgreSQL) 17.0\n"),
        "ready": Answer(0),
        "server": Answer(0, server_of(*RUNS)),
    },
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with start() as made:
        ready(made)
        yield made


@pytest.fixture(scope="module")
def run(server: str, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A rich server's run; then what it holds is changed."""
    sql(server, RICH)
    stored = backed_up(server, tmp_path_factory.mktemp("run"))
    change(server)
    return stored


def backed_up(server: str, folder: Path, *databases: str) -> Stored:
    """A run of these databases."""
    sources = {}
    facts_of = (
        replace(FACTS, answers={**FACTS.answers, "server": Answer(0, server_of(*databases))}) if databases else FACTS
    )
    for dump in Postgres().plan(CONTAINER, facts_of, OPTIONS).dumps:
        assert isinstance(dump.source, Exec)
        assert isinstance(dump.count.source if dump.count else None, Exec)
        plain = execute("docker", "exec", server, *dump.source.argv).stdout
        counted = said("docker", "exec", server, *dump.count.source.argv).stdout  # type: ignore[union-attr]
        counts = {what: int(number) for number, what in (line.split("\t") for line in counted.splitlines())}
        (folder / dump.name).write_bytes(plain)
        digest = hashlib.sha256(plain).hexdigest()
        facts = {"sha256": digest, "plain_sha256": digest, "size": len(plain), "plain_size": len(plain)}
        about = {"format": dump.format, "subject": dump.subject, "compression": "none", "proof": "full"}
        sources[dump.name] = Source(Artifact(name=dump.name, counts=counts, **facts, **about), folder / dump.name)  # type: ignore[arg-type]
    return Stored(folder, sources)


def change(server: str) -> None:
    """Another state than the run's, in which a role of the run is missing."""
    writable = "dbname=shop options='-c default_transaction_read_only=off'"
    sql(server, "delete from item where id > 9; create table later (x int); grant select on line to app", writable)
    sql(server, 'revoke all on database shop from "Odd ""r"; drop role "Odd ""r"', "template1")
    sql(server, "alter role app password 'new'; alter role app reset all; alter role postgres password 'new'")


POINTS = [(place, after) for place in range(5) for after in (False, True)]
QUICK = [(1, True), (3, True), (4, False)]


@pytest.mark.parametrize(
    ("place", "after"),
    [pytest.param(*point, marks=() if point in QUICK else pytest.mark.slow) for point in POINTS if point != (4, True)],
)
def test_a_step_that_fails_leaves_everything_as_it_was(
    engine: Engine, server: str, run: Stored, place: int, after: bool
) -> None:
    before = state(server)
    applying = run.applying(engine, server, planted(run.plan(), place, after=after))
    with pytest.raises(SidecarError, match="exit code 3"):
        applying.run()
    assert state(server) == before
    assert (applying.undone, applying.warnings) == (True, [])


def test_a_connection_that_is_cut_leaves_everything_as_it_was(
    engine: Engine, server: str, run: Stored, tmp_path: Path
) -> None:
    before = state(server)
    with cut_off(run.applying, server, run.plan(), 3, tmp_path) as applying:
        assert state(server) == before
        assert applying.undone


@pytest.fixture
def narrow() -> Iterator[str]:
    """A volume of little room, which is kept while nobody else has it."""
    made = docker(
        "volume",
        "create",
        *("--label=backup-sidecar.test=1", "--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=160m"),
    )
    with container(image("BUSYBOX"), *SLEEP, options=("--volume", f"{made}:/kept")):
        yield made
    docker("volume", "rm", made)


@pytest.mark.slow
def test_after_a_full_disk_everything_is_as_it_was_once_there_is_room(engine: Engine, run: Stored, narrow: str) -> None:
    with start(("--volume", f"{narrow}:{FOLDER}")) as full:
        ready(full)
        sql(full, RICH)
        change(full)
        before = state(full)
        within(full, f"cat /dev/zero >{FOLDER}/filler; truncate -s -4M {FOLDER}/filler")
        applying = run.applying(engine, full, run.plan())
        with pytest.raises(SidecarError):
            applying.run()

        docker("stop", full)  # A server that cannot write its log has ended by itself.
        docker("run", "--rm", "--volume", f"{narrow}:/kept", image("BUSYBOX"), "rm", "/kept/filler")
        docker("start", full)
        ready(full)
        undo(applying)
        assert state(full) == before


@pytest.mark.slow
def test_a_server_that_is_killed_has_everything_as_it_was_once_it_runs_again(engine: Engine, run: Stored) -> None:
    with start(()) as victim:
        ready(victim)
        sql(victim, RICH)
        change(victim)
        before = state(victim)
        applying = killed(run.applying, engine, victim, run.plan(), 3)
        ready(victim)
        undo(applying)
        assert state(victim) == before


STATEMENTS = 20
"""Of the database `shop`: of itself, its comment, grant and settings, and of what is in it."""


def poisoned(rewrite: Rewrite, number: int) -> Rewrite:
    """The SQL of an archive's entry of this number divides by zero, in as many bytes."""

    def poison(chunks: Iterator[bytes]) -> Iterator[bytes]:
        archive = b"".join(rewrite(chunks))
        begun = re.finditer(rb"(?<=[\0\1]...\0)(?:CREATE|ALTER|GRANT|COMMENT|REVOKE) [^;]{6,}", archive)
        carried_out = [match for match in begun if b" DROP " not in match[0]]
        assert len(carried_out) == STATEMENTS
        match = carried_out[number]
        yield archive[: match.start()] + b"select 1/0;--".ljust(len(match[0]))[: len(match[0])] + archive[match.end() :]

    return poison


def with_poison(restore: Restore, number: int) -> Restore:
    steps: list[Step] = list(restore.steps)
    place = next(index for index, step in enumerate(steps) if isinstance(step, Feed) and step.artifact == "shop.pgdump")
    fed = steps[place]
    assert isinstance(fed, Feed)
    steps[place] = poisoned_feed(fed, number)
    return replace(restore, steps=tuple(steps))


def poisoned_feed(fed: Feed, number: int) -> Feed:
    """Also when it is tried again."""
    assert fed.rewrite

    def again(printed: str) -> Feed | None:
        other = fed.again(printed) if fed.again else None
        return other and poisoned_feed(other, number)

    return replace(fed, rewrite=poisoned(fed.rewrite, number), again=again)


def fails_at(engine: Engine, server: str, run: Stored, number: int) -> str:
    before = state(server)
    applying = run.applying(engine, server, with_poison(run.plan(), number))
    with pytest.raises(SidecarError) as error:
        applying.run()
    assert state(server) == before
    assert applying.undone
    return error.value.message


@pytest.mark.parametrize("number", few(range(STATEMENTS), 2, 12))
def test_a_statement_that_fails_leaves_everything_as_it_was_and_is_named(
    engine: Engine, server: str, run: Stored, number: int
) -> None:
    assert "ERROR:  division by zero" in fails_at(engine, server, run, number)


CALL = "PGOPTIONS='-c default_transaction_read_only=off' psql -XqAt -v ON_ERROR_STOP=1 -Upostgres shop 2>/dev/null -c"
ROWS = "-c 'select count(*) from item'"
APPS = {
    "makes": f"""{CALL} 'create table if not exists item (id int); create table if not exists line (item int)' \
        -c 'insert into line values (2)' {ROWS}""",
    "writes": f"{CALL} 'insert into line values (3)' {ROWS}",
}
"""Those of an app whose start makes what is missing, and of one that only writes."""


def test_a_restore_that_fails_at_its_end_loses_nothing_that_an_app_has_written_meanwhile(
    engine: Engine, server: str, run: Stored
) -> None:
    rows = "select count(*) from line where item in (2, 3)"
    before = int(sql(server, rows, "shop"))
    with living(server, **APPS) as printed, pytest.raises(SidecarError, match="exit code 3"):
        run.applying(engine, server, planted(run.plan(), 3, after=True)).run()
    assert set(printed["makes"] + printed["writes"]) == {"9"}
    # A session may be ended between what it has written and what it says of that.
    assert int(sql(server, rows, "shop")) - before >= len(printed["makes"] + printed["writes"]) > 0


def test_what_is_in_place_when_the_sidecar_dies_before_it_has_noted_that_stays(
    engine: Engine, server: str, run: Stored, tmp_path: Path
) -> None:
    kept, plan = Kept(tmp_path), run.plan(restore="20260302T030000Z-deadbeef")
    applying = run.applying(engine, server, plan)
    applying.on_owed = kept.note
    with pytest.raises(Dies):
        applying.run()
    sql(server, "insert into line values (4)", "dbname=shop options='-c default_transaction_read_only=off'")

    kept.recover(applying.session)
    assert sql(server, "select count(*) from line where item = 4", "shop") == "1"
    assert sql(server, "select count(*) from item", "shop") == "500"
    assert sql(server, "select count(*) from pg_database where datname ~ '^(before|restore)-'") == "0"
    assert "sidecar" not in sql(server, "select setconfig from pg_db_role_setting")
    change(server)


def test_a_swap_whose_answer_is_lost_is_known_by_the_server(engine: Engine, server: str, run: Stored) -> None:
    applying = run.applying(engine, server, planted(run.plan(), 4, after=True))
    applying.run()
    assert [warning.partition(":")[0] for warning in applying.warnings] == ["in-place"]
    assert sql(server, "select count(*) from item", "shop") == "500"
    change(server)


def test_who_is_connected_is_sent_away_and_sees_the_old_database_or_the_new_one(
    engine: Engine, server: str, run: Stored
) -> None:
    sitting = threading.Thread(
        target=execute, args=("docker", "exec", server, "psql", "-U", "postgres", "shop", "-c", "select pg_sleep(99)")
    )
    sitting.start()
    waits = "select count(*) from pg_stat_activity where datname = 'shop' and query like '%pg_sleep(99)%'"
    eventually(lambda: sql(server, waits) == "1")

    passwords = "select rolname, rolpassword from pg_authid where rolname in ('app', 'postgres')"
    before = sql(server, passwords)
    applying = run.applying(engine, server, run.plan())
    with living(server, **APPS) as printed:
        applying.run()
    sitting.join(15)

    assert not sitting.is_alive()
    assert set(printed["makes"]) <= {"9", "500"}
    assert set(printed["writes"]) <= {"9", "500"}
    assert sql(server, "select count(*) from item", "shop") == "500"
    assert any(
        re.fullmatch(r"sessions-ended: \d of postgres from the container itself in shop", line)
        for line in applying.warnings
    )
    assert sql(server, "select count(*) from pg_database where datname ~ '^(before|restore)-'") == "0"
    assert sql(server, "select subname, subenabled from pg_subscription") == "s1|f"
    assert sql(server, passwords) == before
    assert "CREATE DATABASE shop; DATABASE x" in state(server)
    assert execute("docker", "exec", server, "test", "-e", "/tmp/evil").returncode == 1


def test_with_passwords_those_of_the_run_come_back(engine: Engine, server: str, run: Stored) -> None:
    sql(server, "alter role app password 'newer'")
    newer = sql(server, "select rolpassword from pg_authid where rolname = 'app'")
    run.applying(engine, server, run.plan(with_passwords=True)).run()
    again = sql(server, "select rolpassword from pg_authid where rolname = 'app'")
    assert again != newer
    assert again in run.artifacts["globals.sql"].path.read_text()


def test_what_was_dropped_first_is_told_when_the_load_fails_and_another_restore_goes_on(
    engine: Engine, server: str, run: Stored
) -> None:
    plan = run.plan(drop_first=True)
    failing = run.applying(engine, server, with_poison(plan, 12))
    with pytest.raises(SidecarError, match="division by zero"):
        failing.run()
    told = [warning for warning in failing.warnings if warning.startswith("not-undone")]
    assert told == [f"not-undone: the database {name} was dropped" for name in ("shop", "we ird \"x' =db")]
    assert not failing.undone
    assert sql(server, "select string_agg(datname, ',' order by datname) from pg_database") == (
        "postgres,template0,template1"
    )

    run.applying(engine, server, plan).run()
    assert sql(server, "select count(*) from item", "shop") == "500"
    assert sql(server, "select count(*) from pg_database where datname ~ '^(before|restore)-'") == "0"


def test_the_server_says_what_its_databases_take_and_what_is_free(engine: Engine, server: str, run: Stored) -> None:
    session = run.applying(engine, server, run.plan()).session
    assert int(session.ask(size_of(OPTIONS, "shop", "none"))) > 1 << 20
    assert (free(session, room(OPTIONS)) or 0) > 1 << 20


@pytest.fixture(scope="module")
def replicated(server: str) -> Iterator[str]:
    """Another server, which publishes the database `source`, to which `copy` of the first one subscribes."""
    with start() as publisher:
        ready(publisher)
        sql(publisher, "create database source; create role reader superuser login password 'x'")
        sql(publisher, "create table t (i int primary key); create publication p for table t", "source")
        sql(publisher, "insert into t values (1)", "source")
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", publisher)
        to = f"host={address} user=reader password=x dbname=source"
        sql(server, "create database copy")
        sql(server, "create table t (i int primary key)", "copy")
        sql(server, f"create subscription live connection '{to}' publication p", "copy")
        eventually(lambda: arrived(server) == "1", seconds=30, what="the subscription is live")
        yield publisher


def arrived(server: str) -> str:
    return sql(server, "select count(*) from t", "copy")


SLOT = "select string_agg(slot_name || active, ',') from pg_replication_slots where slot_name = 'live'"


def test_a_live_subscription_goes_on_after_a_restore_that_fails_and_lets_its_slot_be_after_one_that_does_not(
    engine: Engine, server: str, replicated: str, tmp_path: Path
) -> None:
    run = backed_up(server, tmp_path, "copy")
    with pytest.raises(SidecarError, match="exit code 3"):
        run.applying(engine, server, planted(run.plan(), 2, after=True)).run()
    sql(replicated, "insert into t values (2)", "source")
    eventually(lambda: arrived(server) == "2", seconds=30, what="the subscription goes on")

    applying = run.applying(engine, server, run.plan())
    (notice,) = applying.restore.notices
    told = applying.session.ask(notice)
    assert "subscription-disabled: live of copy comes back disabled; its slot live at the publisher stays" in told
    applying.run()
    assert [warning for warning in applying.warnings if "not-cleared" in warning] == []
    assert sql(server, "select subname, subenabled from pg_subscription where subname = 'live'") == "live|f"
    assert sql(server, "select count(*) from pg_database where datname ~ '^(before|restore)-'") == "0"
    eventually(lambda: sql(replicated, SLOT) == "livefalse", what="the slot is free")
    sql(server, "truncate t; alter subscription live enable", "copy")
    sql(replicated, "insert into t values (3)", "source")
    sql(server, "alter subscription live refresh publication", "copy")
    eventually(lambda: arrived(server) == "3", seconds=30, what="the subscription goes on")


def test_the_slot_of_a_publisher_is_named_and_goes_with_its_database(
    engine: Engine, server: str, replicated: str, tmp_path: Path
) -> None:
    run = backed_up(replicated, tmp_path, "source")
    sql(server, "alter subscription live enable", "copy")
    eventually(lambda: sql(replicated, SLOT) == "livetrue", seconds=30, what="the slot is in use")
    applying = run.applying(engine, replicated, run.plan())
    (notice,) = applying.restore.notices
    assert "slot-goes: the logical slot live goes with the old database source" in applying.session.ask(notice)
    applying.run()
    assert [warning for warning in applying.warnings if "not-cleared" in warning] == []
    assert sql(replicated, SLOT) == ""
    assert sql(replicated, "select string_agg(datname, ',' order by datname) from pg_database") == (
        "postgres,source,template0,template1"
    )
