"""Targets of each kind, and all that could tell their tools otherwise: variables and files that the manuals name."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.kit.stage import SLEEP

# bash(1), dash(1), locale(7), GNU coreutils, grep(1), find(1).
SHELL = {
    "BASH_ENV": "/tmp/start",
    "ENV": "/tmp/start",
    "SHELLOPTS": "errexit:noglob:nounset:noclobber:xtrace",
    "BASHOPTS": "nullglob:failglob:dotglob",
    "BASH_XTRACEFD": "1",
    "BASH_FUNC_tar%%": "() { echo fooled; }",
    "BASH_FUNC_printf%%": "() { echo fooled; }",
    "BASH_FUNC_read%%": "() { false; }",
    "PS4": "$(echo fooled >&2)",
    "IFS": "x",
    "CDPATH": "/tmp:/",
    "GLOBIGNORE": "*",
    "POSIXLY_CORRECT": "1",
    "LC_ALL": "xx_XX",
    "LC_NUMERIC": "de_DE",
    "LANG": "xx_XX",
    "LANGUAGE": "de",
    "TZ": "Asia/Tokyo",
    "COLUMNS": "7",
    "BLOCK_SIZE": "1",
    "BLOCKSIZE": "1",
    "DF_BLOCK_SIZE": "1",
    "LS_COLORS": "di=01",
    "TIME_STYLE": "long-iso",
    "GREP_OPTIONS": "--invert-match",
    "GREP_COLOR": "1",
    "_POSIX2_VERSION": "199209",
}
# tar(1) and its manual, 3.3; gzip(1), zstd(1), xz(1), bzip2(1), lz4(1).
TAR = {
    "TAR_OPTIONS": "--exclude=*.conf --touch",
    "TAPE": "/dev/null",
    "QUOTING_STYLE": "c",
    "SIMPLE_BACKUP_SUFFIX": ".conf",
    "VERSION_CONTROL": "numbered",
    "RSH": "/bin/false",
}
COMPRESSORS = {
    "GZIP": "--fast",
    "ZSTD_CLEVEL": "19",
    "ZSTD_NBTHREADS": "4",
    "XZ_OPT": "-9",
    "XZ_DEFAULTS": "--check=none",
    "BZIP": "-1",
    "BZIP2": "-1",
    "LZ4_CLEVEL": "9",
}
# PostgreSQL 17, 32.15 "Environment Variables", psql, pg_dump. Who connects and where stays the target's word.
LIBPQ = {
    "PGOPTIONS": "-c statement_timeout=1 -c search_path=nowhere -c default_transaction_isolation=serializable",
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "German, DMY",
    "PGTZ": "Asia/Tokyo",
    "PGGEQO": "off",
    "PGDATABASE": "nowhere",
    "PGAPPNAME": "it's me",
    "PGLOCALEDIR": "/nowhere",
    "PGSYSCONFDIR": "/tmp/conf",
    "PG_COLOR": "always",
    "PG_COLORS": "error=01",
    "PSQLRC": "/tmp/conf/psqlrc",
    "PSQL_HISTORY": "/tmp/history",
    "PSQL_PAGER": "false",
    "PSQL_WATCH_PAGER": "false",
    "PAGER": "false",
    "PSQL_EDITOR": "false",
    "EDITOR": "false",
    "VISUAL": "false",
}
# MariaDB, "Environment Variables"; MySQL 8.4, 6.9.
MARIADB = {
    "MYSQL_HOST": "nowhere.invalid",
    "MARIADB_HOST": "nowhere.invalid",
    "MYSQL_TCP_PORT": "1",
    "MYSQL_HOME": "/tmp/conf",
    "MYSQL_GROUP_SUFFIX": "_bent",
    "MARIADB_GROUP_SUFFIX": "_bent",
    "MYSQL_HISTFILE": "/tmp/history",
    "MYSQL_HISTIGNORE": "*",
    "MYSQL_PS1": "fooled",
    "MYSQL_DEBUG": "d:t:o,/tmp/trace",
    "MYSQL_TEST_LOGIN_FILE": "/tmp/conf/login",
    "LIBMYSQL_ENABLE_CLEARTEXT_PLUGIN": "1",
    "DBI_USER": "nobody",
    "USER": "nobody",
    "UMASK": "0777",
    "PAGER": "false",
}
# redis-cli.c, valkey-cli.c.
REDIS = {
    "FAKETTY": "",
    "REDISCLI_RCFILE": "/tmp/conf/redisclirc",
    "REDISCLI_HISTFILE": "/tmp/history",
    "REDISCLI_CLUSTER_YES": "1",
    "VALKEYCLI_RCFILE": "/tmp/conf/redisclirc",
    "NO_COLOR": "1",
    "TERM": "xterm",
}
# sqlite3(1), shell.c, "Temporary Files Used By SQLite", 5.
SQLITE = {
    "SQLITE_HISTORY": "/tmp/history",
    "SQLITE_TMPDIR": "/nowhere",
    "XDG_CONFIG_HOME": "/tmp/conf",
    "XDG_STATE_HOME": "/tmp/conf",
    "NO_COLOR": "1",
    "PAGER": "false",
    "EDITOR": "false",
}


def as_is(plain: bytes) -> bytes:
    return plain


def without_when(plain: bytes) -> bytes:
    """A dump without what two of the same data differ by.

    That is the time in a custom archive's head (pg_backup_archiver.c, ReadHead), `pg_dumpall`'s random words, the end's
    time of `mariadb-dump`, and what Redis tells of itself before the keys, and the sum and mark behind them (rdb.c).
    """
    if plain.startswith(b"PGDMP"):
        return plain[:12] + plain[12 + 7 * 5 :]
    if plain.startswith(b"REDIS"):
        return re.sub(rb"(?s)\xff.{8}([0-9a-f]{40})?\Z", b"", plain[plain.index(b"\xfe\x00\xfb") :])
    plain = re.sub(rb"(?m)^-- Dump completed on .*$", b"", plain)
    return re.sub(rb"(?m)^\\(un)?restrict .*$", b"", plain)


@dataclass(frozen=True)
class Tool:
    """What a kind of target is, and how its data is made and seen: lines of shell that no such variable reaches."""

    of: str
    labels: Mapping[str, str]
    variables: Mapping[str, str]
    """Its own, to which come the shell's."""
    fill: str
    drop: str
    seen: str
    counts: Mapping[str, int]
    """Some that have to be there."""
    files: str = "true"
    """Makes the start-up and option files that the variables and the manuals name."""
    server: tuple[str, ...] = ()
    """Options of a container with the server, whose volumes the target shares."""
    serves: tuple[str, ...] = ()
    ready: str = "true"
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = SLEEP
    clean: tuple[str, ...] = ()
    """Variables that say who connects."""
    same: Callable[[bytes], bytes] = as_is
    restore: tuple[str, ...] = field(default=("--replace",))


PSQL = "psql -X -v ON_ERROR_STOP=1 --username=postgres"
MARIADB_CLIENT = "mariadb --no-defaults -uroot --socket=/run/mysqld/mysqld.sock -N -e"
ROWS = "select '2020-02-01 10:00Z'::timestamptz as at, 'ñandú' as name, n, 1.5 as half from generate_series(1, 2000) n"
OPTION_FILE = (
    "[mariadb-dump]\\nwhere=1=0\\nno-data\\nskip-triggers\\n[mariadb]\\nhtml\\n[client]\\nhost=nowhere.invalid\\n"
)
TOOLS = {
    "files": Tool(
        "DEBIAN",
        {"strategy": "filesystem", "filesystem.paths": "/data"},
        SHELL | TAR | COMPRESSORS,
        fill="cd /data; echo 1 >a.conf; echo 2 >'b c'; mkdir d; ln a.conf d/e; ln -s 'b c' soft; touch -d @1 a.conf d",
        drop="rm -r /data/*",
        seen="cd /data; find . -exec stat -c '%n %F %a %h %Y' {} + | sort; cat a.conf d/e soft",
        counts={"files": 2, "folders": 2},
        files="echo echo Welcome >/tmp/start",
        options=("--volume", "/data"),
        restore=("--in-place", "--replace"),
    ),
    "commands": Tool(
        "DEBIAN",
        {"commands.backup": "gzip -nc /data/x; tar -cf - -C /data x.conf", "commands.restore": "gzip -dc >/data/x"},
        TAR | COMPRESSORS,
        fill="seq 5000 >/data/x; echo y >/data/x.conf; touch -d @1 /data/x.conf",
        drop="true",
        seen="cat /data/x.conf",
        counts={},
        files="echo echo Welcome >/tmp/start",
        options=("--volume", "/data"),
        restore=(),
    ),
    "postgres": Tool(
        "POSTGRES",
        {"strategy": "postgres"},
        LIBPQ,
        fill=f'{PSQL} -c "create table bird as {ROWS}" -c "create role keeper"',
        drop=f"{PSQL} -c 'drop table bird'",
        seen=f"{PSQL} -Atc 'select count(*), min(at), max(n), max(name), sum(half) from bird'",
        counts={"rows of public.bird": 2000},
        files="mkdir /tmp/conf; echo echo Welcome >/tmp/start; for file in /tmp/conf/psqlrc /root/.psqlrc"
        " /root/.psqlrc-17; do printf '\\\\set QUIET off\\n\\\\pset format html\\n\\\\echo fooled\\n' >$file; done",
        server=("--volume", "/var/run/postgresql", "--env", "POSTGRES_PASSWORD=secret"),
        serves=("postgres", "-c", "fsync=off"),
        ready="pg_isready --host=127.0.0.1",
        clean=("PGUSER=postgres",),
        same=without_when,
    ),
    "mariadb": Tool(
        "MARIADB",
        {"strategy": "mariadb"},
        MARIADB,
        fill=f"{MARIADB_CLIENT} 'create database shop; use shop; create table t (n int, s varchar(20)); insert into t"
        f' select seq, "ñandú" from seq_1_to_500; create trigger tr before insert on t for each row set new.n = 1\'',
        drop=f"{MARIADB_CLIENT} 'drop table shop.t'",
        seen=f"{MARIADB_CLIENT} 'select count(*), sum(n), max(s) from shop.t; select trigger_name, action_statement"
        " from information_schema.triggers'",
        counts={"rows of t": 500},
        files="mkdir /tmp/conf; echo echo Welcome >/tmp/start; for file in /tmp/conf/my.cnf /root/.my.cnf /etc/my.cnf"
        f" /etc/mysql/conf.d/bent.cnf /tmp/conf/login /root/.mylogin.cnf; do printf '{OPTION_FILE}' >$file; done",
        server=("--volume", "/run/mysqld", "--env", "MARIADB_ROOT_PASSWORD=secret"),
        serves=("mariadbd",),
        ready="mariadb-admin --no-defaults --host=127.0.0.1 -uroot -psecret ping",
        options=("--env", "MARIADB_ROOT_PASSWORD=secret"),
        clean=("MYSQL_PWD=secret", "MARIADB_ROOT_PASSWORD=secret"),
        same=without_when,
    ),
    "redis": Tool(
        "REDIS",
        {"strategy": "redis"},
        REDIS,
        fill="redis-cli MSET a 1 b 2 c 'two words'",
        drop="redis-cli FLUSHALL",
        seen="redis-cli MGET a b c",
        counts={"keys in db0": 3},
        files="mkdir /tmp/conf; echo echo Welcome >/tmp/start;"
        " for file in /tmp/conf/redisclirc /root/.redisclirc /data/.redisclirc; do echo ':set nohints' >$file; done",
        ready="redis-cli PING | grep PONG",
        options=("--env", "REDIS_PASSWORD=secret", "--entrypoint", "env"),
        command=("-i", "PATH=/usr/bin:/bin", "redis-server", "--requirepass", "secret", "--save", ""),
        clean=("REDISCLI_AUTH=secret", "REDIS_PASSWORD=secret"),
        same=without_when,
    ),
    "sqlite": Tool(
        "SQLITE",
        {"strategy": "sqlite"},
        SQLITE,
        fill="sqlite3 /data/a.db 'create table t(x); insert into t values (1.5), (2), (null)'",
        drop="sqlite3 -init /dev/null /data/a.db 'delete from t'",
        seen="sqlite3 -init /dev/null /data/a.db 'select count(*), sum(x) from t'",
        counts={"t": 3},
        files="mkdir -p /tmp/conf/sqlite3; echo echo Welcome >/tmp/start; for file in /root/.sqliterc"
        " /tmp/conf/sqlite3/sqliterc; do printf '.mode html\\n.headers on\\n.bail off\\nselect 42;\\n' >$file; done",
        options=("--volume", "/data"),
    ),
}
