"""MariaDB is restored whole or not at all: whatever step or statement fails, its own tools say what they said before.

The restore is carried out by the sidecar's own parts on the real engine, so that a failure can be planted anywhere.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controller.core.errors import SidecarError
from controller.core.manifest import Artifact
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.restore.apply import Applying
from controller.storage.source import Source
from controller.targets.session import Session
from strategies.base import Answer, Container, Facts
from strategies.mysql import Mysql, MysqlOptions
from strategies.mysql_statements import statements
from strategies.plan import Exec, Feed, Restore, RestoreRequest, Run, Step
from tests.e2e.engine_fixtures import container
from tests.kit.stage import docker, eventually, execute, image, said

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
alter user app identified by 'new'; drop user gone; create user later; insert into later values (4);
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

    def plan(self, **wanted: Any) -> Restore:
        artifacts = tuple(source.stored for source in self.artifacts.values())
        return Mysql().restore(BOX, self.facts, OPTIONS, RestoreRequest(RUN, artifacts, replace=True, **wanted))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    options = ("--init", "--tmpfs", "/var/lib/mysql", "--env", f"MARIADB_ROOT_PASSWORD={PASSWORD}")
    with container(image("MARIADB"), "mariadbd", options=options) as made:
        ping = ("docker", "exec", "--env", f"MYSQL_PWD={PASSWORD}", made, "mariadb-admin", "--host=127.0.0.1", "ping")
        eventually(lambda: execute(*ping).returncode == 0, seconds=60, what="MariaDB is ready")
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
        assert dump.count
        assert isinstance(dump.count.source, Exec)
        plain = execute("docker", "exec", server, *dump.source.argv).stdout
        counted = said("docker", "exec", server, *dump.count.source.argv).stdout
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
    assert state(server) == before
    assert (applying.undone, applying.warnings) == (True, [])


def with_step(restore: Restore, place: int, change: Callable[[Run | Feed], Run | Feed]) -> Restore:
    steps: list[Step] = [*restore.steps, *restore.swap]
    changed = steps[place]
    assert isinstance(changed, Run | Feed)
    steps[place] = change(changed)
    border = len(restore.steps)
    return replace(restore, steps=tuple(steps[:border]), swap=tuple(steps[border:]))


@pytest.mark.parametrize(
    "place", [pytest.param(place, marks=() if place == 4 else pytest.mark.slow) for place in range(7)]
)
def test_a_step_that_fails_leaves_everything_as_it_was(engine: Engine, server: str, run: Stored, place: int) -> None:
    def fails(step: Run | Feed) -> Run | Feed:
        return replace(step, argv=("sh", "-c", '"$@" && exit 3', "sh", *step.argv))

    failing(engine, server, run, with_step(run.plan(), place, fails), "exit code 3")


SWAP = 5
"""Its place among the steps."""


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=() if number == 7 else pytest.mark.slow) for number in range(9)]
)
def test_a_swap_that_is_cut_anywhere_leaves_everything_as_it_was(
    engine: Engine, server: str, run: Stored, number: int
) -> None:
    def cut(step: Run | Feed) -> Run | Feed:
        head, middle, body = step.argv[2].partition("\ncomplaint=")
        at = [match.start() for match in re.finditer(r"(?m)^(?:spoken|tell|era=)", body)][number]
        return replace(step, argv=(*step.argv[:2], head + middle + body[:at] + "exit 3\n" + body[at:], *step.argv[3:]))

    failing(engine, server, run, with_step(run.plan(), SWAP, cut), "exit code 3")


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


@pytest.mark.parametrize("poison", [LOADED, KEPT], ids=["loaded", "kept"])
@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=() if number == 100 else pytest.mark.slow) for number in range(14, 190)]
)
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
    hurried = with_step(
        run.plan(),
        SWAP,
        lambda step: replace(step, argv=tuple(re.sub(r"timeout=20", "timeout=1", one) for one in step.argv)),
    )
    failing(engine, server, run, hurried, r"in use by session \d+ of root@localhost, query for")
    sql(server, f"kill {sql(server, find)};")
    sitting.join(15)


def test_what_is_replaced_is_there_or_what_replaces_it_while_somebody_writes(
    engine: Engine, server: str, run: Stored
) -> None:
    over, seen = threading.Event(), set[str]()

    def look() -> None:
        while not over.is_set():
            done = said(
                *("docker", "exec", "--env", f"MYSQL_PWD={PASSWORD}", server, "mariadb", "-uroot", "-N", "shop", "-e"),
                "insert into log values (null); select count(*) from child",
            )
            seen.add(done.stdout.strip())

    watcher = threading.Thread(target=look)
    watcher.start()
    hashes = (
        "select user, json_value(priv, '$.authentication_string') from mysql.global_priv where user in ('app', 'root')"
    )
    before = sql(server, hashes)
    applying = run.applying(engine, server, run.plan())
    applying.run()
    over.set()
    watcher.join()

    assert seen <= {"1", "2", ""}
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
