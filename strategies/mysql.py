"""MariaDB and MySQL, by the target's own client: each database as SQL, its objects compared with what the server lists.

Every client runs under `CONNECT`, which takes user and password from the target's own environment, so they stay there.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from config.fields import CommaList
from strategies.base import Answer, Container, Facts, Options, Strategy, Unsuitable, shortened
from strategies.mysql_client import ACCOUNT, DUMP, DUMP_FLAGS, LOAD, Client, identifier, query
from strategies.mysql_counts import COUNT_USERS, USERS, count_database, count_users, occupied
from strategies.mysql_dump import rows, whole_dump, whole_users
from strategies.mysql_statements import Grants, code, tables
from strategies.mysql_swap import Swap
from strategies.plan import Argv, Check, Dump, Exec, Feed, Plan, Restore, RestoreRequest, Step, file_name
from strategies.servers import choose, databases_in, no_client, not_ready, refused

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

# Else nothing can be loaded aside, nor a limit of the server be raised for it.
ASIDE = """
select count(distinct privilege_type) from information_schema.user_privileges
where privilege_type in ('CREATE', 'DROP', 'SUPER')
    and grantee = concat('''', replace(current_user(), '@', '''@'''), '''')"""

# Who is there already keeps the password, which the container's own environment may tell.
KEEP_PASSWORDS = (
    r"/^GRANT /s/ IDENTIFIED BY PASSWORD '[^']*'//; /^GRANT /s/ IDENTIFIED VIA [a-z0-9_]*\( USING '[^']*'\)\{0,1\}"
    r"\( OR [a-z0-9_]*\( USING '[^']*'\)\{0,1\}\)*//"
)
USERS_FORMAT = "mysql_users"

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
            "users": query(COUNT_USERS),
            "account": ("sh", "-c", f'{ACCOUNT}printf "%s\\n%s\\n" "$user" "$password"'),
            "databases": query(DATABASES),
            "aside": query(ASIDE),
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
        """Aside, and swapped at the end; an account that may not do that only fills databases in which nothing is."""
        client = _client(container, facts)
        if not facts.answers["databases"].ok:
            raise _refused(facts.answers["databases"])
        databases = databases_in(request, "mysql", ".sql")
        users = [stored.name for stored in request.artifacts if stored.format == USERS_FORMAT]
        counted_users = {artifact: count_users() for artifact in users}
        where, in_the_way = f"databases {', '.join(databases.values())}", tuple(map(occupied, databases.values()))
        user = facts.answers["account"].stdout.split("\n")[0]
        if facts.answers["aside"].stdout.strip() == "3":
            swap = Swap(request, databases, client.flags, user)
            return Restore(
                where=where,
                occupied=in_the_way,
                steps=tuple(swap.steps(users)),
                counts=swap.counts() | counted_users,
                swap=tuple(swap.swap(users)),
                finish=(swap.clear(),),
            )
        if request.replace:
            hint = "Have MARIADB_ROOT_PASSWORD (or MYSQL_ROOT_PASSWORD) in the container, or empty the databases."
            message = f"the account {user} may not make databases, so that what is there cannot be set aside"
            raise Unsuitable(message, hint, "lacks-privilege")
        counts = {artifact: count_database(name) for artifact, name in databases.items()}
        return Restore(where, occupied=in_the_way, steps=tuple(_loads(databases, users)), counts=counts | counted_users)


def _dump(name: str, client: Client, restore: str) -> Dump:
    argv = ("sh", "-c", DUMP, client.dump, *DUMP_FLAGS, *client.flags, "--databases", "--", name)
    witnesses = {"objects": query(OBJECTS, name), "packet": query("select @@global.max_allowed_packet")}
    kind = ("mysql", Exec(argv), restore, whole_dump)
    return Dump(file_name(name, ".sql"), *kind, witnesses=witnesses, subject=name, count=count_database(name))


def _users(client: Client, restore: str) -> Dump:
    """Users, roles and grants as SQL; its name ends as no database's does."""
    argv = ("sh", "-c", DUMP, client.dump, "--system=users", "--insert-ignore", "--comments")
    kind = (USERS_FORMAT, Exec(argv), f"sed {shlex.quote(KEEP_PASSWORDS)} | {restore}", whole_users)
    return Dump("users.grants", *kind, witnesses={"users": query(USERS)}, count=count_users())


def _loads(databases: Mapping[str, str], users: Sequence[str]) -> Iterator[Step]:
    """Into databases in which nothing is; what looks into another one comes last."""
    for rewrite in (tables, code):
        for artifact, name in databases.items():
            drop = f"drop database if exists {identifier(name)}; create database {identifier(name)}"
            yield Feed(artifact, ("sh", "-c", LOAD), undo=query(drop), rewrite=rewrite)
    for artifact in users:
        yield Feed(artifact, ("sh", "-c", LOAD), rewrite=Grants())


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
