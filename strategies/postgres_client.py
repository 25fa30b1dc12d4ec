"""How the tools of PostgreSQL are called in a target: as whom, where, and with which settings.

Every client runs under `CONNECT`, which takes user and password from the target's own environment, so they stay there.
"""

import re

from pydantic import Field

from config.fields import CommaList
from strategies.base import Options
from strategies.plan import Argv
from strategies.postgres_sql import literal

SETTINGS = "-c default_transaction_read_only=off -c role=none -c array_nulls=on"
SETTINGS += " -c statement_timeout=0 -c lock_timeout=0"
"""A database or a role may have others, which would forbid to read or to write, or change what is written."""

# The variables of the official image, then those of Bitnami's. `exec "$@"` leaves only the client's words in its argv.
CONNECT = """
file() { [ -z "$1" ] || cat "$1"; }
: "${PGUSER:=${POSTGRES_USER:-$(file "${POSTGRES_USER_FILE:-}")}}"
: "${PGUSER:=${POSTGRESQL_USERNAME:-postgres}}"
: "${PGPASSWORD:=${POSTGRES_PASSWORD:-$(file "${POSTGRES_PASSWORD_FILE:-}")}}"
: "${PGPASSWORD:=${POSTGRESQL_PASSWORD:-$(file "${POSTGRESQL_PASSWORD_FILE:-}")}}"
PGOPTIONS="${PGOPTIONS:-} SETTINGS"
export PGUSER PGPASSWORD PGOPTIONS
exec "$@"
""".replace("SETTINGS", SETTINGS)
CONNECTED = ("sh", "-c", CONNECT, "sh")

OUTLIVES = "trap 'exit 143' TERM;"
"""Lets a shell outlive its children, of which the server, as first process, would take ill care."""

QUERY_FLAGS = (
    *("--no-psqlrc", "--no-password", "--quiet", "--set=ON_ERROR_STOP=1"),
    *("--tuples-only", "--no-align", "--field-separator=\t"),
)


class PostgresOptions(Options):
    """`backup.postgres.*`. There is no host: a label reaches no further than its own container."""

    databases: CommaList = ()
    """Names of the databases to dump. Default: all that allow connections, except templates; the list is read anew
    for each run."""

    user: str | None = None
    """User to connect as. Default: the target's `PGUSER` or `POSTGRES_USER` (or its file), else `postgres`."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the server in the target. Default: `PGPORT`, else 5432."""


def psql(options: PostgresOptions, database: str, /, *statements: str, **settings: str) -> Argv:
    return (*CONNECTED, *query(options, database, *statements, **settings))


def query(options: PostgresOptions, database: str, /, *statements: str, **settings: str) -> Argv:
    """Each statement in a transaction of its own; to be run under `CONNECTED`."""
    commands = (f"--command={statement}" for statement in statements)
    place = dbname(database, client_encoding="UTF8", **settings)
    return ("psql", *account(options), *QUERY_FLAGS, *commands, place)


def script(options: PostgresOptions, text: str) -> Argv:
    """What psql reads is this text, in which its own commands may stand."""
    reads = f'{OUTLIVES} text=$1; shift; printf %s "$text" | "$@"'
    return (*CONNECTED, "sh", "-c", reads, "sh", text, *query(options, "template1"))


def sizes(options: PostgresOptions) -> Argv:
    """Bytes of each database on the server's disk, and its name, where it may be asked and is one line."""
    tells = "has_database_privilege(oid, 'connect') and datname !~ E'[\\n\\t]'"
    size = "select pg_catalog.pg_database_size(oid), datname from pg_catalog.pg_database where datallowconn and"
    return psql(options, "template1", f"{size} {tells}")


def size_of(options: PostgresOptions, *names: str) -> Argv:
    """Bytes of those databases that are there on the server's disk."""
    size = "select coalesce(sum(pg_catalog.pg_database_size(oid)), 0) from pg_catalog.pg_database where datname in"
    return psql(options, "template1", f"{size} ({', '.join(map(literal, names)) or 'null'})")


def room(options: PostgresOptions) -> Argv:
    """What `df` says of the folder of the server's data."""
    asks = f'{OUTLIVES} folder=$("$@") && df -Pk "$folder"'
    return (*CONNECTED, "sh", "-c", asks, "sh", *query(options, "template1", "show data_directory"))


def connected(tool: str, options: PostgresOptions, *arguments: str) -> Argv:
    return (*CONNECTED, tool, *account(options), *arguments)


def account(options: PostgresOptions) -> Argv:
    user = (f"--username={options.user}",) if options.user else ()
    return (*user, *((f"--port={options.port}",) if options.port else ()))


def dbname(name: str, **settings: str) -> str:
    """As a connection string (libpq, 32.1.1.1), since a bare name with `=` in it would be taken for one."""
    quoted = ({"dbname": name} | settings).items()
    return "--dbname=" + " ".join(f"{key}='" + re.sub(r"(['\\])", r"\\\1", value) + "'" for key, value in quoted)
