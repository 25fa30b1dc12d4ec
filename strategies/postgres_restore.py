"""Restoring PostgreSQL so that nobody sees half a database, and what fails leaves everything as it was.

Roles that are missing are made, and each database is loaded under a name that nobody knows. Once all was compared, who
is connected is sent away, and one transaction gives the old databases and the new ones their names and brings the
rest of the globals. The old ones are dropped last.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from strategies.plan import Argv, Feed, Restore, RestoreRequest, Run, Step
from strategies.postgres_client import (
    CONNECTED,
    OUTLIVES,
    PostgresOptions,
    psql,
    query,
    room,
    script,
    size_of,
)
from strategies.postgres_counts import count_database, count_roles, made_anew, occupied
from strategies.postgres_load import Belated, Elsewhere, Late, Load
from strategies.postgres_sql import Afterwards, Beforehand, forget, identifier, literal, unmark
from strategies.servers import databases_in

MARK = "sidecar.restore"
"""A setting of a database that a restore has put in its place; it goes with the last step."""

# `$1` asks whether there is the database; `$2` rids it of its subscriptions, else it cannot be dropped; `$3` does it.
RID = f"""{OUTLIVES}
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
    mark: str
    """What `MARK` is set to where it is in place."""

    @property
    def in_place(self) -> str:
        """Whether it is, as a condition; a mark of another restore may have stayed."""
        setting = literal(f"{MARK}={self.mark}")
        return (
            "exists (select from pg_catalog.pg_db_role_setting s join pg_catalog.pg_database d on d.oid = setdatabase "
            f"where datname = {literal(self.name)} and setrole = 0 and {setting} = any (setconfig))"
        )


@dataclass(frozen=True, slots=True)
class Remade:
    """Why a database that is loaded under another name has another number of something, and nothing is lost."""

    artifact: str
    belated: Belated

    def __call__(self, what: str, counted: int, restored: Mapping[str, int]) -> str:
        if what == "extensions" and restored.get(what, 0) < counted and self.belated.numbers.get(self.artifact):
            return "one that can only be made in the database of this name follows once it has it"
        return made_anew(what, counted, restored)


def restore(options: PostgresOptions, request: RestoreRequest, *, silences: bool = False) -> Restore:
    """The whole of it, in order; `silences`: the account may do without event triggers."""
    restored = request.restore or request.run
    databases = databases_in(request, "pg_custom", ".pgdump")
    moves = [
        _Move(artifact, name, f"restore-{restored}-{number}", f"before-{restored}-{number}", restored)
        for number, (artifact, name) in enumerate(databases.items())
    ]
    others = [stored.name for stored in request.artifacts if stored.name not in databases]
    elsewhere, belated = Elsewhere(), Belated()
    about = (options, elsewhere, belated, request.search_path, silences)
    loads = [Load(move.artifact, move.loaded, _drop(move.loaded, options), *about) for move in moves]
    marker = f"made by restore {restored}"
    names = [move.name for move in moves]
    return Restore(
        where=f"databases {', '.join(names)}",
        clients="once all is compared, those of the old databases are disconnected, and may connect again at once",
        room=room(options),
        frees=size_of(options, *names),
        notices=(psql(options, "template1", _lost_with(names)),),
        occupied=tuple(occupied(name, options) for name in names),
        steps=(
            *_roles(others, marker, options, elsewhere),
            *(_dropped(move.name, options) for move in moves if request.drop_first),
            *(load.feed() for load in loads),
        ),
        counts={
            move.artifact: replace(count_database(move.loaded, options), remade=Remade(move.artifact, belated))
            for move in moves
        }
        | {artifact: count_roles(options) for artifact in others},
        present={move.artifact: count_database(move.name, options) for move in moves},
        swap=tuple(_swap(moves, others, marker, options, request)),
        settled=_settled(moves, options) if moves else None,
        belated=tuple(Late(load, move.name) for load, move in zip(loads, moves, strict=True)),
        finish=(
            psql(
                options,
                "template1",
                *(_where(name, f"alter database {identifier(name)} reset {identifier(MARK)}") for name in names),
            ),
            *((_let_be if request.unsaved else _drop)(move.aside, options) for move in moves),
        ),
    )


def _roles(artifacts: list[str], marker: str, options: PostgresOptions, elsewhere: Elsewhere) -> Iterator[Step]:
    made, tells = script(options, forget(marker)), _reads(options, ">&2")
    for artifact in artifacts:
        yield Feed(artifact, tells, undo=made, rewrite=Beforehand(marker), hear=elsewhere)


def _dropped(name: str, options: PostgresOptions) -> Step:
    return Run(_drop(name, options), leaves=f"the database {name} was dropped")


def _swap(
    moves: list[_Move], others: list[str], marker: str, options: PostgresOptions, request: RestoreRequest
) -> Iterator[Step]:
    # An extension may have a process of its own at work in a database that is only just loaded.
    shut = [_shut(name) for move in moves for name in (move.name, move.loaded)]
    opened = [_where(move.name, f"alter database {identifier(move.name)} allow_connections true") for move in moves]
    sent_away = (
        statement
        for move in moves
        for statement in (_sessions(move.name), _disconnect(move.name), _disconnect(move.loaded))
    )
    kept = map(_kept, moves) if request.unsaved else ()
    yield Run(
        psql(options, "template1", *shut, *sent_away, *kept), undo=psql(options, "template1", *opened), tells=True
    )
    back = psql(options, "template1", *(statement for move in reversed(moves) for statement in _back(move)))
    there = [statement for move in moves for statement in _there(move)]
    if not others:
        yield Run(psql(options, "template1", "begin", *there, unmark(marker), "commit"), undo=back)
    for number, artifact in enumerate(others):
        first = there if number == 0 else []
        after = Afterwards(tuple(first), marker, request.with_passwords)
        yield Feed(artifact, _reads(options, ">/dev/null"), undo=back, rewrite=after)


def _there(move: _Move) -> Iterator[str]:
    """In one transaction: nobody is connected to either of them."""
    here, loaded, aside = identifier(move.name), identifier(move.loaded), identifier(move.aside)
    yield _where(move.name, f"alter database {here} rename to {aside}")
    yield f"alter database {loaded} rename to {here}"
    yield f"alter database {here} allow_connections true"
    yield f"alter database {here} set {identifier(MARK)} ={literal(move.mark)}"


def _back(move: _Move) -> Iterator[str]:
    """What was put in place gives its name back to what was there; does nothing where that was never done."""
    here, loaded, aside = identifier(move.name), identifier(move.loaded), identifier(move.aside)
    yield _if(move.in_place, f"alter database {here} allow_connections false")
    yield _disconnect(move.name, move.in_place)
    yield _if(move.in_place, f"alter database {here} rename to {loaded}")
    yield _where(move.aside, f"alter database {aside} rename to {here}")


def _settled(moves: list[_Move], options: PostgresOptions) -> Argv:
    condition = " and ".join(move.in_place for move in moves)
    return psql(options, "template1", f"select case when {condition} then 'yes' end")


def _kept(move: _Move) -> str:
    """Tells what becomes of a database that is in no backup."""
    return f"""select format('kept: what was in %s is the database %s now, which allows no connections', datname,
    {literal(move.aside)}) from pg_catalog.pg_database where datname = {literal(move.name)}"""  # noqa: S608  # quoted


def _drop(name: str, options: PostgresOptions) -> Argv:
    return _rid(name, options, _shut(name), _disconnect(name), f"drop database if exists {identifier(name)}")


def _let_be(name: str, options: PostgresOptions) -> Argv:
    """What is kept holds back no log, takes nothing from a publisher, and is not dumped: it may be broken."""
    slots = "select slot_name from pg_catalog.pg_replication_slots where slot_type = 'logical' and database = "
    drop = f"select pg_drop_replication_slot(slot_name) from ({slots}{literal(name)}) them"  # noqa: S608  # quoted
    return _rid(name, options, drop, _shut(name))


def _rid(name: str, options: PostgresOptions, *statements: str) -> Argv:
    """The statements, once the database has no subscription any more; nothing where there is no such database."""
    there = f"select 1 from pg_catalog.pg_database where datname = {literal(name)}"  # noqa: S608  # quoted
    opened = _where(name, f"alter database {identifier(name)} allow_connections true")
    last, open_up = query(options, "template1", *statements), query(options, "template1", opened)
    unsubscribe = query(options, name, UNSUBSCRIBE)
    rid = f"{shlex.join(open_up)} && {shlex.join(unsubscribe)}"
    words = (shlex.join(query(options, "template1", there)), rid, shlex.join(last))
    return (*CONNECTED, "sh", "-c", RID, "sh", *words)


def _reads(options: PostgresOptions, answers: str) -> Argv:
    """psql, which reads statements from its standard input, and where the answers go."""
    return (*CONNECTED, "sh", "-c", f'exec "$@" {answers}', "sh", *query(options, "template1"))


def _shut(name: str) -> str:
    return _where(name, f"alter database {identifier(name)} allow_connections false")


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
union all select format('subscription-disabled: %s of %s comes back disabled; %s', subname, datname,
    coalesce(format('its slot %s at the publisher stays', subslotname), 'it has no slot'))
    from pg_catalog.pg_subscription join pg_catalog.pg_database d on d.oid = subdbid where datname in {these}
union all select format('sessions: %s of %s from %s in %s will be ended', count(*), usename,
    coalesce(host(client_addr), 'the container itself'), datname) from pg_catalog.pg_stat_activity
    where datname in {these} and pid <> pg_backend_pid() and backend_type = 'client backend'
    group by usename, client_addr, datname"""  # noqa: S608  # quoted
