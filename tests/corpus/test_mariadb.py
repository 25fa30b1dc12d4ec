"""Every kind of object of MariaDB comes back: replaced, on a fresh server, in a drill, and by hand."""

import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.corpus.mariadb_rows import ROWS
from tests.corpus.rows import BY_HAND, DRILLED, FRESH, REPLACED, State, different, untold
from tests.corpus.stand import Outcome, by_hand, ended, is_ready, standing, writing
from tests.kit.few import few
from tests.kit.stage import App, Json, Sidecar, docker, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CORPUS, PASSWORD = "corpus", "x"
SERVER = ("mariadbd", "--event-scheduler=OFF")
KINDS = r"TABLE|SEQUENCE|VIEW|PROCEDURE|FUNCTION|PACKAGE BODY|PACKAGE|TRIGGER|EVENT"
OBJECT = re.compile(
    rf"^(?:CREATE .*?\b|/\*!\d+ CREATE.*?\b|/\*!50001 |)(?:{KINDS}) (?:IF NOT EXISTS )?`((?:[^`]|``)+)`", re.MULTILINE
)
ROWS_OF = """select concat('select ', quote(concat(table_schema, '.', table_name)), ', count(*), sum(crc32(concat_ws(
    char(0), ', group_concat('ifnull(hex(cast(`', replace(column_name, '`', '``'), '` as binary)), ''null'')'
    order by ordinal_position), '))) from `', replace(table_schema, '`', '``'), '`.`', replace(table_name, '`', '``'),
    '`', if(table_type = 'SYSTEM VERSIONED' and table_schema = 'corpus', ' for system_time all', ''), ';')
    from information_schema.tables join information_schema.columns using (table_schema, table_name)
    where table_schema not in ('mysql', 'sys', 'information_schema', 'performance_schema') and table_type <> 'SEQUENCE'
    and table_rows is not null group by table_schema, table_name order by table_schema, table_name"""
SEQUENCES = """select concat('select ', quote(concat(table_schema, '.', table_name)),
    ', next_not_cached_value, cycle_option from `', table_schema, '`.`', table_name, '`;')
    from information_schema.tables where table_type = 'SEQUENCE'"""
BROKEN = """select concat(table_schema, '.', table_name) from information_schema.tables where table_schema = '{}'
    and table_rows is null and table_type <> 'SEQUENCE' and table_comment not in ('VIEW', '')"""
DUMP = ("mariadb-dump", "--user=root", "--skip-dump-date", "--routines", "--events", "--triggers", "--no-data")


def client(server: str, *arguments: str, text: str = "") -> str:
    argv = ("exec", "-i", "--env", f"MYSQL_PWD={PASSWORD}", server, *arguments)
    return docker(*argv, input=text.encode())


def sql(server: str, text: str) -> str:
    flags = ("--user=root", "--default-character-set=utf8mb4", "--batch", "--skip-column-names", "--raw")
    return client(server, "mariadb", *flags, text=f"set session group_concat_max_len=1073741824;\n{text}")


def state(server: str) -> State:
    """By row, what its objects are and hold."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    there = sql(server, "show databases").splitlines()
    for database in [CORPUS, *(place for row in ROWS for place in row.places)]:
        if database not in there:
            continue
        quoted = database.replace("`", "``")
        found[owner(database)][f"{database} itself"] = sql(server, f"show create database `{quoted}`")
        ignored = (f"--ignore-table={name}" for name in sql(server, BROKEN.format(database)).splitlines())
        dump = client(server, *DUMP, "--single-transaction", *ignored, "--databases", database)
        name = "head"
        for piece in re.split(r"\n(?=--\n-- )|\n(?=DELIMITER ;;)", re.sub(r" AUTO_INCREMENT=1\b", "", dump)):
            match = OBJECT.search(piece)
            name = match[1] if match else name
            if match:
                key = f"{database} {name}"
                found[row_of(database, name)][key] = found[row_of(database, name)].get(key, "") + piece
    for line in sql(server, sql(server, ROWS_OF)).splitlines() + sql(server, sql(server, SEQUENCES)).splitlines():
        place, *numbers = line.split("\t")
        database, _, table = place.partition(".")
        if database != "busy":
            found[row_of(database, table)][f"{place} rows"] = " ".join(numbers)
    for line in client(server, "mariadb-dump", "--user=root", "--system=users").splitlines():
        if line.startswith(("CREATE USER", "GRANT", "SET DEFAULT ROLE", "CREATE ROLE")) and "dump_import" not in line:
            found[owner(line)][re.sub(r" IDENTIFIED BY PASSWORD '[^']*'", "", line)] = ""
    return found


def row_of(database: str, name: str) -> str:
    return owner(name if database == CORPUS else database)


def owner(text: str) -> str:
    """Whose row a name is."""
    return next((row.name for row in sorted(ROWS, key=lambda row: -len(row.name)) if f"{row.name}" in text), "")


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    with standing("my", token, tmp_path_factory.mktemp("config")) as made:
        yield made


def start(app: App, service: str) -> str:
    """A server without data."""
    options = ("--tmpfs", "/var/lib/mysql", "--env", f"MARIADB_ROOT_PASSWORD={PASSWORD}")
    server = app.target(service, {"strategy": "mariadb"}, *options, of="MARIADB", command=SERVER)
    is_ready(server, "mariadb", "--host=127.0.0.1", "--user=root", f"--password={PASSWORD}", "-e", "select 1")
    return server


BUT = {place for row in ROWS if BY_HAND in row.without for place in row.places}
Source = tuple[str, Json, State]


@pytest.fixture(scope="module")
def source(stand: tuple[Sidecar, App]) -> Source:
    """A server with all rows: its container, its run, and its state then."""
    sidecar, app = stand
    server = start(app, "source")
    fill(server)
    before = state(server)
    return server, sidecar.backup("source"), before


def fill(server: str) -> None:
    sql(server, f"create database {CORPUS}; create database busy; create table busy.t (i int)")
    for row in ROWS:
        sql(server, ("" if row.own else f"use {CORPUS};\n") + row.make)


def change(server: str) -> None:
    sql(
        server,
        f"use {CORPUS}; drop table numbers_t; delete from partitions_r; drop view views_ab; drop procedure routines_p",
    )
    sql(
        server,
        "drop database across_b; drop user accounts_a@'%'; drop view definers.b_v; drop sequence corpus.sequences_down",
    )


@pytest.fixture(scope="module")
def replaced(stand: tuple[Sidecar, App], source: Source) -> Outcome:
    server, report, _ = source
    change(server)
    with writing(server, f"MYSQL_PWD={PASSWORD} mariadb -uroot busy -e 'insert into t values (1)'"):
        done = ended(
            stand[0], "restore", stand[0].key("source"), "--run", report["id"], "--replace", "--with-passwords"
        )
    return Outcome(tuple(done["warnings"]), state(server))


@pytest.fixture(scope="module")
def fresh(stand: tuple[Sidecar, App], source: Source) -> Outcome:
    server = start(stand[1], "fresh")
    done = ended(stand[0], "restore", stand[0].key("source"), "--run", source[1]["id"], "--to", "fresh")
    return Outcome(tuple(done["warnings"]), state(server))


@pytest.fixture(scope="module")
def handmade(stand: tuple[Sidecar, App], source: Source, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    server = start(stand[1], "handmade")
    by_hand(stand[0], source[1], server, tmp_path_factory.mktemp("run"), BUT)
    return Outcome((), state(server))


WAYS = {REPLACED: "replaced", FRESH: "fresh", BY_HAND: "handmade", DRILLED: "drilled"}


@pytest.mark.parametrize("way", few(WAYS, FRESH))
def test_every_row_comes_back(way: str, source: Source, request: pytest.FixtureRequest) -> None:
    outcome: Outcome = request.getfixturevalue(WAYS[way])
    assert untold(ROWS, source[1]["warnings"], outcome.told, way) == []
    if way != DRILLED:
        assert different(ROWS, source[2], outcome.state, way) == {}


@pytest.mark.slow
def test_a_table_that_holds_data_and_cannot_be_read_fails_the_run_by_its_name(stand: tuple[Sidecar, App]) -> None:
    sidecar, app = stand
    server = start(app, "crashed")
    sql(server, "create database d; create table d.t (i int, key (i)) engine=MyISAM; insert into d.t values (1)")
    sql(server, "create view d.v as select * from d.t; flush tables")
    sidecar.backup("crashed")
    within(server, "truncate -s 100 /var/lib/mysql/d/t.MYI")
    sql(server, "flush tables")
    report = sidecar.run("crashed")
    assert report["state"] == "failed"
    assert "show create table `t`" in report["failure"]["message"]
    refused = sidecar.cli("restore", sidecar.key("crashed"), "--search-path", "app")
    assert "a restore of mysql knows no search path" in refused.stderr
