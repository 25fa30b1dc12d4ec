"""MariaDB is restored whole or not at all: whatever step or statement fails, its own tools say what they said before.

The restore is carried out by the sidecar's own parts on the real engine, so that a failure can be planted anywhere.
"""

import hashlib
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
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
from strategies.mysql import Mysql, MysqlOptions
from strategies.mysql_client import room
from strategies.mysql_counts import size_of
from strategies.mysql_statements import statements
from strategies.plan import Exec, Feed, Restore, RestoreRequest, Run
from tests.e2e.engine_fixtures import container
from tests.e2e.journal import Dies, Kept
from tests.e2e.live_app import living
from tests.e2e.planting import cut_off, killed, planted, undo, with_step
from tests.kit.few import few
from tests.kit.stage import docker, eventually, execute, image, said, within

pytestmark = pytest.mark.e2e

RUN = "20260301T030000Z-1a2b3c4d"
PASSWORD = "a new 'one'"
OPTIONS = MysqlOptions()
BOX = Container("1f", "db", "mariadb:11.8")

RICH = r"""
create database shop character set latin1; create database other; create database `we ird ``"x' ñ`;
create table other.users (id int primary key, n varchar(10)); insert into other.users values (1, 'a');
use shop;
create table parent (id int primary key, t varchar(80) comment 'a;
LOCK TABLES `x` of `shop`.`parent`; ') charset utf8mb4;
insert into parent values (1, 'LOCK TABLES `x`;\n-- \\'), (2, 'CREATE TABLE `other`.`users`;');
create table child (id int primary key, p int, u int, foreign key fk1 (p) references parent (id) on delete cascade,
    foreign key fk2 (u) references other.users (id)); insert into child values (1, 1, 1);
create sequence s start with 100 increment by 10;
create table numbered (id bigint default next value for s primary key, v int); insert into numbered (v) values (1), (2);
create table log (i int); create table large (b longblob); insert into large values (repeat('x', 9000000));
create view v as select c.id, u.n from child c join other.users u on u.id = c.u; create view a_v as select * from v;
create view other.back as select id from shop.parent;
create trigger tr after insert on child for each row insert into log values (new.id);
delimiter ||
create procedure p() begin select ';;'; select '
DROP TABLE `x`;'; end||
create function f() returns int deterministic return 3||
delimiter ;
create event e on schedule every 1 day starts '2026-01-01' do delete from log where i < 0;
create table `we ird ``"x' ñ`.`t;``'x` (`a b` int primary key); insert into `we ird ``"x' ñ`.`t;``'x` values (1);
create view `we ird ``"x' ñ`.`v'w ``` as select 1; create table shop.fresh_only (i int);
create user app identified by 'old'; grant select on shop.* to app; grant execute on procedure shop.p to app;
create user gone identified by 'gone'; grant select on other.* to gone;
create database ext; create table ext.kid (i int, foreign key kk (i) references shop.parent (id));
"""
CHANGED = """
alter database shop character set utf8mb4; use shop; drop trigger tr; insert into child values (7, 1, 1);
drop view a_v; drop view v; alter table other.users drop column n; create view zz as select f() as q;
drop procedure p; create procedure p2() select 5; grant execute on procedure p2 to app; drop table fresh_only;
create trigger tr2 before insert on log for each row set new.i = new.i + 1; create table later (i int);
alter user app identified by 'new'; drop user gone; create user if not exists later; insert into later values (4);
"""


def sql(server: str, text: str) -> str:
    client = ("mariadb", "--user=root", "--default-character-set=utf8mb4", "--batch", "--skip-column-names")
    return docker("exec", "-i", "--env", f"MYSQL_PWD={PASSWORD}", server, *client, input=text.encode())


def state(server: str) -> str:
    """Everything in the server, as its own tools tell it."""
    flags = ("--user=root", "--skip-dump-date", "--single-transaction", "--routines", "--events", "--triggers")
    dump = ("docker", "exec", "--env", f"MYSQL_PWD={PASSWORD}", server, "mariadb-dump")
    told = execute(*dump, *flags, "--hex-blob", "--all-databases", "--order-by-primary", "--ignore-database=mysql")
    accounts = execute(*dump, "--user=root", "--skip-dump-date", "--system=users")
    grants = "select * from mysql.procs_priv order by 1, 2, 3, 4; select @@global.max_allowed_packet;"
    assert (told.returncode, accounts.returncode) == (0, 0), told.stderr + accounts.stderr
    return told.stdout.decode() + accounts.stdout.decode() + re.sub(r"\t20\d\d-[^\n]*", "", sql(server, grants))


@dataclass
class Stored:
    """A run, and where it can be restored to."""

    facts: Facts
    artifacts: Mapping[str, Source]

    def applying(self, engine: Engine, server: str, restore: Restore) -> Applying:
        context = ExecContext(server, "sh", run=RUN, deadline=time.monotonic() + 120)
        return Applying(Session(engine, context, str), restore, self.artifacts)

    @property
    def databases(self) -> list[str]:
        return [source.stored.subject for source in self.artifacts.values() if source.stored.subject]

    def plan(self, **wanted: Any) -> Restore:
        artifacts = tuple(source.stored for source in self.artifacts.values())
        return Mysql().restore(BOX, self.facts, OPTIONS, RestoreRequest(RUN, artifacts, replace=True, **wanted))


@contextmanager
def started(*options: str) -> Iterator[str]:
    about = ("--init", "--env", f"MARIADB_ROOT_PASSWORD={PASSWORD}", *options)
    with container(image("MARIADB"), "mariadbd", options=about) as made:
        ready(made)
        yield made


def ready(server: str) -> None:
    ping = ("docker", "exec", "--env", f"MYSQL_PWD={PASSWORD}", server, "mariadb-admin", "--host=127.0.0.1", "ping")
    eventually(lambda: execute(*ping).returncode == 0, seconds=60, what="MariaDB is ready")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with started("--tmpfs", "/var/lib/mysql") as made:
        yield made


@pytest.fixture(scope="module")
def run(server: str, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A rich server's run; then what it holds is changed."""
    sql(server, RICH)
    answers = {name: said("docker", "exec", server, *argv) for name, argv in Mysql().probes(OPTIONS).items()}
    facts = Facts("sh", {name: Answer(one.returncode, one.stdout, one.stderr) for name, one in answers.items()})
    folder, sources = tmp_path_factory.mktemp("run"), {}
    for dump in Mysql().plan(BOX, facts, MysqlOptions(databases=("shop", "other", "we ird `\"x' ñ"))).dumps:
        assert isinstance(dump.source, Exec)
        plain = execute("docker", "exec", server, *dump.source.argv).stdout
        source = dump.count.source if dump.count else None
        counted = said("docker", "exec", server, *source.argv).stdout if isinstance(source, Exec) else ""
        counts = {what: int(number) for number, what in (line.split("\t") for line in counted.splitlines())}
        (folder / "x").with_name(hashlib.sha256(dump.name.encode()).hexdigest()).write_bytes(plain)
        digest = hashlib.sha256(plain).hexdigest()
        figures = {"sha256": digest, "plain_sha256": digest, "size": len(plain), "plain_size": len(plain)}
        about = {"format": dump.format, "subject": dump.subject, "compression": "none", "proof": "full"}
        path: Path = folder / hashlib.sha256(dump.name.encode()).hexdigest()
        sources[dump.name] = Source(Artifact(name=dump.name, counts=counts, **figures, **about), path)  # type: ignore[arg-type]
    sql(server, CHANGED)
    return Stored(facts, sources)


def failing(engine: Engine, server: str, run: Stored, restore: Restore, match: str) -> None:
    before = state(server)
    applying = run.applying(engine, server, restore)
    with pytest.raises(SidecarError, match=match):
        applying.run()
    assert (applying.undone, applying.warnings) == (True, [])
    assert state(server) == before


@pytest.mark.slow
@pytest.mark.parametrize("place", range(9))
def test_a_step_that_fails_leaves_everything_as_it_was(engine: Engine, server: str, run: Stored, place: int) -> None:
    failing(engine, server, run, planted(run.plan(), place, after=True), "exit code 3")


@pytest.mark.slow
def test_a_connection_that_is_cut_leaves_everything_as_it_was(
    engine: Engine, server: str, run: Stored, tmp_path: Path
) -> None:
    before = state(server)
    with cut_off(run.applying, server, run.plan(), SWAP, tmp_path) as applying:
        assert state(server) == before
        assert applying.undone


SWAP = 6
"""Its place among the steps."""


@pytest.mark.parametrize("number", few(range(9), 7))
def test_a_swap_that_is_cut_anywhere_leaves_everything_as_it_was(
    engine: Engine, server: str, run: Stored, number: int
) -> None:
    failing(engine, server, run, with_step(run.plan(), SWAP, partial(cut, number=number)), "exit code 3")


@pytest.mark.slow
def test_a_full_disk_leaves_everything_as_it_was(engine: Engine, run: Stored) -> None:
    folder = "/var/lib/mysql"
    with started("--tmpfs", f"{folder}:size=600m") as full:
        sql(full, RICH + CHANGED)
        before = state(full)
        within(full, f"cat /dev/zero >{folder}/filler; truncate -s -8M {folder}/filler")
        applying = run.applying(engine, full, run.plan())
        with pytest.raises(SidecarError, match=r"full|No space left|Operation not permitted"):  # InnoDB's words.
            applying.run()
        assert applying.undone, applying.warnings
        assert state(full) == before


@pytest.mark.slow
def test_a_server_that_is_killed_has_everything_as_it_was_once_it_runs_again(engine: Engine, run: Stored) -> None:
    with started() as victim:
        sql(victim, RICH + CHANGED)
        before = state(victim)
        applying = killed(run.applying, engine, victim, run.plan(), SWAP)
        ready(victim)
        undo(applying)
        assert state(victim) == before


def cut(step: Run | Feed, number: int) -> Run | Feed:
    """It ends before the statement of this number."""
    head, middle, body = step.argv[2].partition("\ncomplaint=")
    at = [match.start() for match in re.finditer(r"(?m)^(?:spoken|tell|era=)", body)][number]
    return replace(step, argv=(*step.argv[:2], head + middle + body[:at] + "exit 3\n" + body[at:], *step.argv[3:]))


def hurried(step: Run | Feed) -> Run | Feed:
    """It waits for a second."""
    return replace(step, argv=tuple(one.replace("timeout=20", "timeout=1") for one in step.argv))


def with_poison(restore: Restore, number: int, poison: bytes) -> Restore:
    """A statement that fails stands before the one of this number in the dump of `shop`."""

    def poisoned(step: Run | Feed) -> Run | Feed:
        rewrite = step.rewrite if isinstance(step, Feed) else None
        assert rewrite

        def whole(chunks: Iterator[bytes]) -> Iterator[bytes]:
            parts = [b""]
            for one in statements(chunks):  # Rows come in pieces.
                parts[-1] += one.text
                parts += [b""] if one.text.endswith((b";", b";\n")) else []
            return rewrite(iter([b"\n".join((*parts[:number], poison, *parts[number:]))]))

        return replace(step, rewrite=whole)  # type: ignore[arg-type]

    place = next(i for i, step in enumerate(restore.steps) if isinstance(step, Feed) and step.artifact == "shop.sql")
    return with_step(restore, place, poisoned)


LOADED, KEPT = b"ALTER TABLE `nowhere` ADD x INT;\n", b"DROP VIEW `nowhere`;\n"


@pytest.mark.parametrize(
    "poison", [pytest.param(LOADED, marks=pytest.mark.slow, id="loaded"), pytest.param(KEPT, id="kept")]
)
@pytest.mark.parametrize("number", few(range(14, 190), 100))
def test_a_statement_that_fails_leaves_everything_as_it_was(
    engine: Engine, server: str, run: Stored, number: int, poison: bytes
) -> None:
    failing(engine, server, run, with_poison(run.plan(), number, poison), "nowhere")


def test_who_stays_in_a_transaction_is_named_and_nothing_is_changed(engine: Engine, server: str, run: Stored) -> None:
    client = f"MYSQL_PWD=\"{PASSWORD}\" mariadb -uroot shop -e 'begin; select * from parent; do sleep(300)'"
    sitting = threading.Thread(target=execute, args=("docker", "exec", server, "sh", "-c", client))
    sitting.start()
    find = "select id from information_schema.processlist where info like '%sleep(300)%' and id <> connection_id();"
    eventually(lambda: sql(server, find) != "", what="a session sits in a transaction")
    failing(
        engine, server, run, with_step(run.plan(), SWAP, hurried), r"in use by session \d+ of root@localhost, query for"
    )
    sql(server, f"kill {sql(server, find)};")
    sitting.join(15)


CALL = f"""MYSQL_PWD="{PASSWORD}" mariadb -uroot -N shop 2>/dev/null -e"""
APPS = {
    "makes": f"""{CALL} 'create table if not exists child (id int); create table if not exists log (i int);
        insert into log values (2); select count(*) from child'""",
    "writes": f"{CALL} 'insert into log values (3); select count(*) from child'",
}
"""Those of an app whose start makes what is missing, and of one that only writes."""


@pytest.mark.slow
def test_a_restore_that_fails_before_the_swap_loses_nothing_that_an_app_has_written_meanwhile(
    engine: Engine, server: str, run: Stored
) -> None:
    rows = "select count(*) from shop.log where i in (3, 4)"  # A trigger adds one.
    before = int(sql(server, rows))
    with living(server, **APPS) as printed, pytest.raises(SidecarError, match="exit code 3"):
        run.applying(engine, server, with_step(run.plan(), SWAP, partial(cut, number=0))).run()
    assert set(printed["makes"] + printed["writes"]) == {"2"}
    # An app may be ended between what it has written and what it says of that.
    assert int(sql(server, rows)) - before >= len(printed["makes"] + printed["writes"]) > 0


def test_with_force_who_does_not_let_go_is_ended_and_named(engine: Engine, server: str, run: Stored) -> None:
    client = f"MYSQL_PWD=\"{PASSWORD}\" mariadb -uroot shop -e 'begin; select * from parent; do sleep(301)'"
    sitting = threading.Thread(target=execute, args=("docker", "exec", server, "sh", "-c", client))
    sitting.start()
    find = "select id from information_schema.processlist where info like '%sleep(301)%' and id <> connection_id();"
    eventually(lambda: sql(server, find) != "", what="a session sits in a transaction")
    applying = run.applying(engine, server, with_step(run.plan(force=True), SWAP, hurried))
    applying.run()
    sitting.join(15)
    assert not sitting.is_alive()
    assert re.fullmatch(r"sessions-ended: session \d+ of root@localhost, .*", *applying.warnings)
    assert sql(server, "select count(*) from shop.child") == "1"
    sql(server, CHANGED)


def test_what_is_in_place_when_the_sidecar_dies_before_it_has_noted_that_stays(
    engine: Engine, server: str, run: Stored, tmp_path: Path
) -> None:
    kept, plan = Kept(tmp_path), run.plan(restore="20260302T030000Z-deadbeef")
    applying = run.applying(engine, server, plan)
    applying.on_owed = kept.note
    with pytest.raises(Dies):
        applying.run()
    sql(server, "insert into shop.log values (77)")

    kept.recover(applying.session)
    assert sql(server, "select count(*) from shop.log where i = 77; select count(*) from shop.child") == "1\n1"
    assert sql(server, "show databases like 'restore%'; show databases like 'before%'") == ""
    sql(server, CHANGED)


def test_what_is_replaced_is_there_or_what_replaces_it_while_somebody_writes(
    engine: Engine, server: str, run: Stored
) -> None:
    hashes = (
        "select user, json_value(priv, '$.authentication_string') from mysql.global_priv where user in ('app', 'root')"
    )
    before = sql(server, hashes)
    applying = run.applying(engine, server, run.plan())
    with living(server, **APPS) as printed:
        applying.run()
    assert set(printed["makes"] + printed["writes"]) <= {"1", "2"}
    assert printed["writes"][-1] == "1"
    assert applying.warnings == []
    assert sql(server, hashes) == before, "who was there keeps the password"
    assert sql(server, "show databases").split("\n") == [
        *("ext", "information_schema", "mysql", "other", "performance_schema", "shop", "sys", "we ird `\"x' ñ")
    ]
    assert (
        sql(server, "select id, n from shop.a_v; call shop.p(); select id from other.back")
        == "1\ta\n;;\n\\nDROP TABLE `x`;\n1\n2"
    )
    assert sql(server, "insert into shop.numbered (v) values (3); select max(id) > 110 from shop.numbered") == "1"
    assert sql(server, "select length(b) from shop.large; select @@global.max_allowed_packet") == "9000000\n16777216"
    assert (
        sql(server, "select default_character_set_name from information_schema.schemata where schema_name = 'shop'")
        == "latin1"
    )
    grants = sql(server, "show grants for app; show grants for gone")
    assert "EXECUTE ON PROCEDURE `shop`.`p`" in grants
    assert "GRANT SELECT ON `other`.*" in grants
    assert "REFERENCES `shop`.`parent` (`id`)" in sql(server, "show create table ext.kid")


def test_with_passwords_those_of_the_run_come_back_but_for_the_account_of_the_container(
    engine: Engine, server: str, run: Stored
) -> None:
    sql(server, "alter user app identified by 'newer'; alter user root@'%' identified by 'newer'")
    hashes = "select json_value(priv, '$.authentication_string') from mysql.global_priv where user in ('app', 'root')"
    before = sql(server, hashes).split("\n")
    run.applying(engine, server, run.plan(with_passwords=True)).run()
    after = sql(server, hashes).split("\n")
    stored = run.artifacts["users.grants"].path.read_text()
    changed = [one for one in after if one not in before]
    assert len(changed) == 1
    assert changed[0] in stored


@pytest.mark.slow
def test_what_was_dropped_first_is_told_when_the_load_fails_and_another_restore_goes_on(
    engine: Engine, server: str, run: Stored
) -> None:
    plan = run.plan(drop_first=True)
    steps = [place for place, step in enumerate(plan.steps) if isinstance(step, Feed)]
    failing = run.applying(engine, server, with_step(plan, steps[0], lambda step: replace(step, argv=("false",))))
    with pytest.raises(SidecarError):
        failing.run()
    names = list(run.databases)
    assert failing.warnings == [f"not-undone: the database {name} was dropped" for name in names]
    left = sql(server, "show databases").split("\n")
    assert left == ["ext", "information_schema", "mysql", "performance_schema", "sys"]

    swap = len(plan.steps)
    cut = run.applying(
        engine,
        server,
        with_step(plan, swap, lambda step: replace(step, argv=("sh", "-c", '"$@" && exit 3', "sh", *step.argv))),
    )
    with pytest.raises(SidecarError):
        cut.run()
    assert sql(server, "show databases").split("\n") == left

    again = run.applying(engine, server, plan)
    again.run()
    assert again.warnings == []
    assert sql(server, "select id, n from shop.a_v; call shop.p()") == "1\ta\n;;\n\\nDROP TABLE `x`;"


def test_the_server_says_what_its_databases_take_and_what_is_free(engine: Engine, server: str, run: Stored) -> None:
    session = run.applying(engine, server, run.plan()).session
    assert int(session.ask(size_of("shop", "none"))) > 9_000_000
    assert (free(session, room()) or 0) > 1 << 20
