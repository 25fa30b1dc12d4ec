"""A target whose environment and start-up files tell its tools otherwise: backups and restores are as without them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kit.stage import App, Sidecar, docker, eventually, execute, within

pytestmark = pytest.mark.e2e

SHELL = {
    "BASH_ENV": "/tmp/start",
    "ENV": "/tmp/start",
    "SHELLOPTS": "errexit:noglob:nounset:noclobber",
    "BASH_FUNC_tar%%": "() { echo fooled; }",
    "BASH_FUNC_printf%%": "() { echo fooled; }",
    "POSIXLY_CORRECT": "1",
    "LC_ALL": "xx_XX",
}
TAR = {"TAR_OPTIONS": "--exclude=*.conf --touch", "QUOTING_STYLE": "c", "GZIP": "--fast"}
LIBPQ = {
    "PGOPTIONS": "-c statement_timeout=1 -c search_path=nowhere -c default_transaction_isolation=serializable",
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "German, DMY",
    "PGTZ": "Asia/Tokyo",
    "PG_COLOR": "always",
}


def given(variables: Mapping[str, str]) -> list[str]:
    return [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]


def whole(sidecar: Sidecar, service: str, tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A good run, and its artifacts as files."""
    report = sidecar.backup(service)
    assert report["proof"] == "full", report
    (tmp_path / service).mkdir()
    folder = sidecar.fetch(report, tmp_path / service)
    artifacts: list[dict[str, Any]] = report["artifacts"]
    return folder, artifacts


def test_files(sidecar: Sidecar, app: App, tmp_path: Path) -> None:
    container = app.target("bent", {"strategy": "filesystem"}, "--volume", "/data", *given(SHELL | TAR), of="DEBIAN")
    docker(
        "exec", container, "env", "-i", "sh", "-c", "echo echo Welcome >/tmp/start; cd /data; echo 1 >a.conf; echo 2 >b"
    )
    folder, (artifact,) = whole(sidecar, "bent", tmp_path)
    clean = ("docker", "exec", container, "env", "-i", "PATH=/usr/bin:/bin", *map(str, artifact["argv"]))

    plain = execute("zstd", "-dc", folder / str(artifact["name"])).stdout

    assert plain == execute(*clean).stdout
    within(container, "rm /data/a.conf")
    assert sidecar.cli("restore", sidecar.key("bent"), "--in-place", "--replace").returncode == 0
    assert within(container, "cat /data/a.conf") == "1"


def test_postgres(sidecar: Sidecar, app: App, tmp_path: Path) -> None:
    options = ("--tmpfs", "/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=secret", *given(LIBPQ))
    container = app.target(
        "bent-pg", {"strategy": "postgres"}, *options, of="POSTGRES", command=("postgres", "-c", "fsync=off")
    )
    psql = "env -i PATH=$PATH PGPASSWORD=secret psql -X --host=127.0.0.1 --username=postgres -tAc"
    eventually(lambda: within(container, f"{psql} 'select 1' || true") == "1", seconds=60, what="PostgreSQL is ready")
    within(container, "printf '\\\\set QUIET off\\n\\\\pset format html\\n' >/root/.psqlrc")
    values = "select '2020-02-01 10:00Z'::timestamptz as at, 'ñandú' as name, n from generate_series(1, 2000) n"
    within(container, f'{psql} "create table bird as {values}"')
    seen = f"{psql} 'select count(*), min(at), max(n), max(name) from bird'"
    before = within(container, seen)

    _, artifacts = whole(sidecar, "bent-pg", tmp_path)

    assert 2000 in [artifact["counts"].get("rows of public.bird") for artifact in artifacts]
    within(container, f"{psql} 'drop table bird'")
    told = sidecar.cli("restore", sidecar.key("bent-pg"), "--replace")
    assert told.returncode == 0, told.stderr
    assert within(container, seen) == before


@pytest.mark.slow
def test_mariadb(sidecar: Sidecar, app: App, tmp_path: Path) -> None:
    options = ("--tmpfs", "/var/lib/mysql", "--env", "MARIADB_ROOT_PASSWORD=secret", "--env", "LC_ALL=xx_XX")
    container = app.target("bent-my", {"strategy": "mariadb"}, *options, of="MARIADB", command=("mariadbd",))
    client = "env -i PATH=$PATH mariadb --no-defaults --host=127.0.0.1 -uroot -psecret -N -e"
    eventually(lambda: within(container, f"{client} 'select 1' || true") == "1", seconds=60, what="MariaDB is ready")
    options_file = "[mariadb-dump]\\nwhere=1=0\\nno-data\\nskip-triggers\\n[mariadb]\\nhtml\\n"
    within(container, f"printf '{options_file}' >/root/.my.cnf; printf '{options_file}' >/etc/mysql/conf.d/bent.cnf")
    within(container, f"{client} 'create database shop; use shop; create table t select seq from seq_1_to_500'")

    _, artifacts = whole(sidecar, "bent-my", tmp_path)

    assert 500 in [artifact["counts"].get("rows of t") for artifact in artifacts]


def test_sqlite(sidecar: Sidecar, app: App, tmp_path: Path) -> None:
    container = app.target("bent-lite", {"strategy": "sqlite"}, "--volume", "/data", *given(SHELL), of="SQLITE")
    within(container, "sqlite3 /data/a.db 'create table t(x); insert into t values (1), (2)'")
    within(container, "printf '.mode html\\n.headers on\\n.bail off\\nselect 42;\\n' >/root/.sqliterc")

    _, (artifact,) = whole(sidecar, "bent-lite", tmp_path)

    assert artifact["counts"] == {"t": 2}
    within(container, "sqlite3 -init /dev/null /data/a.db 'delete from t'")
    assert sidecar.cli("restore", sidecar.key("bent-lite"), "--replace").returncode == 0
    assert within(container, "sqlite3 -init /dev/null /data/a.db 'select count(*) from t'") == "2"


@pytest.mark.slow
def test_redis(sidecar: Sidecar, app: App, tmp_path: Path) -> None:
    options = ("--env", "REDIS_PASSWORD=secret", *given({"FAKETTY": ""}))
    server = ("redis-server", "--requirepass", "secret", "--save", "")
    container = app.target("bent-redis", {"strategy": "redis"}, *options, of="REDIS", command=server)
    client = "env -i PATH=$PATH REDISCLI_AUTH=secret redis-cli"
    eventually(lambda: within(container, f"{client} PING || true") == "PONG", what="Redis is ready")
    within(container, f"{client} MSET a 1 b 2 c 'two words'")
    _, (artifact,) = whole(sidecar, "bent-redis", tmp_path)

    assert artifact["counts"] == {"keys in db0": 3}
    within(container, f"{client} FLUSHALL")
    told = sidecar.cli("restore", sidecar.key("bent-redis"), "--replace")
    assert told.returncode == 0, told.stderr
    assert within(container, f"{client} MGET a b c") == "1\n2\ntwo words"
