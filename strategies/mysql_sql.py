"""SQL of a restore of MariaDB or MySQL: questions whose answers are the statements that move databases.

Where each database goes is in `place` of the restore's own database; see `mysql_swap`.
"""

GRANT_TABLES = {
    "global_priv": "host, user",
    "db": "host, user, db",
    "tables_priv": "host, user, db, table_name",
    "columns_priv": "host, user, db, table_name, column_name",
    "procs_priv": "host, user, db, routine_name, routine_type",
    "proxies_priv": "host, user, proxied_host, proxied_user",
    "roles_mapping": "host, user, role",
    "servers": "server_name",
}
"""With their keys (MariaDB); users are not backed up where they are others."""


COMMENT = "/*M!100500 ' comment ', quote(schema_comment), */"
"""Of a database; only newer servers of MariaDB know it."""


def quoted(*columns: str) -> str:
    """The values of columns as one qualified name."""
    return "concat(" + ", '.', ".join(f"'`', replace({column}, '`', '``'), '`'" for column in columns) + ")"


def is_in(schema: str, work: str, name: str = "name") -> str:
    """Whether a database is one that is restored; names are compared as bytes."""
    return f"cast({schema} as binary) in (select cast({name} as binary) from {work}.place)"


def tables(work: str, name: str) -> str:
    """The tables and sequences of the databases, with their places."""
    return f"""information_schema.tables as t join {work}.place as p
    on cast(t.table_schema as binary) = cast(p.{name} as binary) and t.table_type <> 'VIEW'"""


def locked(work: str) -> str:
    """Every table, for a moment."""
    return f"""select concat('lock tables ', group_concat({quoted("p.name", "t.table_name")}, ' write' separator ', '),
    '; unlock tables;') from {tables(work, "name")} having count(*) > 0"""


def sessions(work: str) -> str:
    """Who may use the tables: who is connected to a database, or has a transaction open and is connected to none."""
    return f"""information_schema.processlist where id <> connection_id() and ({is_in("db", work)} or
    db is null and id in (select trx_mysql_thread_id from information_schema.innodb_trx))"""


def charsets(work: str) -> str:
    """What the databases are set to comes before what is made in them, which remembers it."""
    return f"""
insert into {work}.code (i, era, phase, kind, text) select p.i, 'old', 'code', '',
    concat('alter database ', {quoted("p.name")}, ' character set ', default_character_set_name,
    ' collate ', default_collation_name, {COMMENT} ';')
    from information_schema.schemata as s join {work}.place as p
    on cast(s.schema_name as binary) = cast(p.name as binary);"""


def without_code(work: str) -> str:
    """No views, routines, triggers and events. Older servers know packages only in Oracle's mode."""
    return f"""
select concat('drop view if exists ', {quoted("table_schema", "table_name")}, ';')
    from information_schema.views where {is_in("table_schema", work)} union all
select concat(if(routine_type = 'PACKAGE', 'set sql_mode = oracle; ', ''), 'drop ', routine_type, ' if exists ',
    {quoted("routine_schema", "routine_name")}, ';', if(routine_type = 'PACKAGE', ' set sql_mode = default;', ''))
    from information_schema.routines where {is_in("routine_schema", work)} and routine_type <> 'PACKAGE BODY' union all
select concat('drop trigger if exists ', {quoted("trigger_schema", "trigger_name")}, ';')
    from information_schema.triggers where {is_in("trigger_schema", work)} union all
select concat('drop event if exists ', {quoted("event_schema", "event_name")}, ';')
    from information_schema.events where {is_in("event_schema", work)}"""


def remembered(work: str, begun: int) -> str:
    """Which tables will be moved, and that this begins."""
    return f"""
insert into {work}.moved select p.i, t.table_name, 0 from {tables(work, "name")};
insert into {work}.moved select p.i, t.table_name, 1 from {tables(work, "fresh")};
insert into {work}.code (i, era, phase, kind, text) values ({begun}, 'old', '', '', '');"""


def there(work: str) -> str:
    """All tables at once: the old ones away, the new ones in."""
    return _renamed(
        f"""select 0 as n, {_to("name", "aside")} as one
    from {tables(work, "name")} union all
select 1, {_to("fresh", "name")}
    from {tables(work, "fresh")}"""
    )


def back(work: str) -> str:
    """The new ones out again and the old ones back, as far as they had been moved."""
    return _renamed(
        f"""select 0 as n, {_to("name", "fresh")} as one
    from {tables(work, "name")} join {work}.moved as m on m.i = p.i and m.name = cast(t.table_name as binary)
    where m.loaded = 1 and ({_has_table("aside")} or not exists (
        select 1 from {work}.moved as o where o.i = m.i and o.name = m.name and o.loaded = 0)) union all
select 1, {_to("aside", "name")}
    from {tables(work, "aside")}"""
    )


def _to(here: str, place: str) -> str:
    return f"concat({quoted(f'p.{here}', 't.table_name')}, ' to ', {quoted(f'p.{place}', 't.table_name')})"


def _has_table(place: str) -> str:
    return f"""exists (select 1 from information_schema.tables as x where cast(x.table_schema as binary)
        = cast(p.{place} as binary) and cast(x.table_name as binary) = m.name)"""


def _renamed(moves: str) -> str:
    return f"""select concat('rename table ', group_concat(one order by n separator ', '), ';')
from ({moves}) as moves having count(*) > 0"""


def made(work: str, name: str, like: str) -> str:
    """The databases, where they are missing, with character set and collation as those that they are like."""
    return f"""select concat('create database if not exists ', {quoted(f"p.{name}")}, '; alter database ',
    {quoted(f"p.{name}")}, ' character set ', default_character_set_name, ' collate ', default_collation_name,
    {COMMENT} ';')
from information_schema.schemata as s join {work}.place as p
    on cast(s.schema_name as binary) = cast(p.{like} as binary)"""


def defaults(work: str) -> str:
    """Columns that take their values from a sequence, which they call by its database."""
    return f"""select concat('alter table ', {quoted("c.table_schema", "c.table_name")}, ' alter column ',
    {quoted("c.column_name")}, ' set default ',
    replace(c.column_default, {quoted("o.fresh")}, {quoted("o.name")}), ';')
from information_schema.columns as c join {work}.place as p
    on cast(c.table_schema as binary) = cast(p.name as binary)
join {work}.place as o on instr(c.column_default, concat({quoted("o.fresh")}, '.')) > 0"""


def references(work: str) -> str:
    """Foreign keys of other databases, which follow a table that is renamed, lead to its name again."""
    return f"""select concat('alter table ', {quoted("k.constraint_schema", "k.table_name")},
    ' drop foreign key ', {quoted("k.constraint_name")}, '; alter table ',
    {quoted("k.constraint_schema", "k.table_name")}, ' add constraint ', {quoted("k.constraint_name")},
    ' foreign key (', group_concat({quoted("k.column_name")} order by k.ordinal_position separator ', '),
    ') references ', {quoted("p.name", "k.referenced_table_name")}, ' (',
    group_concat({quoted("k.referenced_column_name")} order by k.ordinal_position separator ', '),
    ')', if(max(r.update_rule) = 'NO ACTION', '', concat(' on update ', max(r.update_rule))),
    if(max(r.delete_rule) = 'NO ACTION', '', concat(' on delete ', max(r.delete_rule))), ';')
from information_schema.referential_constraints as r
join {work}.place as p on r.unique_constraint_schema in (p.fresh, p.aside)
join information_schema.key_column_usage as k on k.constraint_schema = r.constraint_schema
    and k.constraint_name = r.constraint_name and k.table_name = r.table_name
where not {is_in("r.constraint_schema", work, "fresh")} and not {is_in("r.constraint_schema", work, "aside")}
group by k.constraint_schema, k.table_name, k.constraint_name, p.name, k.referenced_table_name"""


def routine_grants(work: str) -> str:
    """Grants on routines, which go with a routine that is dropped."""
    return f"""insert ignore into mysql.procs_priv select g.* from {work}.procs_priv as g
    join information_schema.routines as r on cast(g.db as binary) = cast(r.routine_schema as binary)
    and g.routine_name = r.routine_name and cast(g.routine_type as char) = r.routine_type; flush privileges;"""


def accounts_back(work: str) -> str:
    """The accounts as they were; nobody is ever missing meanwhile."""
    put = (
        f"replace into mysql.{name} select * from {work}.{name};"
        f"delete from mysql.{name} where ({key}) not in (select {key} from {work}.{name});"
        for name, key in GRANT_TABLES.items()
    )
    return f"{''.join(put)} flush privileges;"
