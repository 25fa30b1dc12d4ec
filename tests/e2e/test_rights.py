"""What docs/strategies.md says that a strategy needs is enough, less is not, and who waits while it reads.

The strategy's own questions and commands are run on the real server, as an account or a user with these rights alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from subprocess import PIPE, Popen
from typing import Any

import pytest

from strategies.base import Answer, Container, Facts, Strategy, Unsuitable
from strategies.etcd import Etcd
from strategies.influxdb import Influxdb
from strategies.mysql import Mysql
from strategies.openldap import Openldap
from strategies.plan import Argv, Dump, Exec, ExecCheck, Incomplete, Plan
from strategies.postgres import Postgres
from strategies.rabbitmq import Rabbitmq
from strategies.redis import Redis
from tests.e2e.engine_fixtures import container
from tests.kit.few import few
from tests.kit.second_engine import make_images
from tests.kit.stage import eventually, execute, image, said, within

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Kind:
    """A server, an account with what is needed, and what takes one right away."""

    strategy: Strategy[Any]
    of: str
    fill: str
    less: dict[str, str]
    """What takes a right away, and what is said of it then."""
    ready: str
    again: str = "true"
    """Gives all rights back."""
    options: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """Of whatever the strategy runs."""
    users: tuple[str, str] = ("", "")
    """Who may, and who may not, where the right is that of a user of the container."""
    run: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    made: str = ""
    warns: str = ""


SQL = "psql -q -v ON_ERROR_STOP=1 -U postgres -c"
MARIADB = "MYSQL_PWD=x mariadb -uroot -e"
HELD = "SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE, SHOW CREATE ROUTINE"
ADMIN = "-x -H ldapi:/// -D cn=admin,dc=example,dc=org -w admin"
ACL = "redis-cli ACL SETUSER keeper"
KINDS = {
    "postgres": Kind(
        Postgres(),
        "POSTGRES",
        f"{SQL} 'create table t as select 1 as i; create sequence s; create role keeper login'",
        {f"{SQL} 'revoke pg_read_all_data from keeper'": "permission denied for table t"},
        "pg_isready -h 127.0.0.1",
        f"{SQL} 'grant pg_read_all_data to keeper'",
        {"user": "keeper"},
        run=("--env=POSTGRES_PASSWORD=x",),
        warns="no-role-passwords: keeper may not read them",
    ),
    "mariadb": Kind(
        Mysql(),
        "MARIADB",
        f"""{MARIADB} "create database shop; use shop; create table t as select 1 as i;
            create view v as select * from t;
            create trigger r before insert on t for each row set new.i = 1;
            create function f() returns int return 1;
            create event e on schedule every 1 day do select 1; create user keeper@localhost identified by 'p'" """,
        {
            f"{MARIADB} 'revoke SELECT on shop.* from keeper@localhost'": "SELECT",
            f"{MARIADB} 'revoke SHOW VIEW on shop.* from keeper@localhost'": "SHOW VIEW command denied",
            f"{MARIADB} 'revoke TRIGGER on shop.* from keeper@localhost'": "GRANT TRIGGER, EXECUTE",
            f"{MARIADB} 'revoke EVENT on shop.* from keeper@localhost'": "'show events': Access denied",
            f"{MARIADB} 'revoke EXECUTE on shop.* from keeper@localhost'": "GRANT TRIGGER, EXECUTE",
            f"{MARIADB} 'revoke SHOW CREATE ROUTINE on shop.* from keeper@localhost'": "SHOW CREATE FUNCTION",
        },
        "MYSQL_PWD=x mariadb-admin -h127.0.0.1 -uroot ping",
        f"{MARIADB} 'grant {HELD} on shop.* to keeper@localhost'",
        variables={"MARIADB_ROOT_PASSWORD": "", "MARIADB_USER": "keeper", "MARIADB_PASSWORD": "p"},
        run=("--env=MARIADB_ROOT_PASSWORD=x",),
        warns="no-users: users and grants are not part of this backup",
    ),
    "redis": Kind(
        Redis(),
        "REDIS",
        f"redis-cli SET a 1; {ACL} on '>p' -@all",
        {f"{ACL} -{name}": f"'{name}'" for name in ("info", "sync")},
        "redis-cli PING | grep PONG",
        f"{ACL} +info +sync",
        {"user": "keeper"},
        {"REDISCLI_AUTH": "p"},
        command=("redis-server", "--save", "", "--repl-diskless-sync-delay", "0"),
    ),
    "openldap": Kind(
        Openldap(),
        "OPENLDAP",
        "true",
        {},
        "ldapsearch -x -H ldapi:/// -s base -b ''",
        users=("openldap", "nobody"),
        made="openldap:2",
    ),
    "etcd": Kind(
        Etcd(),
        "ETCD",
        "set -e; etcdctl put a 1; etcdctl user add root:r; etcdctl user grant-role root root;"
        "etcdctl user add keeper:p;"
        "etcdctl role add reader; etcdctl role grant-permission reader --prefix=true read '';"
        "etcdctl user grant-role keeper reader; etcdctl user grant-role keeper root; etcdctl auth enable",
        {"etcdctl --user=root:r user revoke-role keeper root": "permission denied"},
        "etcdctl endpoint health",
        "etcdctl --user=root:r user grant-role keeper root || true",
        variables={"ETCDCTL_USER": "keeper", "ETCDCTL_PASSWORD": "p"},
        made="etcd:3",
    ),
    "influxdb": Kind(
        Influxdb(),
        "INFLUXDB",
        """ask() { influx -username root -password r -execute "$1"; }; ask "CREATE USER keeper WITH PASSWORD 'p'";
            ask 'CREATE DATABASE shop'; ask 'GRANT READ ON shop TO keeper'""",
        {"influx -username root -password r -execute 'REVOKE ALL PRIVILEGES FROM keeper'": "not authorized"},
        "influx -username root -password r -execute 'SHOW DATABASES'",
        "influx -username root -password r -execute 'GRANT ALL PRIVILEGES TO keeper'",
        variables={"INFLUX_USERNAME": "keeper", "INFLUX_PASSWORD": "p"},
        run=(
            "--env=INFLUXDB_ADMIN_USER=root",
            "--env=INFLUXDB_ADMIN_PASSWORD=r",
            "--env=INFLUXDB_HTTP_AUTH_ENABLED=true",
        ),
        made="influxdb:1",
        warns="left-out: 2 users",
    ),
    "rabbitmq": Kind(
        Rabbitmq(),
        "RABBITMQ",
        "true",
        {},
        "grep -qrs 'Server startup complete' /var/log/rabbitmq",
        users=("rabbitmq", "nobody"),
        made="rabbitmq:4",
    ),
}
ABOUT = Container("1f", "box", "box:1")


@contextmanager
def started(kind: Kind) -> Iterator[str]:
    if kind.made:
        make_images(kind.made)
    with container(image(kind.of), *kind.command, options=("--init", *kind.run)) as server:
        eventually(lambda: execute("docker", "exec", server, "sh", "-c", kind.ready).returncode == 0, seconds=90)
        within(server, kind.fill)
        yield server


@dataclass(frozen=True)
class Account:
    """Runs what the strategy wants in the server's container."""

    kind: Kind
    server: str
    user: str = "0"

    def argv(self, argv: Argv, *flags: str) -> tuple[str, ...]:
        given = (word for name, value in self.kind.variables.items() for word in ("--env", f"{name}={value}"))
        return ("docker", "exec", *flags, "--user", self.user, *given, self.server, *argv)

    def ask(self, argv: Argv) -> Answer:
        done = said(*self.argv(argv), errors="replace")
        return Answer(done.returncode, done.stdout, done.stderr)

    def plan(self) -> Plan:
        strategy, options = self.kind.strategy, self.kind.strategy.options(**self.kind.options)
        answers = {name: self.ask(argv) for name, argv in strategy.probes(options).items()}
        return strategy.plan(ABOUT, Facts("sh", answers), options)

    def refusal(self) -> str:
        """Why there is no backup; empty where there is one."""
        try:
            return "".join(filter(None, map(self._failed, reversed(self.plan().dumps))))
        except (Unsuitable, Incomplete) as error:
            return f"{error} {getattr(error, 'hint', '')}"

    def _failed(self, dump: Dump) -> str:
        assert isinstance(dump.source, Exec)
        witnesses = {name: self.ask(argv) for name, argv in dump.witnesses.items()}
        if refused := [answer.stderr for answer in witnesses.values() if not answer.ok]:
            return refused[0]
        done = execute(*self.argv(dump.source.argv))
        if done.returncode:
            return done.stderr.decode()
        if isinstance(dump.check, ExecCheck):
            checked = execute(*self.argv(dump.check.argv, "-i"), input=done.stdout)
            return checked.stderr.decode() if checked.returncode else ""
        assert dump.check
        dump.check(BytesIO(done.stdout), {name: answer.stdout for name, answer in witnesses.items()})
        return ""


@pytest.mark.parametrize("name", few(KINDS, "postgres"))
def test_the_rights_that_are_needed_are_enough_and_one_less_is_named(name: str) -> None:
    kind = KINDS[name]
    allowed, denied = kind.users
    with started(kind) as server:
        within(server, kind.again)
        account = Account(kind, server, allowed or "0")
        assert account.refusal() == ""
        assert [line for line in account.plan().warnings if not line.startswith(kind.warns or "-")] == []
        for take, told in kind.less.items():
            within(server, take)
            assert told in account.refusal(), take
            within(server, kind.again)
        if denied:
            assert "backup.user" in Account(kind, server, denied).refusal()


@contextmanager
def held(account: Account, number: int) -> Iterator[None]:
    """A dump is under way, and nobody reads more of it than its begin."""
    source = account.plan().dumps[number].source
    assert isinstance(source, Exec)
    with Popen(account.argv(source.argv), stdout=PIPE) as dump:
        assert dump.stdout
        assert dump.stdout.read(100_000)
        try:
            yield
            assert dump.poll() is None, "it was under way all the time"
        finally:
            dump.kill()
            dump.stdout.close()


@pytest.mark.slow
def test_who_writes_to_postgres_goes_on_and_who_alters_a_table_waits() -> None:
    kind = KINDS["postgres"]
    big = "create table big as select i, repeat(md5(i::text), 60) as t from generate_series(1, 60000) as i"
    with started(kind) as server:
        within(server, f"{SQL} '{big}' && {kind.again}")
        with held(Account(kind, server), 1):
            within(
                server,
                f"{SQL} \"set lock_timeout = '5s'; insert into big values (0, 'x'); delete from big where i = 7\"",
            )
            waits = said("docker", "exec", server, *SQL.split(), "set lock_timeout = '1s'; alter table big add n int")
            assert "canceling statement due to lock timeout" in waits.stderr
        within(server, f"{SQL} \"set lock_timeout = '15s'; alter table big add n int\"")


@pytest.mark.slow
def test_who_writes_to_mariadb_goes_on_and_who_alters_a_table_waits_while_it_is_read() -> None:
    kind = KINDS["mariadb"]
    big = "create table shop.big (i int, t text) select seq as i, repeat(md5(seq), 60) as t from seq_1_to_60000"
    with started(kind) as server:
        within(server, f"{MARIADB} 'use shop; {big}' && {kind.again}")
        with held(Account(kind, server), 0):
            write = "set lock_wait_timeout = 5; insert into big values (0, 1); delete from big where i = 7"
            within(server, f"{MARIADB} 'use shop; {write}; alter table t add n int'")
            alter = "set lock_wait_timeout = 1; alter table shop.big add n int"
            waits = said("docker", "exec", "--env=MYSQL_PWD=x", server, "mariadb", "-uroot", "-e", alter)
            assert "Lock wait timeout exceeded" in waits.stderr
        within(server, f"{MARIADB} 'set lock_wait_timeout = 15; alter table shop.big add n int'")


@pytest.mark.slow
def test_who_writes_to_openldap_goes_on_while_it_is_read() -> None:
    kind = KINDS["openldap"]
    with started(kind) as server:
        within(
            server,
            f"""ldapmodify -Q -Y EXTERNAL -H ldapi:/// <<'END'
dn: olcDatabase={{1}}mdb,cn=config
changetype: modify
add: olcDbMaxSize
olcDbMaxSize: 500000000
END
            photo=$(head -c 300000 /dev/urandom | base64 -w 0)
            for n in $(seq 100); do
                printf 'dn: cn=p%s,dc=example,dc=org\\nobjectClass: inetOrgPerson\\ncn: p%s\\nsn: x\\n' $n $n
                printf 'jpegPhoto:: %s\\n\\n' "$photo"; done | ldapadd {ADMIN}""",
        )
        with held(Account(kind, server), 1):
            new = "dn: cn=new,dc=example,dc=org\\nobjectClass: device\\ncn: new\\n"
            within(
                server,
                f"printf '{new}' | timeout 10 ldapadd {ADMIN} && timeout 10 ldapdelete {ADMIN} cn=p7,dc=example,dc=org",
            )
