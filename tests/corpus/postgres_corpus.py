"""A server of PostgreSQL with a row for each kind of object, and what its own tools say of them."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from tests.corpus.rows import BY_HAND, Row, State
from tests.corpus.stand import is_ready
from tests.kit.stage import App, docker

CORPUS = "corpus"
"""The database of all rows that have none of their own."""
SERVER = ("postgres", "-c", "fsync=off", "-c", "wal_level=logical", "-c", "shared_buffers=32MB")
WRITE = "PGOPTIONS='-c default_transaction_read_only=off' psql -qU postgres busy -c 'insert into t values (1)'"
ENTRY = re.compile(r"^-- (?:Data for )?Name: (.*?); Type: (.*?); Schema: (.*?); Owner: .*$", re.MULTILINE)
DATA = r"""
select format('select %L, md5(string_agg(x::text, chr(10) order by x::text)) from only %s x;', format('%I|%I',
    nspname, relname) || case relkind when 'm' then ' filled' else '' end, c.oid::regclass) from pg_class c
    join pg_namespace n on n.oid = relnamespace where relkind in ('r', 'm') and relispopulated and relpersistence <> 't'
    and nspname not in ('pg_catalog', 'information_schema') and nspname !~ '^pg_toast' and not relispartition
union all select format('select %L, md5(string_agg(x::text, chr(10) order by x::text)) from %s x;', format('%I|%I',
    nspname, relname), c.oid::regclass) from pg_class c join pg_namespace n on n.oid = relnamespace
    where relkind = 'p' and not relispartition and not exists (select from pg_inherits i join pg_class f
    on f.oid = inhrelid where inhparent = c.oid and f.relkind = 'f')
union all select format('select %L, last_value, is_called from %s;',
    format('%I|%I', nspname, relname), c.oid::regclass)
    from pg_class c join pg_namespace n on n.oid = relnamespace where relkind = 'S'
union all select format('select %L, md5(lo_get(%s));', format('large_objects|%s', oid), oid)
    from pg_largeobject_metadata
\gexec
"""


def sql(server: str, text: str, database: str = "postgres", settings: str = "") -> str:
    options = ("-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database)
    environment = ("--env", f"PGOPTIONS=-c role=none -c default_transaction_read_only=off {settings}")
    return docker("exec", "-i", *environment, server, "psql", *options, input=text.encode())


def entries(server: str, database: str) -> Iterator[tuple[str, str, str]]:
    """Schema, name and SQL of everything that is in a database, as `pg_dump` writes it."""
    argv = ("exec", "--env", "PGOPTIONS=-c role=none", server, "pg_dump", "-U", "postgres", "-s", "-E", "UTF8")
    dump = re.sub(r"(?m)^\\(un)?restrict .*$|^-- PostgreSQL database dump complete$", "", docker(*argv, database))
    found = list(ENTRY.finditer(dump))
    for match, after in zip_longest(found, found[1:]):
        name, kind, schema = match.groups()
        yield schema, f"{kind} {name}", dump[match.end() : after.start() if after else None].strip("-\n ")


@dataclass(frozen=True)
class PostgresCorpus:
    """The rows of one image."""

    rows: Sequence[Row]
    of: str = "POSTGRES"
    server: tuple[str, ...] = SERVER

    @property
    def left_by_hand(self) -> set[str]:
        """Databases that do not come back by the lines of the manifest."""
        return {place for row in self.rows if BY_HAND in row.without for place in row.places}

    def start(self, app: App, service: str, of: str = "") -> str:
        """A server without data."""
        options = ("--tmpfs", "/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=x")
        server = app.target(service, {"strategy": "postgres"}, *options, of=of or self.of, command=self.server)
        is_ready(server, "pg_isready", "-h", "127.0.0.1", "-U", "postgres")
        return server

    def fill(self, server: str) -> None:
        sql(server, f"create database {CORPUS}; create database busy")
        for row in self.rows:
            if row.own:
                sql(server, row.make)
            else:
                path = f"create schema {row.name}; set search_path = {row.name};\n"
                sql(server, path + row.make, CORPUS)
        sql(server, "create table t (i int)", "busy")

    def state(self, server: str) -> State:
        """By row, what its objects are and hold."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        own = {place: row.name for row in self.rows for place in row.places}
        there = sql(server, "select datname from pg_database").splitlines()
        for database in [name for name in (CORPUS, *own) if name in there]:
            for schema, name, text in entries(server, database):
                row = own.get(database) or (schema if schema != "-" else self.owner(name))
                found[row][f"{database} {name}"] = text
            for line in sql(server, DATA, database, "-c search_path= -c client_encoding=UTF8").splitlines():
                schema, _, rest = line.partition("|")
                name, _, digest = rest.partition("|")
                found[own.get(database) or schema][f"{database} {name} rows"] = digest
        for line in docker("exec", server, "pg_dumpall", "-U", "postgres", "--globals-only").splitlines():
            if re.match(r"CREATE|ALTER|GRANT|COMMENT", line):
                found[self.owner(line)][re.sub(r" PASSWORD '[^']*'", "", line)] = ""
        return found

    def owner(self, text: str) -> str:
        """Whose row a name is that stands in no schema."""
        return next((row.name for row in sorted(self.rows, key=lambda row: -len(row.name)) if row.name in text), "")
