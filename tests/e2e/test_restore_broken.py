"""A restore over what is broken, so that nobody can back it up any more."""

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.kit import stage
from tests.kit.few import few
from tests.kit.stage import App, Sidecar, docker, eventually, execute

pytestmark = pytest.mark.e2e

Stand = tuple[Sidecar, App]


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("broken")
    (folder / "config.yaml").write_text("schema: 1\ndefaults: {schedule: none, retention: {keep-last: 100}}\n")
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"sidecar-broken-{secrets.token_hex(3)}", folder, token) as (running, app):
        yield running, app


@dataclass(frozen=True)
class Place:
    """A target, how it is broken, and how somebody looks at it."""

    of: str
    options: tuple[str, ...]
    client: str
    """A line of shell that runs the SQL of its input."""
    breaks: str
    """A line of shell; `sql` runs SQL in it."""
    kept: str
    """What is kept, as a pattern; its group is a name for `still`."""
    still: str
    """A line of shell that succeeds where `$1` is kept."""
    ready: str = "true"
    command: tuple[str, ...] = ()


PLACES = {
    "postgres": Place(
        "POSTGRES",
        ("--env", "POSTGRES_PASSWORD=x"),
        "psql -XqAt -v ON_ERROR_STOP=1 -Upostgres",
        'rm "$PGDATA/$(echo "select pg_relation_filepath(\'item\')" | sql)" && '
        "echo \"select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' "
        'and pid <> pg_backend_pid()" | sql',
        r"kept: what was in postgres is the database (before-\S+) now, which allows no connections",
        """set -e; allow() { echo "alter database \\"$1\\" allow_connections $2" | sql; }; allow "$1" true
        [ "$(echo "select id from other" | psql -XqAt -Upostgres -d "$1")" = 7 ]; allow "$1" false""",
        "pg_isready --host=127.0.0.1",
        ("postgres", "-c", "fsync=off"),
    ),
    "mariadb": Place(
        "MARIADB",
        ("--env", "MARIADB_ROOT_PASSWORD=x", "--env", "MARIADB_DATABASE=shop"),
        "mariadb -uroot -px -N shop",
        'echo "alter table item discard tablespace" | sql',
        r"kept: the tables of shop are in (before_\S+) now",
        '[ "$(echo "select id from other" | mariadb -uroot -px -N "$1")" = 7 ]',
        "mariadb-admin --host=127.0.0.1 -uroot -px ping",
    ),
    "sqlite": Place(
        "SQLITE",
        ("--volume", "/data"),
        "sqlite3 /data/app.db",
        "head -c 9000 /dev/urandom | dd of=/data/app.db conv=notrunc 2>/dev/null; cp /data/app.db /tmp",
        r"kept: what was there is (/data/app\.db\.before-\S+) now",
        'cmp /tmp/app.db "$1"',
        command=("sleep", "infinity"),
    ),
}
FILL = """create table item (id int); insert into item values (1), (2);
create table other (id int); insert into other values (7);"""


@pytest.mark.parametrize("strategy", few(PLACES, "postgres"))
def test_what_cannot_be_backed_up_is_replaced_only_without_a_safety_backup_and_kept(
    stand: Stand, strategy: str
) -> None:
    sidecar, app = stand
    place, key = PLACES[strategy], sidecar.key(strategy)
    labels = {"strategy": strategy} | ({"sqlite.paths": "/data/app.db"} if strategy == "sqlite" else {})
    container = app.target(strategy, labels, *place.options, of=place.of, command=place.command)

    def shell(line: str, *words: str, text: str = "") -> str:
        script = f"sql() {{ {place.client}; }}; {line}"
        return docker("exec", "-i", container, "sh", "-c", script, "sh", *words, input=text.encode())

    ping = ("docker", "exec", container, "sh", "-c", place.ready)
    eventually(lambda: execute(*ping).returncode == 0, seconds=60, what="the server is ready")
    shell("sql", text=FILL)
    run = sidecar.backup(strategy)
    shell(place.breaks)

    refused = sidecar.cli("restore", key, "--replace", "--run", run["id"])
    assert "the safety backup" in refused.stdout
    assert "--without-safety-backup" in refused.stderr
    assert "Everything is as it was." in refused.stderr
    plan = sidecar.cli("restore", key, "--replace", "--without-safety-backup", "--run", run["id"], "--dry-run").stdout
    assert "no-safety-backup: what is there is replaced, and no backup is made of it before" in plan
    unsaved = ("--replace", "--without-safety-backup", "--run", run["id"])
    report = json.loads(sidecar.cli("restore", key, *unsaved, "--json").stdout)

    assert report["state"] == "succeeded", (report["failure"], report["warnings"])
    assert report["safety"] == ""
    assert shell("sql", text="select id from item order by id;").split() == ["1", "2"]
    kept = [match for warning in report["warnings"] if (match := re.fullmatch(place.kept, warning))]
    assert len(kept) == 1, report["warnings"]
    shell(place.still, kept[0][1])
    sidecar.backup(strategy)


def test_what_is_dropped_first_has_to_be_in_a_backup(stand: Stand) -> None:
    sidecar, app = stand
    app.target("note", {"commands.backup": "echo note"})
    sidecar.backup("note")
    query = {"replace": "true", "drop_first": "true", "without_safety_backup": "true"}
    answer = sidecar.admin.post(f"/v1/targets/{sidecar.key('note')}/restore", params=query)
    assert (answer.status_code, answer.json()["type"]) == (422, "bad-value")
