"""What is counted in a PostgreSQL server beside a dump and after a restore, and what is in the way of one."""

import shlex
from collections.abc import Mapping
from typing import BinaryIO

from strategies.checks import DEFINITION, read_counts
from strategies.plan import Argv, Count, Exec
from strategies.postgres_client import CONNECTED, PostgresOptions, psql, query
from strategies.postgres_sql import literal

# What belongs to nobody's extension, in schemas that are not the server's own.
OWN_OBJECTS = """
own as (select oid, nspname from pg_catalog.pg_namespace where nspname <> 'information_schema' and nspname !~ '^pg_'),
extra as (select classid, objid from pg_catalog.pg_depend where deptype = 'e'),
relation as (select c.*, format('%I.%I', nspname, relname) as at from pg_catalog.pg_class c join own
    on own.oid = relnamespace where ('pg_class'::regclass, c.oid) not in (select classid, objid from extra)),
routine as (select p.*, format('%I.%I', nspname, proname) as at from pg_catalog.pg_proc p join own
    on own.oid = pronamespace where ('pg_proc'::regclass, p.oid) not in (select classid, objid from extra))"""

UNWRITTEN = """select i.indexrelid from pg_catalog.pg_index i join pg_catalog.pg_class t on t.oid = i.indrelid
    where not (i.indisvalid or t.relkind = 'p') or not i.indisready"""
"""Indexes that `pg_dump` leaves out."""
DIGEST = "(('x' || substr(md5({}), 1, 14))::bit(56)::bigint)::text"
"""A number that another text has by no chance worth the name."""
AS_READ = """regexp_replace({}, '::[a-z0-9_ ".]+([(][0-9,]+[)])?([[][]])*|[()]', '', 'g')"""
"""An expression without casts and brackets, which the server sets otherwise once it has read what it wrote."""
FACTS = """string_agg(fact, '|' order by fact collate "C")"""
ASKED = "substring(query_to_xml('select {} ' || at, false, true, '')::text from '<n>(-?[0-9]+)</n>')"
"""The number `n` of a question of its own to each relation."""
VALUE = "case when is_called then last_value else 0 end"

# Rows of each table by a real count, in one statement and so in one snapshot; of the rest, how many there are. The rows
# of a partitioned table are those of its partitions, wherever they are. Invalid indexes are not dumped.
COUNTS = f"""with recursive {OWN_OBJECTS}, part as (
    select inhrelid as leaf, inhparent as root from pg_catalog.pg_inherits join relation on oid = inhparent
        where relkind = 'p' union all
    select leaf, inhparent from part join pg_catalog.pg_inherits on inhrelid = root),
counted as (select oid, at, {ASKED.format("count(*) as n from only")}::bigint as n
    from relation where relkind in ('r', 'm') and relispopulated),
described (oid, fact) as (
select relation.oid, concat_ws('|', attname, format_type(atttypid, atttypmod), attnotnull, (select collname
    from pg_catalog.pg_collation as c where c.oid = attcollation), pg_get_expr(adbin, adrelid))
    from relation join pg_catalog.pg_attribute on attrelid = relation.oid left join pg_catalog.pg_attrdef
    on (adrelid, adnum) = (attrelid, attnum) where attnum > 0 and not attisdropped
union all select conrelid, concat(conname, pg_get_constraintdef(oid)) from pg_catalog.pg_constraint
    where conislocal and contype in ('c', 'f', 'p', 'u', 'x') and conrelid in (select oid from relation)
union all select indrelid, pg_get_indexdef(indexrelid) from pg_catalog.pg_index
    where indexrelid not in ({UNWRITTEN}) and indrelid in (select oid from relation)
union all select tgrelid, concat(pg_get_triggerdef(oid), tgenabled) from pg_catalog.pg_trigger
    where not tgisinternal and tgrelid in (select oid from relation)),
number (n, what) as (
select n::text, 'rows of ' || at from counted
union all select coalesce(sum(n), 0)::text, 'rows of ' || relation.at from relation
    left join part on root = relation.oid left join counted on counted.oid = leaf
    where relkind = 'p' and relation.oid not in (select leaf from part) group by relation.oid, relation.at
union all select '1', 'partition ' || at from relation where oid in (select leaf from part)
union all select (abs({ASKED.format(f"{VALUE} as n from")}::numeric) % 1e18)::bigint::text,
    'value of sequence ' || at from relation where relkind = 'S'
union all select {DIGEST.format(AS_READ.format(FACTS))},
    'definition of table ' || at from relation join described using (oid) where relkind in ('r', 'p', 'f')
    group by oid, at
union all select {DIGEST.format(AS_READ.format("pg_get_viewdef(oid)"))},
    case relkind when 'm' then 'definition of materialized view ' else 'definition of view ' end || at
    from relation where relkind in ('v', 'm')
union all select {DIGEST.format("concat_ws('|', prosrc, probin, provolatile, prosecdef, proisstrict, proconfig)")},
    format('definition of routine %s(%s)', at, oidvectortypes(proargtypes)) from routine
union all select count(*)::text, case relkind when 'v' then 'views' when 'S' then 'sequences' else 'indexes' end
    from relation where relkind in ('v', 'S') or relkind in ('i', 'I') and oid not in ({UNWRITTEN})
    and oid in (select indexrelid from pg_catalog.pg_index where indrelid in (select oid from relation)) group by 2
union all select count(*)::text, 'routines' from routine
union all select count(*)::text, 'triggers' from pg_catalog.pg_trigger
    where not tgisinternal and tgrelid in (select oid from relation)
union all select count(*)::text, 'constraints' from pg_catalog.pg_constraint
    where contype in ('p', 'u', 'f', 'x') and conrelid in (select oid from relation)
union all select count(distinct (oid, grantee))::text, 'grants on tables'
    from relation, aclexplode(relacl) where grantee <> relowner
union all select count(distinct (oid, attnum, grantee))::text, 'grants on columns'
    from relation join pg_catalog.pg_attribute on attrelid = oid, aclexplode(attacl)
union all select count(distinct (oid, grantee))::text, 'grants on routines'
    from routine, aclexplode(coalesce(proacl, acldefault('f', proowner))) where grantee <> proowner
union all select count(*)::text, 'extensions' from pg_catalog.pg_extension
union all select count(*)::text, 'large objects' from pg_catalog.pg_largeobject_metadata)
select n, translate(what, E'\\n\\t', '  ') from number"""  # noqa: S608  # All of it is ours.

TELLS = "left-out: "
LEFT_OUT = f"""with {OWN_OBJECTS}
select translate(format('{TELLS}the index %s of %s is invalid, so that no dump holds it: REINDEX or drop it', at,
    current_database()), E'\\n\\t', '  ') from relation where oid in ({UNWRITTEN})"""  # noqa: S608  # All of it is ours.

AS_THE_SERVER_WRITES = tuple(f"{DEFINITION}{kind} " for kind in ("table", "view", "materialized view"))

# Whatever writes to the server gets a transaction id, and no other transaction does (PostgreSQL, 67.1).
SNAPSHOT = "select txid_current_snapshot()"

ROLES = "select 1, 'role ' || translate(rolname, E'\\n\\t', '  ') from pg_catalog.pg_roles where rolname !~ '^pg_'"

OBJECTS = f"""with {OWN_OBJECTS}
select at from relation where relkind in ('r', 'v', 'm', 'p', 'f', 'S') union all select at || '()' from routine
union all select 'large object ' || oid from pg_catalog.pg_largeobject_metadata limit 20"""  # noqa: S608  # All of it is ours.

# `$1` asks the server whether there is the database, `$2` connects to it and lists what it holds.
OCCUPIED = """
found=$(eval "$1") || exit
[ -z "$found" ] || eval "$2"
"""

COUNT_TIMEOUT = "50s"
"""After this long the server gives up a count, which then stands in no manifest."""


def count_database(name: str, options: PostgresOptions) -> Count:
    """On one connection with what is left out."""
    limits = (f"set statement_timeout = '{COUNT_TIMEOUT}'", "set search_path = ''")
    source = Exec(psql(options, name, *limits, LEFT_OUT, COUNTS))
    return Count(source, _read_counts, still=_snapshot(options), tells=TELLS, remade=made_anew)


def _read_counts(stream: BinaryIO) -> Mapping[str, int]:
    """One function for every database, so that plans can be compared."""
    return read_counts(stream, besides=TELLS.encode())


def made_anew(what: str, counted: int, restored: Mapping[str, int]) -> str:
    """Why a server has another number of its own accord; empty for what has to come back as it was."""
    name, now = what.removeprefix("rows of "), restored.get(what, 0)
    causes = {
        "it is filled anew": f"definition of materialized view {name}" in restored,
        "the table that it is a part of spreads its rows anew": f"partition {name}" in restored,
        "the server writes what it has read": what in restored and what.startswith(AS_THE_SERVER_WRITES),
        "it went on while the dump was made": now > counted and what.startswith("value of sequence "),
        "the server's template brings more": now > counted and what == "extensions",
    }
    return next((cause for cause, holds in causes.items() if holds), "")


def left_out(name: str, options: PostgresOptions) -> Argv:
    """A line for each thing that no dump of a database holds."""
    return psql(options, name, LEFT_OUT)


def count_roles(options: PostgresOptions) -> Count:
    return Count(Exec(psql(options, "template1", ROLES)), read_counts, still=_snapshot(options))


def _snapshot(options: PostgresOptions) -> Argv:
    """The same for every database, since transactions are the server's."""
    return psql(options, "template1", SNAPSHOT)


def occupied(name: str, options: PostgresOptions) -> Exec:
    there = f"select 1 from pg_catalog.pg_database where datname = {literal(name)}"  # noqa: S608  # quoted
    queries = (query(options, "template1", there), query(options, name, OBJECTS))
    return Exec((*CONNECTED, "sh", "-c", OCCUPIED, "sh", *map(shlex.join, queries)))
