"""PostgreSQL is restored whole or not at all: whatever step or statement fails, `pg_dumpall` says what it said before.

The restore is carried out by the sidecar's own parts on the real engine, so that a failure can be planted anywhere.
"""

import hashlib
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
from strategies.plan import Exec, Feed, Restore, RestoreRequest, Rewrite, Run, Step
from strategies.postgres import Postgres, PostgresOptions
from strategies.postgres_client import room, size_of
from tests.e2e.engine_fixtures import container
from tests.kit.stage import docker, eventually, execute, image, said

pytestmark = pytest.mark.e2e

RUN = "20260301T030000Z-1a2b3c4d"
PASSWORD = "a new 'one'"
OPTIONS = PostgresOptions()

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


def start(options: tuple[str, ...] = ()) -> Any:
    settings = ("-c", "fsync=off", "-c", "wal_level=logical", "-c", "shared_buffers=16MB")
    tmpfs = ("--init", "--tmpfs", "/var/lib/postgresql/data", "--env", f"POSTGRES_PASSWORD={PASSWORD}", *options)
    return container(image("POSTGRES"), "postgres", *settings, options=tmpfs)


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
SERVER = (
    '{"version": 170000, "name": "17", "user": "postgres", "roles": true, "databases": ["shop", "we ird \\"x\' =db"]}'
)
FACTS = Facts(
    "sh",
    {"client": Answer(0, "pg_dump (PostgreSQL) 17.0\n"), "ready": Answer(0), "server": Answer(0, SERVER)},
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
    folder, sources = tmp_path_factory.mktemp("run"), {}
    for dump in Postgres().plan(CONTAINER, FACTS, OPTIONS).dumps:
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
    change(server)
    return Stored(folder, sources)


def change(server: str) -> None:
    """Another state than the run's, in which a role of the run is missing."""
    writable = "dbname=shop options='-c default_transaction_read_only=off'"
    sql(server, "delete from item where id > 9; create table later (x int); grant select on line to app", writable)
    sql(server, 'revoke all on database shop from "Odd ""r"; drop role "Odd ""r"', "template1")
    sql(server, "alter role app password 'new'; alter role app reset all; alter role postgres password 'new'")


def planted(restore: Restore, place: int, *, after: bool) -> Restore:
    """The step of this number fails, before or after it has done everything."""
    steps = [*restore.steps, *restore.swap]
    broken, failing = steps[place], "cat >/dev/null; exit 3"
    assert isinstance(broken, Run | Feed)
    argv = ("sh", "-c", '"$@" && exit 3', "sh", *broken.argv) if after else ("sh", "-c", failing)
    steps[place] = replace(broken, argv=argv)
    border = len(restore.steps)
    return replace(restore, steps=tuple(steps[:border]), swap=tuple(steps[border:]))


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


def poisoned(rewrite: Rewrite, number: int) -> Rewrite:
    """The SQL of an archive's entry of this number divides by zero, in as many bytes."""

    def poison(chunks: Iterator[bytes]) -> Iterator[bytes]:
        archive = b"".join(rewrite(chunks))
        begun = list(re.finditer(rb"(?<=[\0\1]...\0)(?:CREATE|ALTER|GRANT|COMMENT|REVOKE) [^;]{6,}", archive))
        match = begun[number]
        yield archive[: match.start()] + b"select 1/0--".ljust(len(match[0]))[: len(match[0])] + archive[match.end() :]

    return poison


def with_poison(restore: Restore, number: int) -> Restore:
    steps: list[Step] = list(restore.steps)
    place = next(index for index, step in enumerate(steps) if isinstance(step, Feed) and step.artifact == "shop.pgdump")
    fed = steps[place]
    assert isinstance(fed, Feed)
    assert fed.rewrite
    steps[place] = replace(fed, rewrite=poisoned(fed.rewrite, number))
    return replace(restore, steps=tuple(steps))


def fails_at(engine: Engine, server: str, run: Stored, number: int) -> str:
    before = state(server)
    applying = run.applying(engine, server, with_poison(run.plan(), number))
    with pytest.raises(SidecarError) as error:
        applying.run()
    assert state(server) == before
    assert applying.undone
    return error.value.message


@pytest.mark.parametrize(
    "number", [0, 12, *(pytest.param(number, marks=pytest.mark.slow) for number in (*range(1, 12), *range(13, 24)))]
)
def test_a_statement_that_fails_leaves_everything_as_it_was_and_is_named(
    engine: Engine, server: str, run: Stored, number: int
) -> None:
    assert "ERROR:  division by zero" in fails_at(engine, server, run, number)


def test_who_is_connected_is_sent_away_and_sees_the_old_database_or_the_new_one(
    engine: Engine, server: str, run: Stored
) -> None:
    over, seen = threading.Event(), set[str]()

    def look() -> None:
        while not over.is_set():
            done = said(
                "docker", "exec", server, "psql", "-XqAt", "-U", "postgres", "shop", "-c", "select count(*) from item"
            )
            seen.add(done.stdout.strip())

    watcher = threading.Thread(target=look)
    watcher.start()
    sitting = threading.Thread(
        target=execute, args=("docker", "exec", server, "psql", "-U", "postgres", "shop", "-c", "select pg_sleep(99)")
    )
    sitting.start()
    waits = "select count(*) from pg_stat_activity where datname = 'shop' and query like '%pg_sleep(99)%'"
    eventually(lambda: sql(server, waits) == "1")

    passwords = "select rolname, rolpassword from pg_authid where rolname in ('app', 'postgres')"
    before = sql(server, passwords)
    applying = run.applying(engine, server, run.plan())
    applying.run()
    over.set()
    watcher.join()
    sitting.join(15)

    assert not sitting.is_alive()
    assert seen <= {"9", "500", ""}
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


def test_the_server_says_what_its_databases_take_and_what_is_free(engine: Engine, server: str, run: Stored) -> None:
    session = run.applying(engine, server, run.plan()).session
    assert int(session.ask(size_of("shop", OPTIONS))) > 1 << 20
    assert (free(session, room(OPTIONS)) or 0) > 1 << 20
