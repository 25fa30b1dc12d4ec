"""PostgreSQL, by the target's own client: each database in custom format, and what belongs to the whole cluster.

Every client runs under `CONNECT`, which takes user and password from the target's own environment, so they stay there.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO

from pydantic import Field

from config.fields import CommaList
from strategies.base import Answer, Container, Facts, Options, Strategy, Unsuitable
from strategies.checks import begins_with, ends, read_counts
from strategies.plan import (
    Argv,
    Check,
    Count,
    Dump,
    Exec,
    ExecCheck,
    Feed,
    Incomplete,
    Plan,
    Restore,
    RestoreRequest,
    Run,
    file_name,
)
from strategies.servers import choose, databases_in, no_client, not_ready, refused

# The variables of the official image, then those of Bitnami's. `exec "$@"` leaves only the client's words in its argv.
CONNECT = """
file() { [ -z "$1" ] || cat "$1"; }
: "${PGUSER:=${POSTGRES_USER:-$(file "${POSTGRES_USER_FILE:-}")}}"
: "${PGUSER:=${POSTGRESQL_USERNAME:-postgres}}"
: "${PGPASSWORD:=${POSTGRES_PASSWORD:-$(file "${POSTGRES_PASSWORD_FILE:-}")}}"
: "${PGPASSWORD:=${POSTGRESQL_PASSWORD:-$(file "${POSTGRESQL_PASSWORD_FILE:-}")}}"
export PGUSER PGPASSWORD
exec "$@"
"""
CONNECTED = ("sh", "-c", CONNECT, "sh")

# Invalid databases (limit -2) are what an interrupted DROP DATABASE leaves; nobody can connect to them.
SERVER = """select json_build_object(
    'version', current_setting('server_version_num')::int, 'name', current_setting('server_version'),
    'user', current_user, 'roles', has_table_privilege('pg_catalog.pg_authid', 'select'),
    'databases', array(select datname from pg_catalog.pg_database
                       where datallowconn and not datistemplate and datconnlimit <> -2))"""

GONE = (
    "server closed the connection|connection has been closed unexpectedly|terminating connection due to"
    "|the database system is (starting up|shutting down|in recovery mode|not yet accepting connections)"
    "|could not connect to server|connection to server .*failed: (Connection refused|No such file or directory)"
)

# A role that exists already (the superuser always does) must not stop the restore of all the others.
IF_NOT_EXISTS = r"s/^CREATE ROLE .*;$/DO $x$BEGIN & EXCEPTION WHEN duplicate_object THEN NULL; END$x$;/"

# What belongs to nobody's extension, in schemas that are not the server's own.
OWN_OBJECTS = """
own as (select oid from pg_catalog.pg_namespace where nspname <> 'information_schema' and nspname !~ '^pg_'),
extra as (select classid, objid from pg_catalog.pg_depend where deptype = 'e'),
relation as (select c.* from pg_catalog.pg_class c where relnamespace in (select oid from own)
    and ('pg_class'::regclass, c.oid) not in (select classid, objid from extra)),
routine as (select p.* from pg_catalog.pg_proc p where pronamespace in (select oid from own)
    and ('pg_proc'::regclass, p.oid) not in (select classid, objid from extra))"""

# Rows of each table by a real count, in one statement and so in one snapshot; of the rest, how many there are.
COUNTS = f"""with {OWN_OBJECTS}, name as (
    select oid, relkind, relispopulated, format('%I.%I', relnamespace::regnamespace, relname) as at from relation)
select substring(query_to_xml('select count(*) as n from only ' || at, false, true, '')::text from '<n>([0-9]+)</n>'),
    'rows of ' || translate(at, E'\\n\\t', '  ') from name where relkind in ('r', 'm') and relispopulated
union all select count(*)::text, case relkind when 'v' then 'views' when 'S' then 'sequences' else 'indexes' end
    from name where relkind in ('v', 'S', 'i', 'I') group by 2
union all select count(*)::text, 'routines' from routine
union all select count(*)::text, 'triggers' from pg_catalog.pg_trigger
    where not tgisinternal and tgrelid in (select oid from relation)
union all select count(*)::text, 'constraints' from pg_catalog.pg_constraint
    where contype in ('p', 'u', 'f', 'x') and conrelid in (select oid from relation)
union all select count(*)::text, 'extensions' from pg_catalog.pg_extension
union all select count(*)::text, 'large objects' from pg_catalog.pg_largeobject_metadata"""  # noqa: S608  # All of it is ours.

# Whatever writes to the server gets a transaction id, and no other transaction does (PostgreSQL, 67.1).
SNAPSHOT = "select txid_current_snapshot()"

ROLES = "select 1, 'role ' || translate(rolname, E'\\n\\t', '  ') from pg_catalog.pg_roles where rolname !~ '^pg_'"

OBJECTS = f"""with {OWN_OBJECTS}
select format('%I.%I', relnamespace::regnamespace, relname) from relation where relkind in ('r','v','m','p','f','S')
union all select format('%I.%I()', pronamespace::regnamespace, proname) from routine
union all select 'large object ' || oid from pg_catalog.pg_largeobject_metadata limit 20"""  # noqa: S608  # All of it is ours.

# `$1` asks the server whether there is the database, `$2` connects to it and lists what it holds.
OCCUPIED = """
found=$(eval "$1") || exit
[ -z "$found" ] || eval "$2"
"""

QUERY_FLAGS = (
    *("--no-psqlrc", "--no-password", "--quiet", "--set=ON_ERROR_STOP=1"),
    *("--tuples-only", "--no-align", "--field-separator=\t"),
)

HEAD = b"PGDMP"  # Of the custom format, whose rest only a client as new as it can read.

COUNT_TIMEOUT = "50s"
"""After this long the server gives up a count, which then stands in no manifest."""


class PostgresOptions(Options):
    """`backup.postgres.*`. There is no host: a label reaches no further than its own container."""

    databases: CommaList = ()
    """Names of the databases to dump. Default: all that allow connections, except templates; the list is read anew
    for each run."""

    user: str | None = None
    """User to connect as. Default: the target's `PGUSER` or `POSTGRES_USER` (or its file), else `postgres`."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the server in the target. Default: `PGPORT`, else 5432."""


class Postgres(Strategy[PostgresOptions]):
    """`pg_dump` for each database and `pg_dumpall --globals-only`, through the local socket."""

    names = ("postgres", "postgresql")
    options = PostgresOptions
    passwords = ("POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD")
    gone = GONE

    def probes(self, options: PostgresOptions) -> Mapping[str, Argv]:
        return {
            "client": ("pg_dump", "--version"),
            "ready": _connected("pg_isready", options),
            "server": _psql(options, "postgres", SERVER),
        }

    def plan(self, container: Container, facts: Facts, options: PostgresOptions) -> Plan:
        server = _server(container, facts)
        names = choose(options.databases, server["databases"])
        dumps = [_dump(name, server["user"], options) for name in names]
        if server["roles"]:
            return Plan((_globals(server["user"], options), *dumps))
        warning = f"no-role-passwords: {server['user']} may not read them; only a superuser may (backup.postgres.user)"
        return Plan((_globals(server["user"], options, "--no-role-passwords"), *dumps), (warning,))

    def formats(self) -> Mapping[str, Check]:
        return {"pg_custom": begins_with(HEAD), "pg_globals": whole_globals}

    def restore(self, container: Container, facts: Facts, options: PostgresOptions, request: RestoreRequest) -> Restore:
        """Roles first; then each database into a new one of its name, with what had the name set aside until the end.

        So a restore that fails leaves every database as it was; roles stay.
        """
        _server(container, facts)
        databases = databases_in(request, "pg_custom", ".pgdump")
        others = [stored.name for stored in request.artifacts if stored.name not in databases]
        aside = {artifact: f"before-{request.run}-{number}" for number, artifact in enumerate(databases)}
        loads = (_load_steps(artifact, name, aside[artifact], options) for artifact, name in databases.items())
        return Restore(
            where=f"databases {', '.join(databases.values())}",
            occupied=tuple(_occupied(name, options) for name in databases.values()),
            steps=(*(Feed(artifact, _load_globals(options)) for artifact in others), *chain.from_iterable(loads)),
            counts={artifact: _count(name, options) for artifact, name in databases.items()}
            | {artifact: _count_roles(options) for artifact in others},
            finish=tuple(
                _psql(options, "template1", f"drop database if exists {identifier(name)}") for name in aside.values()
            ),
        )


def _dump(name: str, user: str, options: PostgresOptions) -> Dump:
    argv = _connected("pg_dump", options, "--no-password", "--format=custom", "--compress=0", _database(name))
    restore = "pg_restore --exit-on-error --clean --if-exists --create --dbname=template1"
    restore, count = f"{restore} --username={shlex.quote(user)}", _count(name, options)
    whole = ExecCheck(("pg_restore", "--file=/dev/null"), head=HEAD)
    return Dump(file_name(name, ".pgdump"), "pg_custom", Exec(argv), restore, whole, subject=name, count=count)


def _globals(user: str, options: PostgresOptions, *flags: str) -> Dump:
    argv = _connected("pg_dumpall", options, "--no-password", "--globals-only", *flags, "--database=postgres")
    psql = f"psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username={shlex.quote(user)} --dbname=postgres"
    restore = f"sed '{IF_NOT_EXISTS}' | {psql}"
    return Dump("globals.sql", "pg_globals", Exec(argv), restore, whole_globals, count=_count_roles(options))


def _count(name: str, options: PostgresOptions) -> Count:
    source = Exec(_psql(options, name, COUNTS, options=f"-c statement_timeout={COUNT_TIMEOUT}"))
    return Count(source, read_counts, still=_psql(options, name, SNAPSHOT))


def _count_roles(options: PostgresOptions) -> Count:
    return Count(Exec(_psql(options, "postgres", ROLES)), read_counts)


def _occupied(name: str, options: PostgresOptions) -> Exec:
    there = f"select 1 from pg_catalog.pg_database where datname = {literal(name)}"  # noqa: S608  # quoted
    queries = (_query(options, "template1", there), _query(options, name, OBJECTS))
    return Exec((*CONNECTED, "sh", "-c", OCCUPIED, "sh", *map(shlex.join, queries)))


def _load_steps(artifact: str, name: str, aside: str, options: PostgresOptions) -> Iterator[Run | Feed]:
    """What has the name is renamed, which also keeps everybody out, and comes back when something fails.

    Nothing is ever restored to, or dropped from, `template1`.
    """
    here, there = identifier(name), identifier(aside)
    shut = _where(name, f"alter database {here} allow_connections false")
    away = _where(name, f"alter database {here} rename to {there}")
    back = _where(aside, f"alter database {there} rename to {here}")
    reopen = _where(name, f"alter database {here} allow_connections true")
    yield Run(
        _psql(options, "template1", shut, _disconnect(name), away), undo=_psql(options, "template1", back, reopen)
    )
    argv = _connected("pg_restore", options, "--no-password", "--exit-on-error", "--create", _database("template1"))
    yield Feed(artifact, argv, _psql(options, "template1", _disconnect(name), f"drop database if exists {here}"))


def _load_globals(options: PostgresOptions) -> Argv:
    # The trap lets the shell outlive its children, of which the server, as first process, would take ill care.
    load = f"trap 'exit 143' TERM; sed {shlex.quote(IF_NOT_EXISTS)} | \"$@\" >/dev/null"
    return (*CONNECTED, "sh", "-c", load, "sh", *_query(options, "postgres"))


def _where(database: str, statement: str) -> str:
    """The statement, where there is the database."""
    there = f"exists (select from pg_catalog.pg_database where datname = {literal(database)})"
    return f"do {literal(f'begin if {there} then {statement}; end if; end')}"


def _disconnect(name: str) -> str:
    terminated = "select pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
    return f"{terminated} where datname = {literal(name)}"


def identifier(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it, whatever `standard_conforming_strings` is."""
    quoted = text.replace("'", "''").replace("\\", "\\\\")
    return f" E'{quoted}'"


def whole_globals(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    r"""Demand the trailer and, where the head has a `\restrict` (since August 2025), the `\unrestrict` to it."""
    head, tail = ends(stream)
    opened = re.search(rb"^\\restrict (\w+)$", head, re.MULTILINE)
    if opened and b"\n\\unrestrict " + opened[1] + b"\n" not in tail:
        raise Incomplete("the globals' \\restrict is not answered by its \\unrestrict at the end")
    if not tail.rstrip().endswith(b"\n-- PostgreSQL database cluster dump complete\n--"):
        raise Incomplete("the globals end without 'PostgreSQL database cluster dump complete'")
    return ()


def _psql(options: PostgresOptions, database: str, /, *statements: str, **settings: str) -> Argv:
    return (*CONNECTED, *_query(options, database, *statements, **settings))


def _query(options: PostgresOptions, database: str, /, *statements: str, **settings: str) -> Argv:
    """Each statement in a transaction of its own; to be run under `CONNECTED`."""
    commands = (f"--command={statement}" for statement in statements)
    place = _database(database, client_encoding="UTF8", **settings)
    return ("psql", *_account(options), *QUERY_FLAGS, *commands, place)


def _connected(tool: str, options: PostgresOptions, *arguments: str) -> Argv:
    return (*CONNECTED, tool, *_account(options), *arguments)


def _account(options: PostgresOptions) -> Argv:
    user = (f"--username={options.user}",) if options.user else ()
    return (*user, *((f"--port={options.port}",) if options.port else ()))


def _database(name: str, **settings: str) -> str:
    """As a connection string (libpq, 32.1.1.1), since a bare name with `=` in it would be taken for one."""
    quoted = ({"dbname": name} | settings).items()
    return "--dbname=" + " ".join(f"{key}='" + re.sub(r"(['\\])", r"\\\1", value) + "'" for key, value in quoted)


def _server(container: Container, facts: Facts) -> Any:
    """What the server said of itself; raises `Unsuitable` when one of the probes found a reason against a dump."""
    client, ready, server = (facts.answers[name] for name in ("client", "ready", "server"))
    if facts.shell is None or not client.ok:
        raise no_client(container, "sh or pg_dump")
    if ready.code in (1, 2):
        raise not_ready()
    if not server.ok:
        hint = "Check POSTGRES_USER and POSTGRES_PASSWORD of the container, or set backup.postgres.user."
        raise refused(server.complaint, hint, GONE)
    settings = json.loads(server.stdout)
    if settings["version"] // 10000 > _major(client):
        hint = "Use an image whose client is as new as its server."
        raise Unsuitable(f"{client.stdout.strip()} cannot dump a server {settings['name']}", hint, "client-too-old")
    return settings


def _major(client: Answer) -> int:
    version = re.search(r"\) (\d+)", client.stdout)
    return int(version[1]) if version else 0
