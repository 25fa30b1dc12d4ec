"""MariaDB and MySQL, by the target's own client: each database as SQL, its objects compared with what the server lists.

Every client runs under `CONNECT`, which takes user and password from the target's own environment, so they stay there.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from config.fields import CommaList
from strategies.base import Answer, Container, Facts, Options, Strategy, Unsuitable, shortened
from strategies.checks import read_counts
from strategies.mysql_dump import rows, whole_dump, whole_users
from strategies.plan import Argv, Check, Count, Dump, Exec, Feed, Plan, Restore, RestoreRequest, Run, Step, file_name
from strategies.servers import choose, databases_in, no_client, not_ready, refused

# The variables of the official images; `password` is the name of the one that was found.
ACCOUNT = r"""
pick() {
    eval "value=\${$2:-} file=\${$2_FILE:-}"
    [ -n "$value$file" ] && user=$1 MYSQL_PWD=${value:-$(cat "$file")} password=$2${file:+_FILE}
}
user=root password= MYSQL_PWD=
pick root MARIADB_ROOT_PASSWORD || pick root MYSQL_ROOT_PASSWORD ||
    [ -n "${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD:-}${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ] ||
    pick "${MARIADB_USER:-}" MARIADB_PASSWORD || pick "${MYSQL_USER:-}" MYSQL_PASSWORD
"""
# `--no-defaults` keeps a my.cnf of the target from changing the dump, but with it the socket's place is lost.
CONNECT = f"""{ACCOUNT}
export MYSQL_PWD
for socket in /run/mysqld/mysqld.sock /var/lib/mysql/mysql.sock /tmp/mysql.sock /opt/bitnami/*/tmp/mysql.sock; do
    if [ -S "$socket" ]; then export MYSQL_UNIX_PORT="${{MYSQL_UNIX_PORT:-$socket}}"; fi
done
"""
DUMP = f'{CONNECT}exec "$0" --no-defaults --user="$user" "$@"'
CLIENT = """"$(command -v mariadb || command -v mysql)" --no-defaults --user="$user" \
--default-character-set=utf8mb4 --max-allowed-packet=1G --batch --skip-column-names"""
QUERY = f"""{CONNECT}exec {CLIENT} --execute="$1" --database="$0" """
# The first answer is statements, too long for an argument, which then run on one connection.
QUERIES = f"""{CONNECT}statements=$({CLIENT} --raw --execute="$1" --database="$0") || exit
printf %s "$statements" | {CLIENT} --database="$0" """
LOAD = f"{CONNECT}exec {CLIENT} --binary-mode >/dev/null"

# Without both privileges the server hides triggers or routines from dump and list alike, and nothing fails.
# Names are grouped and compared as bytes, since those that differ only in case are two databases on most servers.
DATABASES = """
select schema_name, count(distinct privilege_type) = 2 from information_schema.schemata left join (
    select grantee, privilege_type, '%' as pattern from information_schema.user_privileges union all
    select grantee, privilege_type, table_schema from information_schema.schema_privileges
) as held on cast(schema_name as binary) like pattern and privilege_type in ('EXECUTE', 'TRIGGER')
    and grantee = concat('''', replace(current_user(), '@', '''@'''), '''')
where cast(schema_name as binary) not in
    ('information_schema', 'performance_schema', 'mysql', 'sys', '#mysql50#lost+found')
group by schema_name, cast(schema_name as binary)"""

OBJECTS = """
select case table_type when 'VIEW' then 'VIEW' when 'SEQUENCE' then 'SEQUENCE' else 'TABLE' end, table_name, engine
    from information_schema.tables where table_schema = cast(database() as binary)
union all
select routine_type, routine_name, '' from information_schema.routines where routine_schema = cast(database() as binary)
union all
select 'TRIGGER', trigger_name, '' from information_schema.triggers where trigger_schema = cast(database() as binary)
union all
select 'EVENT', event_name, '' from information_schema.events where event_schema = cast(database() as binary)"""

# Rows of each table by a real count, all in one snapshot; of the rest, how many there are.
COUNTS = """
select '/*M!100101 set max_statement_time=50*/; start transaction with consistent snapshot;' union all
select concat('select count(*), ', quote(concat('rows of ', table_name)), ' from `', replace(table_name, '`', '``'),
    '`;') from information_schema.tables where table_schema = cast(database() as binary) and table_type = 'BASE TABLE'
union all select concat('select count(*), ', quote(what), ' from information_schema.', what, ' where ', place,
    ' = cast(database() as binary);') from (
    select 'views' as what, 'table_schema' as place union all select 'routines', 'routine_schema'
    union all select 'triggers', 'trigger_schema' union all select 'events', 'event_schema') as kinds"""

USERS = "select user, host from mysql.user where is_role = 'N'"
COUNT_USERS = f"select 1, concat('user ', user, '@', host) from ({USERS}) as users"  # noqa: S608  # All of it is ours.

OCCUPIED = """
select table_name from information_schema.tables where table_schema = cast({0} as binary) union all
select routine_name from information_schema.routines where routine_schema = cast({0} as binary) union all
select event_name from information_schema.events where event_schema = cast({0} as binary) limit 20"""

# Who is there already keeps the password, which the container's own environment may tell.
KEEP_PASSWORDS = (
    r"/^GRANT /s/ IDENTIFIED BY PASSWORD '[^']*'//; /^GRANT /s/ IDENTIFIED VIA [a-z0-9_]*\( USING '[^']*'\)\{0,1\}"
    r"\( OR [a-z0-9_]*\( USING '[^']*'\)\{0,1\}\)*//"
)
LOAD_USERS = f"{CONNECT}sed {shlex.quote(KEEP_PASSWORDS)} | {CLIENT} --binary-mode >/dev/null"
USERS_FORMAT = "mysql_users"

DUMP_FLAGS = (
    "--single-transaction",
    "--routines",
    "--events",
    "--triggers",
    "--add-drop-trigger",
    "--hex-blob",
    "--no-tablespaces",
    "--comments",
    "--max-allowed-packet=1G",
    "--default-character-set=utf8mb4",
)
"""`--comments` writes the trailer; `--add-drop-trigger` names each trigger in the server's quoting, for the check;
a row may be as large as the server allows, not only 16 MiB; `--no-tablespaces` spares the PROCESS privilege."""

NOT_READY_ERRORS = {"1040", "1053", "2002", "2003", "2006", "2013"}
"""Too many connections, shutting down, cannot connect, gone, lost (both clients' error numbers)."""


class MysqlOptions(Options):
    """`backup.mysql.*`. There is no host: a label reaches no further than its own container."""

    databases: CommaList = ()
    """Names of the databases to dump. Default: all except the server's own; the list is read anew for each run."""


class Mysql(Strategy[MysqlOptions]):
    """`mariadb-dump` or `mysqldump` for each database, through the local socket."""

    names = ("mysql", "mariadb")
    options = MysqlOptions
    gone = "Lost connection to|server has gone away|Can't connect to|Server shutdown in progress"
    passwords = ("MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD", "MARIADB_PASSWORD", "MYSQL_PASSWORD")

    def probes(self, options: MysqlOptions) -> Mapping[str, Argv]:
        return {
            "mariadb-dump": ("mariadb-dump", "--version"),
            "mysqldump": ("mysqldump", "--version"),
            "system": ("mariadb-dump", "--no-defaults", "--system=users", "--version"),
            "users": _query(COUNT_USERS, "information_schema"),
            "account": ("sh", "-c", f'{ACCOUNT}printf "%s\\n%s\\n" "$user" "$password"'),
            "databases": _query(DATABASES, "information_schema"),
        }

    def plan(self, container: Container, facts: Facts, options: MysqlOptions) -> Plan:
        client = _client(container, facts)
        names = _databases(facts.answers["databases"], options)
        restore = _restore(client, facts.answers["account"])
        dumps = [_dump(name, client, restore) for name in names]
        if facts.answers["system"].ok and facts.answers["users"].ok:
            return Plan((*dumps, _users(client, restore)))
        why = facts.answers["users"].complaint if facts.answers["system"].ok else "only newer clients of MariaDB can"
        return Plan(tuple(dumps), (f"no-users: users and grants are not part of this backup, only databases: {why}",))

    def formats(self) -> Mapping[str, Check]:
        return {"mysql": whole_dump, USERS_FORMAT: whole_users}

    def restore(self, container: Container, facts: Facts, options: MysqlOptions, request: RestoreRequest) -> Restore:
        """Each database from nothing, then the users.

        A database that fails is left empty, as it was, unless it was replaced: DDL knows no transaction here, and a
        database cannot be renamed. So what was replaced is in the safety backup only.
        """
        _client(container, facts)
        if not facts.answers["databases"].ok:
            raise _refused(facts.answers["databases"])
        databases = databases_in(request, "mysql", ".sql")
        users = [stored.name for stored in request.artifacts if stored.format == USERS_FORMAT]
        steps = [step for artifact, name in databases.items() for step in _load_steps(artifact, name, request)]
        return Restore(
            where=f"databases {', '.join(databases.values())}",
            occupied=tuple(map(_occupied, databases.values())),
            steps=(*steps, *(Feed(artifact, ("sh", "-c", LOAD_USERS)) for artifact in users)),
            counts={artifact: _count(name) for artifact, name in databases.items()}
            | {artifact: _count_users() for artifact in users},
        )


class Client(NamedTuple):
    """The target's own tools."""

    dump: str
    shell: str
    flags: tuple[str, ...]


def _dump(name: str, client: Client, restore: str) -> Dump:
    argv = ("sh", "-c", DUMP, client.dump, *DUMP_FLAGS, *client.flags, "--databases", "--", name)
    objects = {"objects": _query(OBJECTS, name)}
    kind = ("mysql", Exec(argv), restore, whole_dump)
    return Dump(file_name(name, ".sql"), *kind, witnesses=objects, subject=name, count=_count(name))


def _users(client: Client, restore: str) -> Dump:
    """Users, roles and grants as SQL; its name ends as no database's does."""
    argv = ("sh", "-c", DUMP, client.dump, "--system=users", "--insert-ignore", "--comments")
    kind = (USERS_FORMAT, Exec(argv), f"sed {shlex.quote(KEEP_PASSWORDS)} | {restore}", whole_users)
    return Dump("users.grants", *kind, witnesses={"users": _query(USERS, "information_schema")}, count=_count_users())


def _count(name: str) -> Count:
    return Count(Exec(("sh", "-c", QUERIES, name, COUNTS)), read_counts)


def _count_users() -> Count:
    return Count(Exec(_query(COUNT_USERS, "information_schema")), read_counts)


def _occupied(name: str) -> Exec:
    """The name in hexadecimal, since a backslash in quotes may or may not escape."""
    return Exec(_query(OCCUPIED.format(f"x'{name.encode().hex()}'"), "information_schema"))


def _load_steps(artifact: str, name: str, request: RestoreRequest) -> Iterator[Step]:
    quoted = "`" + name.replace("`", "``") + "`"
    drop = f"drop database if exists {quoted}"
    if request.replace:
        yield Run(_query(drop, "information_schema"))
    undo = None if request.replace else _query(f"{drop}; create database {quoted}", "information_schema")
    yield Feed(artifact, ("sh", "-c", LOAD), undo)


def _query(sql: str, database: str) -> Argv:
    return ("sh", "-c", QUERY, database, sql)


def _client(container: Container, facts: Facts) -> Client:
    new, old = facts.answers["mariadb-dump"], facts.answers["mysqldump"]
    if facts.shell is not None and new.ok:
        return Client("mariadb-dump", "mariadb", ())
    if facts.shell is not None and old.ok:
        # Else the dump can only be restored into a server that has not had a transaction yet.
        return Client("mysqldump", "mysql", () if "MariaDB" in old.stdout else ("--set-gtid-purged=OFF",))
    raise no_client(container, "sh, or both mariadb-dump and mysqldump")


def _databases(answer: Answer, options: MysqlOptions) -> Iterable[str]:
    """Those to dump; raises `Unsuitable` when the server does not answer, lacks one, or may hide a part of one."""
    if not answer.ok:
        raise _refused(answer)
    visible = {name: entire == "1" for name, entire in rows(answer.stdout)}
    if not visible:
        hint = "Create one, or leave this target out; it is asked again before each run."
        raise Unsuitable("the server shows no database to this account", hint, "no-database")
    names = choose(options.databases, list(visible))
    if hidden := [name for name in names if not visible[name]]:
        hint = "GRANT TRIGGER, EXECUTE on them to the account itself, or use another one: a role's grants are not seen."
        raise Unsuitable(
            f"the account may not see every trigger and routine of {shortened(hidden)}", hint, "lacks-privilege"
        )
    return names


def _refused(answer: Answer) -> Unsuitable:
    error = re.search(r"ERROR (\d+)", answer.stderr)
    if error and error[1] in NOT_READY_ERRORS:
        return not_ready()
    hint = "Check MARIADB_ROOT_PASSWORD (or MYSQL_ROOT_PASSWORD, MARIADB_USER and MARIADB_PASSWORD) of the container."
    return refused(answer.complaint, hint)


def _restore(client: Client, account: Answer) -> str:
    user, password = account.stdout.split("\n")[:2]
    value = f'"$(cat "${password}")"' if password.endswith("_FILE") else f'"${password}"'
    secret = f"MYSQL_PWD={value} " if password else ""
    flags = "--default-character-set=utf8mb4 --max-allowed-packet=1G --binary-mode"
    return f"{secret}{client.shell} --user={shlex.quote(user)} {flags}"
