"""What is defined in MariaDB or MySQL, a number for each object and a name for each grant: for a run's counts.

What a number stands for are the facts of `information_schema`, so that it is another one as soon as a column, a
default, an index or a line of a routine is. Each question answers statements, as `mysql_counts` asks them.
"""

from collections.abc import Iterable

from strategies.checks import DEFINITION
from strategies.mysql_client import hexadecimal

GRANT = "grant "
OF_TABLE = f"{DEFINITION}table "
MADE_BY_SERVER = (OF_TABLE, f"{DEFINITION}view ")
"""What the server writes as it has read it, which another version may do otherwise."""


OUTWARD = "ifnull(engine, '') in ('CONNECT', 'SPIDER', 'FEDERATED', 'SPHINX')"
"""Of `information_schema.tables`: one whose rows are kept elsewhere, so that the client writes none of them, and which
may not even be there to be counted."""


def near(schema: str = "database()") -> str:
    """Of `information_schema.tables`: none of these. For most of what it tells, the server opens each table of which
    the name alone does not say that it is none, and where the other side cannot be reached, the whole question fails.
    """
    return f"""not find_in_set(hex(table_name), ifnull((select group_concat(hex(table_name))
        from information_schema.tables where table_schema = cast({schema} as binary) and {OUTWARD}), ''))"""


def _here(column: str) -> str:
    return f"{column} = cast(database() as binary)"


_DIGEST = "conv(left(md5(group_concat(fact order by cast(fact as binary) separator '\\n')), 14), 16, 10)"
"""18 digits at most, which other facts have by no chance worth the name."""


def _definitions(facts: str) -> str:
    """`facts` are rows of kind, name and fact; an object is one whatever the number of its facts."""
    return f"""
select concat('select ', {_DIGEST}, ', ', quote(concat('{DEFINITION}', lower(kind), ' ', name)), ';')
    from ({facts}) as facts group by kind, name, cast(name as binary) having sum(fact like '0|%') > 0"""


_OPTIONS = "trim(replace(create_options, 'page_checksum=1', ''))"
"""Without what the client writes for each table of Aria, and nobody need have asked for."""

# A table that is loaded aside has another database, and takes its values from sequences there.
TABLES = _definitions(f"""
    select 'table' as kind, table_name as name, concat_ws('|', 0, engine, table_collation, {_OPTIONS},
        table_comment) as fact from information_schema.tables
        where {_here("table_schema")} and table_type in ('BASE TABLE', 'SYSTEM VERSIONED') and engine is not null
        and {near()}
    union all select 'table', table_name, concat_ws('|', 0, engine) from information_schema.tables
        where {_here("table_schema")} and {OUTWARD}
    union all select 'table', table_name, concat_ws('|', 1, ordinal_position, column_name, column_type, is_nullable,
        if(column_default like 'nextval(%', substring_index(column_default, '.', -1), column_default), extra,
        collation_name, generation_expression, column_comment)
        from information_schema.columns where {_here("table_schema")}
    union all select 'table', table_name, concat_ws('|', 2, index_name, seq_in_index, column_name, non_unique, sub_part,
        collation, index_type, index_comment) from information_schema.statistics
        where {_here("table_schema")} and {near()}
    union all select 'table', table_name, concat_ws('|', 3, constraint_name, ordinal_position, column_name,
        referenced_table_name, referenced_column_name) from information_schema.key_column_usage
        where {_here("table_schema")} and {near()} and referenced_table_name is not null
    union all select 'table', table_name, concat_ws('|', 4, constraint_name, update_rule, delete_rule)
        from information_schema.referential_constraints where {_here("constraint_schema")} and {near()}
    /*M!100222 union all select 'table', table_name, concat_ws('|', 5, constraint_name, check_clause)
        from information_schema.check_constraints where {_here("constraint_schema")} and {near()} */""")

# An event that is over once it has run is gone by the time of a restore, or the server does not take it back.
CODE = _definitions(f"""
    select 'view' as kind, table_name as name, concat_ws('|', 0, view_definition, check_option, definer,
        security_type) as fact from information_schema.views where {_here("table_schema")} and table_name not in (
        select table_name from information_schema.tables where {_here("table_schema")} and {near()}
        and table_rows is null and table_type = 'VIEW' and table_comment <> 'VIEW')
    union all select routine_type, routine_name, concat_ws('|', 0, dtd_identifier, routine_definition, is_deterministic,
        sql_data_access, security_type, sql_mode, routine_comment, definer)
        from information_schema.routines where {_here("routine_schema")}
    union all select routine_type, specific_name, concat_ws('|', 1, ordinal_position, parameter_mode, parameter_name,
        dtd_identifier) from information_schema.parameters where {_here("specific_schema")}
    union all select 'trigger', trigger_name, concat_ws('|', 0, action_timing, event_manipulation, event_object_table,
        action_order, action_statement, sql_mode, definer)
        from information_schema.triggers where {_here("trigger_schema")}
    union all select 'event', event_name, concat_ws('|', 0, event_definition, time_zone, interval_value, interval_field,
        starts, ends, execute_at, on_completion, status, sql_mode, definer) from information_schema.events
        where {_here("event_schema")} and (on_completion = 'PRESERVE' or event_type = 'RECURRING' and ends is null)""")

# `root`@`localhost` as `root@localhost`. `USAGE` is no privilege; the older name is the newer one's.
_WHO = "replace(replace(grantee, '''@''', '@'), '''', '')"
_PRIVILEGE = "if(privilege_type = 'REPLICATION CLIENT', 'BINLOG MONITOR', privilege_type)"
_TABLE = "concat(table_schema, '.', table_name)"


def _granted(view: str, where: str, what: str = _PRIVILEGE, given: str = "true") -> str:
    return f"""
select distinct 1, concat('{GRANT}', {what}, ' on ', {where}, ' to ', {_WHO}) from information_schema.{view}
    where privilege_type <> 'USAGE' and {given} union all
select distinct 1, concat('{GRANT}GRANT OPTION on ', {where}, ' to ', {_WHO}) from information_schema.{view}
    where is_grantable = 'YES' and {given} union all"""


def grants(databases: Iterable[str]) -> str:
    """What is granted to whom, on these databases and what is in them, a name for each privilege, so that more than
    there was is no difference. What can no longer be given is left out, and that root may do everything.
    """
    here = ", ".join(map(hexadecimal, databases)) or "null"
    column = "concat(privilege_type, ' (', column_name, ')')"
    return f"""
select 1, concat('role ', user) from mysql.user where is_role = 'Y' and user <> 'PUBLIC' union all{
        "".join(
            (
                _granted("user_privileges", "'*.*'", given="grantee not like '''root''@%'"),
                _granted("schema_privileges", "concat(table_schema, '.*')"),
                _granted("table_privileges", _TABLE, given=_there("tables", here)),
                _granted("column_privileges", _TABLE, column, _there("columns", here)),
            )
        )
    }
select 1, concat('{GRANT}', upper(proc_priv), ' on ', lower(routine_type), ' ', db, '.', routine_name, ' to ', user,
    '@', host) from mysql.procs_priv where cast(db as binary) in ({here}) and (db, routine_name, routine_type) in (
    select routine_schema, routine_name, routine_type from information_schema.routines) union all
select if(admin_option = 'Y', 2, 1), concat('{GRANT}', role, ' to ', user, '@', host) from mysql.roles_mapping
union all select 1, concat('{GRANT}PROXY on ', proxied_user, '@', proxied_host, ' to ', user, '@', host)
    from mysql.proxies_priv where proxied_user <> ''"""


def stale_grants(databases: Iterable[str]) -> str:
    """A line for each that no server takes back, since what it is of is no longer there."""
    here = ", ".join(map(hexadecimal, databases)) or "null"
    return " union all ".join(
        f"""select concat('left-out: the grant of ', group_concat(privilege_type separator ', '), ' on ', {_TABLE},
    {name} ' to ', {_WHO}, ' is of what is no longer there: REVOKE it') from information_schema.{kind[:-1]}_privileges
    where cast(table_schema as binary) in ({here}) and not {_there(kind, here)}
    group by grantee, table_schema, table_name {name and ", column_name"}"""
        for kind, name in (("tables", ""), ("columns", "'.', column_name,"))
    )


def _there(kind: str, databases: str) -> str:
    names = "table_schema, table_name" + ", column_name" * (kind == "columns")
    return f"""({names}) in (select {names} from information_schema.{kind}
        where cast(table_schema as binary) in ({databases}))"""


def is_code(what: str) -> bool:
    """Whether it can be compared only once views, routines, triggers and events are in their database."""
    return what.startswith(DEFINITION) and not what.startswith(OF_TABLE)


def is_granted(what: str) -> bool:
    """Whether it can be compared only once everything is granted."""
    return what.startswith((GRANT, "role "))


def is_loaded(what: str) -> bool:
    """Whether it can be compared once tables are loaded."""
    return not is_code(what)


def is_account(what: str) -> bool:
    """Whether it can be compared before anything is granted."""
    return not is_granted(what)
