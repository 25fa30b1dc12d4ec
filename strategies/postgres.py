"""PostgreSQL, by the target's own client: each database in custom format, and what belongs to the whole cluster.

Every client runs under `CONNECT`, which takes user and password from the target's own environment, so they stay there.
"""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, BinaryIO

from pydantic import Field

from strategies.base import (
    Answer,
    Argv,
    CommaList,
    Container,
    Dump,
    Exec,
    ExecCheck,
    Facts,
    Incomplete,
    Options,
    Plan,
    Strategy,
    Unsuitable,
    choose,
    file_name,
)
from strategies.checks import ends

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

# Invalid databases (limit -2) are what an interrupted DROP DATABASE leaves; nobody can connect to them.
SERVER = """select json_build_object(
    'version', current_setting('server_version_num')::int, 'name', current_setting('server_version'),
    'user', current_user, 'roles', has_table_privilege('pg_catalog.pg_authid', 'select'),
    'databases', array(select datname from pg_catalog.pg_database
                       where datallowconn and not datistemplate and datconnlimit <> -2))"""

# A role that exists already (the superuser always does) must not stop the restore of all the others.
IF_NOT_EXISTS = r"s/^CREATE ROLE .*;$/DO $x$BEGIN & EXCEPTION WHEN duplicate_object THEN NULL; END$x$;/"


class PostgresOptions(Options):
    """`backup.postgres.*`. There is no host: a label reaches no further than its own container."""

    databases: CommaList = ()
    """Names of the databases to dump. Default: all that allow connections, without templates, found before each run."""

    user: str | None = None
    """Who connects. Default: the target's PGUSER, POSTGRES_USER (or its file), else postgres."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """Where the server in the target listens. Default: the client's own, 5432 or PGPORT."""


class Postgres(Strategy[PostgresOptions]):
    """`pg_dump` for each database and `pg_dumpall --globals-only`, through the local socket."""

    names = ("postgres", "postgresql")
    options = PostgresOptions

    def probes(self, options: PostgresOptions) -> Mapping[str, Argv]:
        query = ("--no-psqlrc", "--no-password", "--tuples-only", "--no-align", f"--command={SERVER}")
        return {
            "client": ("pg_dump", "--version"),
            "ready": _connected("pg_isready", options),
            "server": _connected("psql", options, *query, _database("postgres", client_encoding="UTF8")),
        }

    def plan(self, container: Container, facts: Facts, options: PostgresOptions) -> Plan:
        server = _server(container, facts)
        names = choose("database", options.databases, server["databases"])
        dumps = [_dump(name, server["user"], options) for name in names]
        if server["roles"]:
            return Plan((*dumps, _globals(server["user"], options)))
        warning = f"no-role-passwords: {server['user']} may not read them; only a superuser may (backup.postgres.user)"
        return Plan((*dumps, _globals(server["user"], options, "--no-role-passwords")), (warning,))


def _dump(name: str, user: str, options: PostgresOptions) -> Dump:
    argv = _connected("pg_dump", options, "--no-password", "--format=custom", "--compress=0", _database(name))
    again = "pg_restore --exit-on-error --clean --if-exists --create --dbname=template1"
    whole = ExecCheck(("pg_restore", "--file=/dev/null"), head=b"PGDMP")
    return Dump(file_name(name, ".pgdump"), "pg_custom", Exec(argv), f"{again} --username={shlex.quote(user)}", whole)


def _globals(user: str, options: PostgresOptions, *flags: str) -> Dump:
    argv = _connected("pg_dumpall", options, "--no-password", "--globals-only", *flags, "--database=postgres")
    psql = f"psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username={shlex.quote(user)} --dbname=postgres"
    return Dump("globals.sql", "pg_globals", Exec(argv), f"sed '{IF_NOT_EXISTS}' | {psql}", whole_globals)


def whole_globals(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    r"""Demand the trailer and, where the head has a `\restrict` (since August 2025), the `\unrestrict` to it."""
    head, tail = ends(stream)
    opened = re.search(rb"^\\restrict (\w+)$", head, re.MULTILINE)
    if opened and b"\n\\unrestrict " + opened[1] + b"\n" not in tail:
        raise Incomplete("the globals' \\restrict is not answered by its \\unrestrict at the end")
    if not tail.rstrip().endswith(b"\n-- PostgreSQL database cluster dump complete\n--"):
        raise Incomplete("the globals end without 'PostgreSQL database cluster dump complete'")
    return ()


def _connected(tool: str, options: PostgresOptions, *arguments: str) -> Argv:
    user = (f"--username={options.user}",) if options.user else ()
    port = (f"--port={options.port}",) if options.port else ()
    return ("sh", "-c", CONNECT, "sh", tool, *user, *port, *arguments)


def _database(name: str, **settings: str) -> str:
    """As a connection string (libpq, 32.1.1.1), since a bare name with `=` in it would be taken for one."""
    quoted = ({"dbname": name} | settings).items()
    return "--dbname=" + " ".join(f"{key}='" + re.sub(r"(['\\])", r"\\\1", value) + "'" for key, value in quoted)


def _server(container: Container, facts: Facts) -> Any:
    """What the server said of itself; raises `Unsuitable` when one of the probes found a reason against a dump."""
    client, ready, server = (facts.answers[name] for name in ("client", "ready", "server"))
    if facts.shell is None or not client.ok:
        hint = "Label the container that runs the server, of an image that has its client, as the official one has."
        raise Unsuitable(f"{container.image} lacks sh or pg_dump", hint, "no-client")
    if ready.code in (1, 2):
        hint = "It is asked again; see its log if it stays so."
        raise Unsuitable("the server does not accept connections yet", hint, "not-ready")
    if not server.ok:
        hint = "Check POSTGRES_USER and POSTGRES_PASSWORD of the container, or set backup.postgres.user."
        raise Unsuitable(f"the server refused: {server.complaint}", hint, "refused")
    said = json.loads(server.stdout)
    if said["version"] // 10000 > _major(client):
        hint = "Use an image whose client is as new as its server."
        raise Unsuitable(f"{client.stdout.strip()} cannot dump a server {said['name']}", hint, "client-too-old")
    return said


def _major(client: Answer) -> int:
    found = re.search(r"\) (\d+)", client.stdout)
    return int(found[1]) if found else 0
