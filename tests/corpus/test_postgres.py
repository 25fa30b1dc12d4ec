"""Every kind of object of PostgreSQL comes back: replaced, on a fresh server, in a drill, and by hand."""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import zip_longest

import pytest

from tests.corpus.postgres_rows import ROWS
from tests.corpus.rows import BY_HAND, DRILLED, FRESH, REPLACED, State, different, untold
from tests.corpus.stand import Outcome, by_hand, ended, is_ready, standing, writing
from tests.kit.few import few
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Json, Sidecar, docker, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CORPUS = "corpus"
"""The database of all rows that have none of their own."""
SERVER = ("postgres", "-c", "fsync=off", "-c", "wal_level=logical", "-c", "shared_buffers=32MB")
FOLDER = "install -d -o postgres /var/lib/postgresql/space"
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


def state(server: str) -> State:
    """By row, what its objects are and hold."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    own = {place: row.name for row in ROWS for place in row.places}
    there = sql(server, "select datname from pg_database").splitlines()
    for database in [name for name in (CORPUS, *own) if name in there]:
        for schema, name, text in entries(server, database):
            row = own.get(database) or (schema if schema != "-" else owner(name))
            found[row][f"{database} {name}"] = text
        for line in sql(server, DATA, database, "-c search_path= -c client_encoding=UTF8").splitlines():
            schema, _, rest = line.partition("|")
            name, _, digest = rest.partition("|")
            found[own.get(database) or schema][f"{database} {name} rows"] = digest
    for line in docker("exec", server, "pg_dumpall", "-U", "postgres", "--globals-only").splitlines():
        if re.match(r"CREATE|ALTER|GRANT|COMMENT", line):
            found[owner(line)][re.sub(r" PASSWORD '[^']*'", "", line)] = ""
    return found


def owner(text: str) -> str:
    """Whose row a name is that stands in no schema."""
    return next((row.name for row in sorted(ROWS, key=lambda row: -len(row.name)) if row.name in text), "")


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    with standing("pg", token, tmp_path_factory.mktemp("config")) as made:
        yield made


def start(app: App, service: str, of: str = "POSTGRES") -> str:
    """A server without data."""
    options = ("--tmpfs", "/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=x")
    server = app.target(service, {"strategy": "postgres"}, *options, of=of, command=SERVER)
    is_ready(server, "pg_isready", "-h", "127.0.0.1", "-U", "postgres")
    return server


BUT = {place for row in ROWS if BY_HAND in row.without for place in row.places}
Source = tuple[str, Json, State]


@pytest.fixture(scope="module")
def source(stand: tuple[Sidecar, App]) -> Source:
    """A server with all rows: its container, its run, and its state then."""
    sidecar, app = stand
    server = start(app, "source")
    within(server, FOLDER)
    fill(server)
    before = state(server)
    return server, sidecar.backup("source"), before


def fill(server: str) -> None:
    sql(server, f"create database {CORPUS}; create database busy")
    for row in ROWS:
        if row.own:
            sql(server, row.make)
        else:
            path = f"create schema {row.name}; set search_path = {row.name};\n"
            sql(server, path + row.make, CORPUS)
    sql(server, "create table t (i int)", "busy")


@pytest.fixture(scope="module")
def replaced(stand: tuple[Sidecar, App], source: Source) -> Outcome:
    server, report, _ = source
    sql(server, "drop schema tables cascade; truncate partitions.t; drop view views.aa cascade", CORPUS)
    sql(server, "drop database encodings_icu; drop database settings; create table more (i int)")
    with writing(server, WRITE):
        done = ended(stand[0], "restore", stand[0].key("source"), "--run", report["id"], "--replace")
    return Outcome(tuple(done["warnings"]), state(server))


@pytest.fixture(scope="module")
def fresh(stand: tuple[Sidecar, App], source: Source) -> Outcome:
    server = start(stand[1], "fresh")
    stand[0].wait("fresh")
    done = ended(stand[0], "restore", stand[0].key("source"), "--run", source[1]["id"], "--to", "fresh", "--replace")
    return Outcome(tuple(done["warnings"]), state(server))


@pytest.fixture(scope="module")
def handmade(stand: tuple[Sidecar, App], source: Source, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    server = start(stand[1], "handmade")
    within(server, FOLDER)
    by_hand(stand[0], source[1], server, tmp_path_factory.mktemp("run"), BUT)
    return Outcome((), state(server))


WAYS = {REPLACED: "replaced", FRESH: "fresh", BY_HAND: "handmade", DRILLED: "drilled"}


@pytest.mark.parametrize("way", few(WAYS, FRESH))
def test_every_row_comes_back(way: str, source: Source, request: pytest.FixtureRequest) -> None:
    outcome: Outcome = request.getfixturevalue(WAYS[way])
    assert untold(ROWS, source[1]["warnings"], outcome.told, way) == []
    if way != DRILLED:
        assert different(ROWS, source[2], outcome.state, way) == {}


PATHLESS = """create database pathless; \\connect pathless
create schema app; create table app.rate (v int); insert into app.rate values (3); set search_path = app, public;
create function times(i int) returns int language sql immutable as 'select i * (select v from rate)';
create table app.t (i int, x int generated always as (times(i)) stored); insert into t values (2)"""


@pytest.mark.slow
def test_what_cannot_be_loaded_is_told_and_comes_back_by_the_search_path_that_is_given(
    stand: tuple[Sidecar, App],
) -> None:
    sidecar, app = stand
    server = start(app, "pathless")
    sql(server, PATHLESS)
    sidecar.backup("pathless")
    arguments = ("restore", sidecar.key("pathless"), "--replace")
    failed = sidecar.cli(*arguments)
    assert failed.returncode == 1
    told = " ".join((failed.stdout + failed.stderr).split())
    assert re.search(r"from TOC entry \d+; \d+ \d+ TABLE t postgres", told), told
    assert 'relation "rate" does not exist' in told
    assert "Command was: CREATE TABLE app.t" in told
    assert sql(server, "select x from app.t", "pathless") == "6", "what was there is there"

    ended(sidecar, *arguments, "--search-path", "app,public")
    assert sql(server, "select x from app.t", "pathless") == "6"


@pytest.fixture(scope="module")
def older(stand: tuple[Sidecar, App]) -> Source:
    """The rows in a server of the version before: Debian 12 has 15, Debian 13 has 17."""
    sidecar, app = stand
    make_images("postgres15:1")
    server = start(app, "older", "POSTGRES15")
    within(server, FOLDER)
    fill(server)
    before = state(server)
    return server, sidecar.backup("older"), before


@pytest.mark.slow
def test_every_row_of_an_older_server_comes_back_in_a_newer_one(stand: tuple[Sidecar, App], older: Source) -> None:
    sidecar, app = stand
    server = start(app, "newer")
    within(server, FOLDER)
    sidecar.wait("newer")
    ended(sidecar, "restore", sidecar.key("older"), "--run", older[1]["id"], "--to", "newer", "--replace")
    assert rows_only(state(server)) == rows_only(older[2])


@pytest.mark.slow
def test_the_way_back_to_an_older_server_says_why_it_is_none(stand: tuple[Sidecar, App], older: Source) -> None:
    sidecar, app = stand
    server = start(app, "present")
    sql(server, "create database shop")
    sidecar.backup("present")
    before = state(older[0])
    failed = sidecar.cli("restore", sidecar.key("present"), "--to", "older", "--replace", "--without-safety-backup")
    assert failed.returncode == 1
    assert "unsupported version (1.16) in file header" in failed.stdout + failed.stderr
    assert state(older[0]) == before


def rows_only(found: State) -> State:
    """The rest is written otherwise by another version of `pg_dump`, and what a view is filled with is made anew."""
    return {row: {name: text for name, text in there.items() if is_row(name)} for row, there in found.items()}


def is_row(name: str) -> bool:
    return name.endswith(" rows") and not name.endswith(" filled rows")
