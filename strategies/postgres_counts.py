"""What is counted in a PostgreSQL server beside a dump and after a restore, and what is in the way of one."""

import shlex

from strategies.checks import read_counts
from strategies.plan import Count, Exec
from strategies.postgres_client import CONNECTED, PostgresOptions, psql, query
from strategies.postgres_sql import literal

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

COUNT_TIMEOUT = "50s"
"""After this long the server gives up a count, which then stands in no manifest."""


def count_database(name: str, options: PostgresOptions) -> Count:
    source = Exec(psql(options, name, COUNTS, options=f"-c statement_timeout={COUNT_TIMEOUT}"))
    return Count(source, read_counts, still=psql(options, name, SNAPSHOT))


def count_roles(options: PostgresOptions) -> Count:
    return Count(Exec(psql(options, "postgres", ROLES)), read_counts)


def occupied(name: str, options: PostgresOptions) -> Exec:
    there = f"select 1 from pg_catalog.pg_database where datname = {literal(name)}"  # noqa: S608  # quoted
    queries = (query(options, "template1", there), query(options, name, OBJECTS))
    return Exec((*CONNECTED, "sh", "-c", OCCUPIED, "sh", *map(shlex.join, queries)))
