"""Restoring PostgreSQL so that nobody sees half a database, and what fails leaves everything as it was.

Roles that are missing are made, and each database is loaded under a name that nobody knows. Once all was compared, who
is connected is sent away, and one transaction gives the old databases and the new ones their names and brings the
rest of the globals. The old ones are dropped last.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from strategies.plan import Argv, Feed, Restore, RestoreRequest, Run, Step
from strategies.postgres_archive import Renamed
from strategies.postgres_client import (
    CONNECTED,
    OUTLIVES,
    PostgresOptions,
    connected,
    dbname,
    psql,
    query,
    room,
    script,
)
from strategies.postgres_counts import count_database, count_roles, occupied
from strategies.postgres_sql import Afterwards, Beforehand, forget, identifier, literal, unmark
from strategies.servers import databases_in

MARK = '"sidecar.restore"'
"""A setting of a database that a restore has put in its place; it goes with the last step."""

WRITABLE = "-c default_transaction_read_only=off"
"""A database may be read-only by a setting of its own, which its load would meet, too."""

# `$1` asks whether there is the database; `$2` rids it of its subscriptions, else it cannot be dropped; `$3` drops it.
DROP = f"""{OUTLIVES}
found=$(eval "$1") || exit
[ -z "$found" ] || {{ eval "$2" >/dev/null 2>&1; eval "$3"; }}
"""

# A subscription whose slot is named elsewhere would otherwise be asked to drop it there.
UNSUBSCRIBE = """do $x$declare one name; begin
for one in select subname from pg_catalog.pg_subscription s join pg_catalog.pg_database d on d.oid = subdbid
    where datname = current_database()
loop
    execute format('alter subscription %I disable', one);
    execute format('alter subscription %I set (slot_name = none)', one);
    execute format('drop subscription %I', one);
end loop; end$x$"""


@dataclass(frozen=True, slots=True)
class _Move:
    """One database, from the artifact to its name."""

    artifact: str
    name: str
    loaded: str
    """The name under which it is loaded."""
    aside: str
    """The name of what was there, until it is dropped."""


def restore(options: PostgresOptions, request: RestoreRequest) -> Restore:
    """The whole of it, in order."""
    restored = request.restore or request.run
    databases = databases_in(request, "pg_custom", ".pgdump")
    moves = [
        _Move(artifact, name, f"restore-{restored}-{number}", f"before-{restored}-{number}")
        for number, (artifact, name) in enumerate(databases.items())
    ]
    others = [stored.name for stored in request.artifacts if stored.name not in databases]
    marker = f"made by restore {restored}"
    names = [move.name for move in moves]
    return Restore(
        where=f"databases {', '.join(names)}",
        room=room(options),
        notices=(psql(options, "template1", _lost_with(names)),),
        occupied=tuple(occupied(name, options) for name in names),
        steps=(*_roles(others, marker, options), *(_load(move, options) for move in moves)),
        counts={move.artifact: count_database(move.loaded, options) for move in moves}
        | {artifact: count_roles(options) for artifact in others},
        swap=tuple(_swap(moves, others, marker, options, with_passwords=request.with_passwords)),
        finish=(
            psql(
                options,
                "template1",
                *(_where(name, f"alter database {identifier(name)} reset {MARK}") for name in names),
            ),
            *(_drop(move.aside, options) for move in moves),
        ),
    )


def _roles(artifacts: list[str], marker: str, options: PostgresOptions) -> Iterator[Step]:
    made = script(options, forget(marker))
    for artifact in artifacts:
        yield Feed(artifact, _quietly(options), undo=made, rewrite=Beforehand(marker))


def _load(move: _Move, options: PostgresOptions) -> Step:
    place = dbname("template1", options=WRITABLE)
    argv = connected("pg_restore", options, "--no-password", "--exit-on-error", "--create", place)
    return Feed(move.artifact, argv, undo=_drop(move.loaded, options), rewrite=Renamed(move.loaded))


def _swap(
    moves: list[_Move], others: list[str], marker: str, options: PostgresOptions, *, with_passwords: bool
) -> Iterator[Step]:
    shut = [_where(move.name, f"alter database {identifier(move.name)} allow_connections false") for move in moves]
    opened = [_where(move.name, f"alter database {identifier(move.name)} allow_connections true") for move in moves]
    sent_away = (statement for move in moves for statement in (_sessions(move.name), _disconnect(move.name)))
    yield Run(psql(options, "template1", *shut, *sent_away), undo=psql(options, "template1", *opened), tells=True)
    back = psql(options, "template1", *(statement for move in reversed(moves) for statement in _back(move)))
    there = [statement for move in moves for statement in _there(move)]
    if not others:
        yield Run(psql(options, "template1", "begin", *there, unmark(marker), "commit"), undo=back)
    for number, artifact in enumerate(others):
        first = there if number == 0 else []
        yield Feed(artifact, _quietly(options), undo=back, rewrite=Afterwards(tuple(first), marker, with_passwords))


def _there(move: _Move) -> Iterator[str]:
    """In one transaction: nobody is connected to either of them."""
    here, loaded, aside = identifier(move.name), identifier(move.loaded), identifier(move.aside)
    yield _where(move.name, f"alter database {here} rename to {aside}")
    yield f"alter database {loaded} rename to {here}"
    yield f"alter database {here} set {MARK} = 'in place'"


def _back(move: _Move) -> Iterator[str]:
    """What was put in place gives its name back to what was there; does nothing where that was never done."""
    here, loaded, aside = identifier(move.name), identifier(move.loaded), identifier(move.aside)
    marked = (
        "exists (select from pg_catalog.pg_db_role_setting s join pg_catalog.pg_database d on d.oid = setdatabase "
        f"where datname = {literal(move.name)} and setrole = 0 and setconfig::text like '%sidecar.restore=%')"
    )
    yield _if(marked, f"alter database {here} allow_connections false")
    yield _disconnect(move.name, marked)
    yield _if(marked, f"alter database {here} rename to {loaded}")
    yield _where(move.aside, f"alter database {aside} rename to {here}")


def _drop(name: str, options: PostgresOptions) -> Argv:
    there = f"select 1 from pg_catalog.pg_database where datname = {literal(name)}"  # noqa: S608  # quoted
    here = identifier(name)
    opened, shut = (_where(name, f"alter database {here} allow_connections {word}") for word in ("true", "false"))
    drop = query(options, "template1", shut, _disconnect(name), f"drop database if exists {here}")
    open_up = query(options, "template1", opened)
    unsubscribe = query(options, name, UNSUBSCRIBE, options=WRITABLE)
    rid = f"{shlex.join(open_up)} && {shlex.join(unsubscribe)}"
    words = (shlex.join(query(options, "template1", there)), rid, shlex.join(drop))
    return (*CONNECTED, "sh", "-c", DROP, "sh", *words)


def _quietly(options: PostgresOptions) -> Argv:
    """psql, which reads statements from its standard input."""
    return (*CONNECTED, "sh", "-c", 'exec "$@" >/dev/null', "sh", *query(options, "template1"))


def _where(database: str, statement: str) -> str:
    """The statement, where there is the database."""
    return _if(f"exists (select from pg_catalog.pg_database where datname = {literal(database)})", statement)


def _if(condition: str, statement: str) -> str:
    return f"do {literal(f'begin if {condition} then {statement}; end if; end')}"


def _disconnect(name: str, condition: str = "true") -> str:
    sessions = f"select pid from pg_catalog.pg_stat_activity where datname = {literal(name)} and {condition}"  # noqa: S608  # quoted
    return f"do {literal(f'begin perform pg_terminate_backend(pid) from ({sessions}) them; end')}"


def _sessions(name: str) -> str:
    """Who is connected, a line for each user and address."""
    return f"""select format('sessions-ended: %s of %s from %s in %s', count(*), coalesce(usename, 'the server'),
    coalesce(host(client_addr), 'the container itself'), datname) from pg_catalog.pg_stat_activity
    where datname = {literal(name)} and pid <> pg_backend_pid() group by usename, client_addr, datname"""  # noqa: S608  # quoted


def _lost_with(names: list[str]) -> str:
    """What hangs on the databases that are replaced and in no dump: slots of publishers, the link of a subscription."""
    these = f"({', '.join(map(literal, names)) or 'null'})"
    return f"""select format('slot-goes: the logical slot %s goes with the old database %s', slot_name, database)
    from pg_catalog.pg_replication_slots where slot_type = 'logical' and database in {these}
union all select format('subscription-disabled: %s of %s comes back disabled; the slot at its publisher stays',
    subname, datname)
    from pg_catalog.pg_subscription join pg_catalog.pg_database d on d.oid = subdbid where datname in {these}
union all select format('sessions: %s of %s from %s in %s will be ended', count(*), usename,
    coalesce(host(client_addr), 'the container itself'), datname) from pg_catalog.pg_stat_activity
    where datname in {these} and pid <> pg_backend_pid() and backend_type = 'client backend'
    group by usename, client_addr, datname"""  # noqa: S608  # quoted
