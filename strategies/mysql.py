"""MariaDB and MySQL, by the target's own client: each database as SQL, its objects compared with what the server lists.

Every client runs under `CONNECT`, which takes user and password from the target's own environment, so they stay there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from config.fields import CommaList
from config.wording import shortened
from strategies.base import Answer, Container, Facts, Options, Strategy, Unsuitable, unreadable
from strategies.mysql_client import (
    ACCOUNT,
    ACCOUNT_ANSWER,
    DUMP_DATABASE,
    DUMP_FLAGS,
    DUMP_USERS,
    GRANT_ALL,
    LOAD,
    Client,
    identifier,
    query,
    room,
)
from strategies.mysql_counts import (
    COUNT_USERS,
    HERE,
    READABLE,
    USERS,
    count_accounts,
    count_database,
    count_grants,
    count_users,
    dump_options,
    grants_left_out,
    left_out,
    occupied,
    size_of,
    sizes,
)
from strategies.mysql_definitions import OUTWARD
from strategies.mysql_dump import rows, whole_dump, whole_users
from strategies.mysql_order import CODE, VIEWS, Later, Tables
from strategies.mysql_statements import Grants, accounts
from strategies.mysql_swap import KEPT, Swap
from strategies.plan import (
    Argv,
    Check,
    Dump,
    Exec,
    Feed,
    Incomplete,
    Plan,
    Restore,
    RestoreRequest,
    Step,
    file_name,
    only_told,
    shell_line,
)
from strategies.servers import choose, databases_in, no_client, not_ready, refused, sizes_in

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

OBJECTS = f"""
select case table_type when 'VIEW' then 'VIEW' when 'SEQUENCE' then 'SEQUENCE' else 'TABLE' end, table_name, engine
    from information_schema.tables where {HERE} and {READABLE}
union all
select 'TABLE', table_name, engine from information_schema.tables where {HERE} and {OUTWARD}
union all
select routine_type, routine_name, '' from information_schema.routines where routine_schema = cast(database() as binary)
union all
select 'TRIGGER', trigger_name, '' from information_schema.triggers where trigger_schema = cast(database() as binary)
union all
select 'EVENT', event_name, '' from information_schema.events where event_schema = cast(database() as binary)"""  # noqa: S608  # All of it is ours.

# Else nothing can be loaded aside, nor a limit of the server be raised for it.
ASIDE = """
select count(distinct privilege_type) from information_schema.user_privileges
where privilege_type in ('CREATE', 'DROP', 'SUPER')
    and grantee = concat('''', replace(current_user(), '@', '''@'''), '''')"""

TEXT, NAME = r"'([^'\\]|\\.)*'", "`[^`]*`"
# For `sed`, which has the whole dump as one line: what is kept, or the password of who is granted something.
# Who is made gets the dump's, who is there already keeps its own, which the container's environment may tell.
GRANTED = (
    rf"(CREATE USER ([^;'`]|{TEXT}|{NAME})*;|(^|\n)-- [^\n]*|{TEXT}|{NAME})"
    rf"| IDENTIFIED (BY PASSWORD {TEXT}|VIA \w+( USING {TEXT})?( OR \w+( USING {TEXT})?)*)"
)
KEEP_PASSWORDS = ("sed", "-zE", rf"s/{GRANTED}/\1/g")
USERS_FORMAT = "mysql_users"
ACCOUNTS = "accounts.grants"
"""Name of the dump for who restores by hand, whose views need who they run as and what that one may do."""

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
            "history": ("mariadb-dump", "--no-defaults", "--dump-history", "--version"),
            "system": ("mariadb-dump", "--no-defaults", "--system=users", "--version"),
            "users": query(COUNT_USERS),
            "account": ("sh", "-c", f'{ACCOUNT}printf "%s\\n%s\\n" "$user" "$password"'),
            "databases": query(DATABASES),
            "aside": query(ASIDE),
            "sizes": sizes(),
        }

    def plan(self, container: Container, facts: Facts, options: MysqlOptions) -> Plan:
        client = _client(container, facts)
        names, kept = _databases(facts.answers["databases"], options)
        restore = _restore(client, facts.answers["account"])
        disk = sizes_in(facts)
        dumps = [_dump(name, client, restore, disk.get(name)) for name in names]
        warnings = tuple(f"left-out: {name} holds what a restore has replaced; drop it in the end" for name in kept)
        if facts.answers["system"].ok and facts.answers["users"].ok:
            return Plan((_accounts(client, restore), *dumps, _users(client, restore, names)), warnings)
        why = facts.answers["users"].complaint if facts.answers["system"].ok else "only newer clients of MariaDB can"
        no_users = f"no-users: users and grants are not part of this backup, only databases: {why}"
        return Plan(tuple(dumps), (no_users, *warnings))

    def formats(self) -> Mapping[str, Check]:
        return {"mysql": whole_dump, USERS_FORMAT: whole_users}

    def restore(self, container: Container, facts: Facts, options: MysqlOptions, request: RestoreRequest) -> Restore:
        """Aside, and swapped at the end; an account that may not do that only fills databases in which nothing is."""
        client = _client(container, facts)
        if not facts.answers["databases"].ok:
            raise _refused(facts.answers["databases"])
        databases = databases_in(request, "mysql", ".sql")
        users = [stored.name for stored in request.artifacts if stored.format == USERS_FORMAT]
        granted = [name for name in users if name != ACCOUNTS]
        about: dict[str, Any] = {"where": f"databases {', '.join(databases.values())}", "room": room()}
        about["occupied"] = tuple(map(occupied, databases.values()))
        user, _ = _account(facts.answers["account"])
        if facts.answers["aside"].stdout.strip() == "3":
            swap = Swap(request, databases, client.flags, _is_late(facts), user)
            return Restore(
                clients=swap.clients,
                **about,
                frees=size_of(*databases.values()),
                steps=tuple(swap.steps(users)),
                counts=swap.counts() | {artifact: count_accounts() for artifact in granted},
                present={artifact: count_database(name) for artifact, name in databases.items()},
                swap=tuple(swap.swap(granted)),
                swapped=swap.swapped() | {artifact: count_grants(databases.values()) for artifact in granted},
                settled=swap.settled(),
                finish=(swap.clear(),),
            )
        if request.replace:
            hint = "Have MARIADB_ROOT_PASSWORD (or MYSQL_ROOT_PASSWORD) in the container, or empty the databases."
            message = f"the account {user} may not make databases, so that what is there cannot be set aside"
            raise Unsuitable(message, hint, "lacks-privilege")
        counts = {artifact: count_database(name) for artifact, name in databases.items()}
        counts |= {artifact: count_users(databases.values()) for artifact in granted}
        return Restore(**about, steps=tuple(_loads(databases, users, granted)), counts=counts)


def _dump(name: str, client: Client, restore: str, size: int | None) -> Dump:
    history = client.has_history
    options = dump_options(history=history)
    argv = ("sh", "-c", DUMP_DATABASE, client.dump, options, name, *DUMP_FLAGS, *client.flags)
    witnesses = {"objects": query(OBJECTS, name), "packet": query("select @@global.max_allowed_packet")}
    kind = ("mysql", Exec(argv), restore, whole_dump)
    about: dict[str, Any] = {"subject": name, "count": count_database(name, history=history), "disk": size}
    about["left_out"] = left_out(name, history=history)
    return Dump(file_name(name, ".sql"), *kind, witnesses=witnesses, **about)


def _users(client: Client, restore: str, databases: Sequence[str]) -> Dump:
    """Users, roles, grants and other servers as SQL; its name ends as no database's does."""
    argv = ("sh", "-c", DUMP_USERS, client.dump, "--system=users,servers", "--insert-ignore", "--comments")
    kind = (USERS_FORMAT, Exec(argv), f"{shell_line(KEEP_PASSWORDS)} | {restore} --force", whole_users)
    about: dict[str, Any] = {"count": count_users(databases), "left_out": grants_left_out(databases), "disk": 0}
    return Dump("users.grants", *kind, witnesses={"users": query(USERS)}, **about)


def _accounts(client: Client, restore: str) -> Dump:
    """The same once more, since it goes on where a grant is of what is not there yet."""
    users, goes_on = _users(client, restore, ()), f"{{ {restore} --force 2>/dev/null; true; }}"
    again = f"{shell_line(KEEP_PASSWORDS)} | {goes_on}"
    return replace(users, name=ACCOUNTS, restore=again, count=None, left_out=None)


def _loads(databases: Mapping[str, str], users: Sequence[str], granted: Sequence[str]) -> Iterator[Step]:
    """Into databases in which nothing is; views come last, since they look into others and need grants."""
    for artifact in users:
        yield Feed(artifact, LOAD, rewrite=accounts)
    for artifact, name in databases.items():
        drop = f"drop database if exists {identifier(name)}; create database {identifier(name)}"
        yield Feed(artifact, LOAD, undo=query(drop), rewrite=Tables(name))
    for artifact, name in databases.items():
        yield Feed(artifact, LOAD, rewrite=Later(name, CODE))
    for artifact in granted:
        yield Feed(artifact, GRANT_ALL, rewrite=Grants(), hear=only_told)
    for artifact, name in databases.items():
        yield Feed(artifact, LOAD, rewrite=Later(name, VIEWS))


def _is_late(facts: Facts) -> bool:
    """Whether the server is one of MariaDB from 11.5 on, as the client of its image."""
    version = re.search(r"(\d{1,3})\.(\d{1,3})\.\d+-MariaDB", facts.answers["mariadb-dump"].stdout)
    return version is not None and (int(version[1]), int(version[2])) >= (11, 5)


def _client(container: Container, facts: Facts) -> Client:
    new, old = facts.answers["mariadb-dump"], facts.answers["mysqldump"]
    if facts.shell is not None and new.ok:
        return Client("mariadb-dump", "mariadb", (), has_history=facts.answers["history"].ok)
    if facts.shell is not None and old.ok:
        # Else the dump can only be restored into a server that has not had a transaction yet.
        return Client("mysqldump", "mysql", () if "MariaDB" in old.stdout else ("--set-gtid-purged=OFF",))
    raise no_client(container, "sh, or both mariadb-dump and mysqldump")


def _databases(answer: Answer, options: MysqlOptions) -> tuple[Sequence[str], Sequence[str]]:
    """Those to dump, and those that a restore has kept.

    Raises `Unsuitable` when the server does not answer, lacks one, or may hide a part of one.
    """
    if not answer.ok:
        raise _refused(answer)
    try:
        visible = {name: entire == "1" for name, entire in rows(answer.stdout, columns=2)}
    except Incomplete as error:
        raise unreadable("the question for its databases", answer) from error
    kept = sorted(filter(KEPT.fullmatch, visible.keys() - {*options.databases}))
    if visible.keys() <= {*kept}:
        hint = "Create one, or leave this target out; it is asked again before each run."
        raise Unsuitable("the server shows no database to this account", hint, "no-database")
    names = choose(options.databases, [name for name in visible if name not in kept])
    if hidden := [name for name in names if not visible[name]]:
        hint = "GRANT TRIGGER, EXECUTE on them to the account itself, or use another one: a role's grants are not seen."
        raise Unsuitable(
            f"the account may not see every trigger and routine of {shortened(hidden)}", hint, "lacks-privilege"
        )
    return names, kept


def _refused(answer: Answer) -> Unsuitable:
    error = re.search(r"ERROR (\d+)", answer.stderr)
    if error and error[1] in NOT_READY_ERRORS:
        return not_ready()
    hint = "Check MARIADB_ROOT_PASSWORD (or MYSQL_ROOT_PASSWORD, MARIADB_USER and MARIADB_PASSWORD) of the container."
    return refused(answer.complaint, hint)


def _restore(client: Client, account: Answer) -> str:
    user, password = _account(account)
    value = f'"$(cat "${password}")"' if password.endswith("_FILE") else f'"${password}"'
    secret = f"MYSQL_PWD={value} " if password else ""
    flags = "--default-character-set=utf8mb4 --max-allowed-packet=1G --binary-mode"
    return f"{secret}{client.shell} --user={shell_line((user,))} {flags}"


def _account(answer: Answer) -> tuple[str, str]:
    """Whom the client connects as, and the variable that holds the password, if any; raises `Unsuitable`."""
    if (account := ACCOUNT_ANSWER.fullmatch(answer.stdout)) is None:
        raise unreadable("the question for its account", answer)
    return account["user"], account["password"]
