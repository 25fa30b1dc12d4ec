"""A server of MariaDB with a row for each kind of object, and what its own tools say of them."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.corpus.rows import BY_HAND, Row, State
from tests.corpus.stand import is_ready
from tests.kit.stage import App, docker

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
ACCOUNT = ("CREATE USER", "GRANT", "SET DEFAULT ROLE", "CREATE ROLE")
DUMP = ("mariadb-dump", "--user=root", "--skip-dump-date", "--routines", "--events", "--triggers", "--no-data")


def client(server: str, *arguments: str, text: str = "") -> str:
    argv = ("exec", "-i", "--env", f"MYSQL_PWD={PASSWORD}", server, *arguments)
    return docker(*argv, input=text.encode())


def sql(server: str, text: str) -> str:
    flags = ("--user=root", "--default-character-set=utf8mb4", "--batch", "--skip-column-names", "--raw")
    return client(server, "mariadb", *flags, text=f"set session group_concat_max_len=1073741824;\n{text}")


@dataclass(frozen=True)
class MariadbCorpus:
    """The rows of one image."""

    rows: Sequence[Row]
    of: str = "MARIADB"
    server: tuple[str, ...] = SERVER

    @property
    def left_by_hand(self) -> set[str]:
        """Databases that do not come back by the lines of the manifest."""
        return {place for row in self.rows if BY_HAND in row.without for place in row.places}

    def start(self, app: App, service: str, of: str = "") -> str:
        """A server without data."""
        options = ("--tmpfs", "/var/lib/mysql", "--env", f"MARIADB_ROOT_PASSWORD={PASSWORD}")
        server = app.target(service, {"strategy": "mariadb"}, *options, of=of or self.of, command=self.server)
        is_ready(server, "mariadb", "--host=127.0.0.1", "--user=root", f"--password={PASSWORD}", "-e", "select 1")
        return server

    def fill(self, server: str) -> None:
        sql(server, f"create database {CORPUS}; create database busy; create table busy.t (i int)")
        for row in self.rows:
            sql(server, ("" if row.own else f"use {CORPUS};\n") + row.make)

    def state(self, server: str) -> State:
        """By row, what its objects are and hold."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        there = sql(server, "show databases").splitlines()
        for database in [CORPUS, *(place for row in self.rows for place in row.places)]:
            if database not in there:
                continue
            quoted = database.replace("`", "``")
            found[self.owner(database)][f"{database} itself"] = sql(server, f"show create database `{quoted}`")
            ignored = (f"--ignore-table={name}" for name in sql(server, BROKEN.format(database)).splitlines())
            dump = client(server, *DUMP, "--single-transaction", *ignored, "--databases", database)
            name = "head"
            for piece in re.split(r"\n(?=--\n-- )|\n(?=DELIMITER ;;)", re.sub(r" AUTO_INCREMENT=1\b", "", dump)):
                match = OBJECT.search(piece)
                name = match[1] if match else name
                if match:
                    key = f"{database} {name}"
                    found[self.row_of(database, name)][key] = found[self.row_of(database, name)].get(key, "") + piece
        for line in sql(server, sql(server, ROWS_OF)).splitlines() + sql(server, sql(server, SEQUENCES)).splitlines():
            place, *numbers = line.split("\t")
            database, _, table = place.partition(".")
            if database != "busy":
                found[self.row_of(database, table)][f"{place} rows"] = " ".join(numbers)
        for line in sql(server, "select * from mysql.servers").splitlines():
            found[self.owner(line)][f"server {line}"] = ""
        accounts = client(server, "mariadb-dump", "--user=root", "--system=users")
        for line in f"{accounts}\n{sql(server, 'show grants for public')}".splitlines():
            if line.startswith(ACCOUNT) and "dump_import" not in line:
                found[self.owner(line)][re.sub(r" IDENTIFIED BY PASSWORD '[^']*'", "", line)] = ""
        return found

    def row_of(self, database: str, name: str) -> str:
        return self.owner(name if database == CORPUS else database)

    def owner(self, text: str) -> str:
        """Whose row a name is."""
        return next((row.name for row in sorted(self.rows, key=lambda row: -len(row.name)) if row.name in text), "")
