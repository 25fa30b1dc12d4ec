"""What is counted in MariaDB or MySQL beside a dump and after a restore, and what is in a restore's way."""

from strategies.checks import read_counts
from strategies.mysql_client import QUERIES, query
from strategies.plan import Count, Exec

ROWS = """
select '/*M!100101 set max_statement_time=50*/; start transaction with consistent snapshot;' union all
select concat('select count(*), ', quote(concat('rows of ', table_name)), ' from `', replace(table_name, '`', '``'),
    '`;') from information_schema.tables where table_schema = cast(database() as binary) and table_type = 'BASE TABLE'
"""
"""Rows of each table by a real count, all in one snapshot."""

COUNTS = f"""{ROWS}
union all select concat('select count(*), ', quote(what), ' from information_schema.', what, ' where ', place,
    ' = cast(database() as binary);') from (
    select 'views' as what, 'table_schema' as place union all select 'routines', 'routine_schema'
    union all select 'triggers', 'trigger_schema' union all select 'events', 'event_schema') as kinds"""
"""Of the rest, how many there are."""
KINDS = ("views", "routines", "triggers", "events")

USERS = "select user, host from mysql.user where is_role = 'N'"
COUNT_USERS = f"select 1, concat('user ', user, '@', host) from ({USERS}) as users"

OCCUPIED = """
select table_name from information_schema.tables where table_schema = cast({0} as binary) union all
select routine_name from information_schema.routines where routine_schema = cast({0} as binary) union all
select event_name from information_schema.events where event_schema = cast({0} as binary) limit 20"""


def count_database(name: str, counts: str = COUNTS) -> Count:
    return Count(Exec(("sh", "-c", QUERIES, name, counts)), read_counts)


def count_users() -> Count:
    return Count(Exec(query(COUNT_USERS)), read_counts)


def occupied(name: str) -> Exec:
    return Exec(query(OCCUPIED.format(hexadecimal(name))))


def hexadecimal(text: str | bytes) -> str:
    """A literal, since a backslash in quotes may or may not escape."""
    return f"x'{(text.encode() if isinstance(text, str) else text).hex()}'"
