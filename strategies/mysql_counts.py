"""What is counted in MariaDB or MySQL beside a dump and after a restore, and what is in a restore's way."""

from collections.abc import Iterable, Mapping

from strategies.checks import read_counts
from strategies.mysql_client import QUERIES, hexadecimal, query
from strategies.mysql_definitions import (
    CODE,
    MADE_BY_SERVER,
    OUTWARD,
    TABLES,
    grants,
    is_account,
    is_code,
    is_granted,
    is_loaded,
    near,
    stale_grants,
)
from strategies.plan import Argv, Count, Exec

HERE = "table_schema = cast(database() as binary)"
UNREADABLE = """table_rows is null and (table_type = 'VIEW' and table_comment <> 'VIEW'
    or table_comment like 'Unable to open underlying table%')"""
"""Of `information_schema.tables`: a view of what is no longer there, and a table that only unites others, one of which
is not. They hold no data; the client would dump nothing at all for their sake."""


def readable(schema: str = "database()") -> str:
    """Of `information_schema.tables`: all others but those whose rows are kept elsewhere."""
    return f"{near(schema)} and not ({UNREADABLE})"


READABLE = readable()

UNMOVED = "ifnull(engine, '') in ('Mroonga', 'OQGRAPH')"
"""One that the server renames into no other database, or whose database it cannot drop."""

HISTORY = f"""(true /*M!100300 and not exists (select 1 from information_schema.columns where {HERE}
    and generation_expression = 'ROW START' and data_type = 'bigint') */)"""
"""Whether the client can dump the history of a database, of which it can do all or nothing: not that of a table whose
rows begin and end with a transaction's number."""

ROWS = f"""
select '/*M!100101 set max_statement_time=50*/; start transaction with consistent snapshot;' union all
select concat('select count(*), ', quote(concat('rows of ', table_name)), ' from ', name, ';',
    if(kind = 'SYSTEM VERSIONED' and {HISTORY}, concat('select count(*), ', quote(concat('history of ', table_name)),
    ' from ', name, ' for system_time all;'), '')) from (select table_name, table_type as kind,
    concat('`', replace(table_name, '`', '``'), '`') as name from information_schema.tables
    where {HERE} and table_type in ('BASE TABLE', 'SYSTEM VERSIONED') and {READABLE}) as these
    union all
select concat('select abs(next_not_cached_value % 1000000000000000000), ', quote(concat('value of sequence ',
    table_name)), ' from `', replace(table_name, '`', '``'), '`;') from information_schema.tables
    where {HERE} and table_type = 'SEQUENCE'
"""
"""Rows of each table by a real count, all in one snapshot; with those that were, where the server keeps them; and where
each sequence goes on."""

LOADED = f"{ROWS} union all {TABLES}"
"""What there is once tables are loaded."""

COUNTS = f"""{LOADED} union all {CODE}
union all select 'select count(*), ''views'' from information_schema.tables where {HERE} and table_type = ''VIEW''
    and {READABLE.replace("'", "''")};'
union all select concat('select count(*), ', quote(what), ' from information_schema.', what, ' where ', place,
    ' = cast(database() as binary);') from (
    select 'routines' as what, 'routine_schema' as place
    union all select 'triggers', 'trigger_schema' union all select 'events', 'event_schema') as kinds"""
"""Of the rest, how many there are."""
KINDS = ("views", "routines", "triggers", "events")

USERS = "select user, host from mysql.user where is_role = 'N'"
COUNT_USERS = f"""select 1, concat('user ', user, '@', host) from ({USERS}) as users union all
select 1, concat('server ', server_name) from mysql.servers"""

OCCUPIED = """
select table_name from information_schema.tables where table_schema = cast({0} as binary) union all
select routine_name from information_schema.routines where routine_schema = cast({0} as binary) union all
select event_name from information_schema.events where event_schema = cast({0} as binary) limit 20"""


# A folder a line, and what it is called; bytes instead of the folder. What may not be looked at takes nothing.
SIZES = """
folders=$("$@") || exit
printf '%s\\n' "$folders" | while IFS='\t' read -r folder name; do
    [ -d "$folder" ] || continue
    size=$(du -sk "$folder")
    size=${size%%[!0-9]*}
    printf '%s\\t%s\\n' "$((${size:-0} * 1024))" "$name"
done"""
TOTAL = """ | { total=0; while read -r size _; do total=$((total + size)); done; echo "$total"; }"""


def size_of(*names: str) -> Argv:
    """Bytes of databases on the server's disk."""
    folders = " union all ".join(f"select {_folder(hexadecimal(name))}" for name in names)
    return ("sh", "-c", SIZES + TOTAL, "mariadb", *query(folders))


def sizes() -> Argv:
    """Bytes of each database on the server's disk, and its name."""
    folders = f"select {_folder('schema_name')}, schema_name from information_schema.schemata"
    return ("sh", "-c", SIZES, "mariadb", *query(folders))


def _folder(name: str) -> str:
    return f"concat(@@datadir, convert(convert({name} using utf8mb4) using filename))"


LEFT_OUT = f"""
select concat(if(table_type = 'VIEW', 'left-out: the view ', 'left-out: the table '), table_name, ' of ', table_schema,
    ' can no longer be read, so that no dump holds it; drop it, or make what it misses: ', table_comment)
    from information_schema.tables where {HERE} and {near()} and {UNREADABLE} union all
select concat('left-out: the rows of ', table_schema, '.', table_name, ' are kept elsewhere, as ', engine,
    ' does, and are in no dump') from information_schema.tables where {HERE} and {OUTWARD} union all
select concat('by-hand-only: ', table_schema, '.', table_name, ' cannot be moved to another database, since ', engine,
    ' does not know how, so that only the lines of the manifest bring it back')
    from information_schema.tables where {HERE} and {UNMOVED} union all
select concat('inexact: the client writes 6 digits of FLOAT, of which there are 7 to 9: ', substring_index(group_concat(
    table_schema, '.', table_name, '.', column_name separator ', '), ', ', 10), if(count(*) > 10, concat(' and ',
    count(*) - 10, ' more'), ''), '; DOUBLE comes back as it is') from information_schema.columns where {HERE}
    and data_type = 'float' and numeric_scale is null and table_name in (select table_name
    from information_schema.tables where {HERE} and table_type <> 'VIEW') having count(*) > 0 union all
select concat('inexact: ', table_schema, '.', table_name, ' has a unique key on a FLOAT, of which two values may be',
    ' written as one, so that it cannot be loaded: drill it, or make it a DOUBLE') from information_schema.statistics
    join information_schema.columns using (table_schema, table_name, column_name) where {HERE} and non_unique = 0
    and data_type = 'float' and numeric_scale is null"""
NO_HISTORY = f"""
union all select concat('history-left-out: {{}}, so only the present rows are dumped of ',
    group_concat(table_schema, '.', table_name separator ', ')) from information_schema.tables
    where {HERE} and table_type = 'SYSTEM VERSIONED' and {{}} having count(*) > 0"""


def count_database(name: str, *, history: bool = True) -> Count:
    """Without `history` none is counted, since none is dumped."""
    return Count(
        _asked(COUNTS if history else COUNTS.replace("kind = 'SYSTEM VERSIONED' and", "false and"), name),
        read_counts,
        remade=made_anew,
    )


def count_loaded(name: str, kept: str) -> Count:
    """Of a database into which only tables are loaded; `kept` is a question for the rest, which comes later."""
    return Count(_asked(f"{LOADED} {kept}", name), read_counts, covers=is_loaded, remade=made_anew)


def count_code(name: str) -> Count:
    """Of a database the definitions of views, routines, triggers and events."""
    return Count(_asked(CODE, name), read_counts, covers=is_code, remade=made_anew)


def _asked(question: str, name: str) -> Exec:
    """A question whose answer is questions."""
    return Exec(("sh", "-c", QUERIES, "mariadb", f"set session group_concat_max_len=1073741824; {question}", name))


def made_anew(what: str, counted: int, restored: Mapping[str, int]) -> str:
    """Why a server has another number of its own accord."""
    if what.startswith("value of sequence ") and restored.get(what, 0) > counted:
        return "it went on while the dump was made"
    return "the server writes what it has read" if what in restored and what.startswith(MADE_BY_SERVER) else ""


def left_out(name: str, *, history: bool) -> Argv:
    """A line for each thing that a dump of the database holds not at all, or not exactly."""
    by_number = NO_HISTORY.format("the history of one table is kept by transactions'' numbers", f"not {HISTORY}")
    without = NO_HISTORY.format("the client has no --dump-history", "true")
    return query(LEFT_OUT + (by_number if history else without), name)


def ignoring(schema: str) -> str:
    """A question for the dump's options that leave out what cannot be read, as words of the shell."""
    return _words(
        "concat('--ignore-table=', table_schema, '.', table_name)", schema, f"{near(schema)} and {UNREADABLE}"
    )


def dump_options(*, history: bool) -> str:
    """A question for all options that hang on what the database holds."""
    with_history = f"if({HISTORY}, ' --dump-history', '')" if history else "''"
    return f"select concat(ifnull(({ignoring('database()')}), ''), {with_history})"


def readable_views(schema: str) -> str:
    """A question for the names of all other views, as words of the shell."""
    return _words("table_name", schema, f"table_type = 'VIEW' and {readable(schema)}")


def _words(what: str, schema: str, condition: str) -> str:
    escaped = f"replace({what}, char(39), concat(char(39), char(92), char(39), char(39)))"
    return f"""select group_concat(concat(char(39), {escaped}, char(39)) separator ' ') from information_schema.tables
        where cast(table_schema as binary) = cast({schema} as binary) and {condition} having count(*) > 0"""


def count_users(databases: Iterable[str]) -> Count:
    """Accounts, and what they may do in these databases."""
    return Count(Exec(query(f"{COUNT_USERS} union all {grants(databases)}")), read_counts)


def count_accounts() -> Count:
    """Accounts alone, which are made before they may do anything."""
    return Count(Exec(query(COUNT_USERS)), read_counts, covers=is_account)


def count_grants(databases: Iterable[str]) -> Count:
    """What they may do, and roles."""
    return Count(Exec(query(grants(databases))), read_counts, covers=is_granted)


def grants_left_out(databases: Iterable[str]) -> Argv:
    """A line for each grant that no server takes back."""
    return query(stale_grants(databases))


def occupied(name: str) -> Exec:
    return Exec(query(OCCUPIED.format(hexadecimal(name))))
