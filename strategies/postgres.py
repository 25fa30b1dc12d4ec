"""PostgreSQL, by the target's own client: each database in custom format, and what belongs to the whole cluster."""

import re
from collections.abc import Mapping
from typing import Annotated, BinaryIO

from pydantic import BaseModel, StringConstraints, ValidationError

from strategies.base import Answer, Container, Facts, Strategy, Unsuitable, unreadable
from strategies.checks import begins_with, ends
from strategies.plan import (
    Argv,
    Check,
    Dump,
    Exec,
    ExecCheck,
    Incomplete,
    Plan,
    Restore,
    RestoreRequest,
    file_name,
    shell_line,
)
from strategies.postgres_client import SETTINGS, PostgresOptions, connected, dbname, psql, sizes
from strategies.postgres_counts import count_database, count_roles, left_out
from strategies.postgres_restore import restore
from strategies.servers import choose, no_client, not_ready, refused, sizes_in

# Invalid databases (limit -2) are what an interrupted DROP DATABASE leaves; nobody can connect to them.
SERVER = """select json_build_object(
    'version', current_setting('server_version_num')::int, 'name', current_setting('server_version'),
    'user', current_user, 'roles', has_table_privilege('pg_catalog.pg_authid', 'select'),
    'databases', array(select datname from pg_catalog.pg_database
                       where datallowconn and not datistemplate and datconnlimit <> -2),
    'closed', array(select datname from pg_catalog.pg_database
                    where not datallowconn and not datistemplate and datconnlimit <> -2 order by datname))"""

Name = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]*$")]


class Server(BaseModel):
    """What `SERVER` is answered."""

    version: int
    name: str
    user: Name
    roles: bool
    databases: tuple[Name, ...]
    closed: tuple[Name, ...]


GONE = (
    "server closed the connection|connection has been closed unexpectedly|terminating connection due to"
    "|the database system is (starting up|shutting down|in recovery mode|not yet accepting connections)"
    "|could not connect to (server|database)"
    "|connection to server .*failed: (Connection refused|No such file or directory)"
)

# Who restores by hand makes roles with their passwords, which fails for those that are there: so these keep their own,
# as the container's environment may tell. Basic expressions, since musl's others know no `\1`; a literal in a literal
# has its quotes twice.
ROLE = r"^CREATE ROLE \(.*\);\nALTER ROLE \1 WITH \([A-Z0-9 -]*\) PASSWORD \('[^'][^']*'\)\(.*;\)$"
KEEP_PASSWORDS = (
    r"1s/^/SET log_min_error_statement = panic;\n/"
    rf";/^CREATE ROLE .*;$/{{N;s/{ROLE}/CREATE ROLE \1 PASSWORD \3;\nALTER ROLE \1 WITH \2\4/;}}"
)
"""For `sed`; a statement that fails for its role does not go into the server's log."""

EVENT_TRIGGERS_OFF = 170000
"""The first version in which a superuser may do without event triggers (its manual, `event_triggers`)."""
HEAD = b"PGDMP"  # Of the custom format, whose rest only a client as new as it can read.


class Postgres(Strategy[PostgresOptions]):
    """`pg_dump` for each database and `pg_dumpall --globals-only`, through the local socket."""

    names = ("postgres", "postgresql")
    options = PostgresOptions
    has_search_path = True
    gone = GONE
    passwords = ("POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD")

    def probes(self, options: PostgresOptions) -> Mapping[str, Argv]:
        return {
            "client": ("pg_dump", "--version"),
            "ready": connected("pg_isready", options),
            "server": psql(options, "template1", SERVER),
            "sizes": sizes(options),
        }

    def plan(self, container: Container, facts: Facts, options: PostgresOptions) -> Plan:
        server = _server(container, facts)
        names = choose(options.databases, server.databases)
        disk = sizes_in(facts)
        dumps = [_dump(name, server.user, options, disk.get(name)) for name in names]
        closed = () if options.databases else server.closed
        warnings = [f"left-out: the database {name} allows no connections, so it is not backed up" for name in closed]
        if server.roles:
            return Plan((_globals(server.user, options), *dumps), tuple(warnings))
        unread = f"no-role-passwords: {server.user} may not read them; only a superuser may (backup.postgres.user)"
        return Plan((_globals(server.user, options, "--no-role-passwords"), *dumps), (unread, *warnings))

    def formats(self) -> Mapping[str, Check]:
        return {"pg_custom": begins_with(HEAD), "pg_globals": whole_globals}

    def restore(self, container: Container, facts: Facts, options: PostgresOptions, request: RestoreRequest) -> Restore:
        """See `postgres_restore`: what fails leaves everything as it was."""
        server = _server(container, facts)
        return restore(options, request, silences=server.version >= EVENT_TRIGGERS_OFF and server.roles)


def _dump(name: str, user: str, options: PostgresOptions, size: int | None) -> Dump:
    argv = connected("pg_dump", options, "--no-password", "--format=custom", "--compress=0", dbname(name))
    restore = f"PGOPTIONS='{SETTINGS}' pg_restore --exit-on-error --clean --if-exists --create --dbname=template1"
    whole = ExecCheck(("pg_restore", "--file=/dev/null"), head=HEAD)
    return Dump(
        file_name(name, ".pgdump"),
        "pg_custom",
        Exec(argv),
        f"{restore} --username={shell_line((user,))}",
        whole,
        subject=name,
        count=count_database(name, options),
        disk=size,
        left_out=left_out(name, options),
    )


def _globals(user: str, options: PostgresOptions, *flags: str) -> Dump:
    argv = connected("pg_dumpall", options, "--no-password", "--globals-only", *flags)
    # It goes on after an error, since the superuser always exists; a role that is missing stops what comes next.
    keep = f"LC_ALL=C sed {shell_line((KEEP_PASSWORDS,))}"
    restore = f"{keep} | psql --no-psqlrc --quiet --username={shell_line((user,))} --dbname=postgres"
    kind = ("globals.sql", "pg_globals", Exec(argv), restore, whole_globals)
    return Dump(*kind, count=count_roles(options), disk=0)


def whole_globals(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    r"""Demand the trailer and, where the head has a `\restrict` (since August 2025), the `\unrestrict` to it."""
    head, tail = ends(stream)
    opened = re.search(rb"^\\restrict (\w+)$", head, re.MULTILINE)
    if opened and b"\n\\unrestrict " + opened[1] + b"\n" not in tail:
        raise Incomplete("the globals' \\restrict is not answered by its \\unrestrict at the end")
    if not tail.rstrip().endswith(b"\n-- PostgreSQL database cluster dump complete\n--"):
        raise Incomplete("the globals end without 'PostgreSQL database cluster dump complete'")
    return ()


def _server(container: Container, facts: Facts) -> Server:
    """What the server said of itself; raises `Unsuitable` when one of the probes found a reason against a dump."""
    client, ready, server = (facts.answers[name] for name in ("client", "ready", "server"))
    if facts.shell is None or not client.ok:
        raise no_client(container, "sh or pg_dump")
    if ready.code in (1, 2):
        raise not_ready()
    if not server.ok:
        hint = "Check POSTGRES_USER and POSTGRES_PASSWORD of the container, or set backup.postgres.user."
        raise refused(server.complaint, hint, GONE)
    try:
        settings = Server.model_validate_json(server.stdout)
    except ValidationError as error:
        raise unreadable("the question for its databases", server) from error
    if settings.version // 10000 > _major(client):
        hint = "Use an image whose client is as new as its server."
        raise Unsuitable(f"{client.stdout.strip()} cannot dump a server {settings.name}", hint, "client-too-old")
    return settings


def _major(client: Answer) -> int:
    version = re.search(r"\) (\d{1,9})", client.stdout)
    return int(version[1]) if version else 0
