"""A target is rehearsed by itself in the night after its first good run, and again once its schema has changed."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import yaml

from tests.e2e.test_drill import throwaways
from tests.kit import stage
from tests.kit.stage import App, Json, Sidecar, docker, eventually, execute, within

pytestmark = pytest.mark.e2e

NIGHT = f"Etc/GMT{(datetime.now(UTC).hour + 9) % 24 - 12:+d}"
"""A zone in which it is past three o'clock now; its sign is that of POSIX."""
SQLITE = {"strategy": "sqlite", "timezone": NIGHT}


@pytest.fixture(scope="module")
def night(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    """A sidecar that may create containers."""
    folder = tmp_path_factory.mktemp("night")
    settings = {"schema": 1, "policy": {"create-containers": True}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    rehearsing = ("--env", "SIDECAR_DRILLS_AUTO=true")
    with stage.sidecar(f"night-{secrets.token_hex(3)}", folder, token, *rehearsing) as (sidecar, app), app:
        yield sidecar, app


def drills(sidecar: Sidecar, service: str) -> list[Json]:
    """Newest first."""
    found: list[Json] = sidecar.http.get("/v1/drills", params={"target": sidecar.key(service)}).json()["drills"]
    return found


def rehearsed(sidecar: Sidecar, service: str) -> str:
    """What a person reads."""
    done = sidecar.cli("status")
    assert "REHEARSED" in done.stdout
    return next(line for line in done.stdout.splitlines() if line.startswith(sidecar.key(service)))


def test_the_first_good_run_is_rehearsed_without_a_word_and_the_next_only_after_a_change(
    night: tuple[Sidecar, App],
) -> None:
    sidecar, app = night
    container = app.target("early", SQLITE, "--volume", "/data", of="SQLITE")
    within(container, "sqlite3 /data/a.db 'CREATE TABLE item (x); INSERT INTO item VALUES (1)'")
    app.target("left", {**SQLITE, "drill.auto": "false"}, "--volumes-from", container, of="SQLITE")
    sidecar.wait("early")
    assert rehearsed(sidecar, "early").rstrip().endswith("never")
    first, left = sidecar.backup("early"), sidecar.backup("left")

    (drill,) = eventually(lambda: drills(sidecar, "early"), what="a drill begins")
    eventually(lambda: drills(sidecar, "early")[0]["state"] == "passed", seconds=60, what="it passes")

    assert (drill["trigger"], drill["run"]) == ("auto", first["id"])
    assert not rehearsed(sidecar, "early").rstrip().endswith("never")
    assert rehearsed(sidecar, "left").rstrip().endswith("never")
    assert throwaways(drill["id"]) == []
    structure = manifest(sidecar, first)["structure"]
    within(container, "sqlite3 /data/a.db 'INSERT INTO item VALUES (2)'")
    assert manifest(sidecar, sidecar.backup("early"))["structure"] == structure
    within(container, "sqlite3 /data/a.db 'ALTER TABLE item ADD COLUMN y'")
    assert manifest(sidecar, sidecar.backup("early"))["structure"] != structure
    assert manifest(sidecar, left)["structure"] == structure
    assert len(drills(sidecar, "early")) == 1, "once a week at most"
    assert drills(sidecar, "left") == []


@dataclass(frozen=True)
class Server:
    """How a server is started and asked, and its words for another type of a column."""

    image: str
    options: tuple[str, ...]
    command: tuple[str, ...]
    ready: tuple[str, ...]
    client: tuple[str, ...]
    modify: str


SERVERS = {
    "postgres": Server(
        "POSTGRES",
        ("--env", "POSTGRES_PASSWORD=x"),
        ("postgres", "-c", "fsync=off"),
        ("pg_isready", "-h", "127.0.0.1"),
        ("psql", "-qU", "postgres", "-v", "ON_ERROR_STOP=1", "-c"),
        "alter c type",
    ),
    "mariadb": Server(
        "MARIADB",
        ("--env", "MARIADB_ROOT_PASSWORD=x", "--env", "MARIADB_DATABASE=app"),
        ("mariadbd",),
        ("mariadb", "--host=127.0.0.1", "-uroot", "-px", "-e", "select 1"),
        ("mariadb", "-uroot", "-px", "app", "-e"),
        "modify c",
    ),
}
CHANGES = (
    "alter table piece add column c int",
    "alter table piece {modify} bigint",
    "alter table piece alter c set default 7",
    "alter table piece add constraint positive check (c > 0)",
    "create index by_c on piece (c)",
    "create view pieces as select a from piece",
    "create or replace view pieces as select a + 1 as a from piece",
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_whatever_changes_a_table_or_a_view_belongs_to_the_structure_and_rows_do_not(
    night: tuple[Sidecar, App], kind: str
) -> None:
    sidecar, app = night
    server, service = SERVERS[kind], f"altered-{kind}"
    labels = {"strategy": kind, "drill.auto": "false"}
    container = app.target(service, labels, *server.options, of=server.image, command=server.command)
    eventually(lambda: execute("docker", "exec", container, *server.ready).returncode == 0, seconds=120)
    sidecar.wait(service)

    def structure(statement: str) -> str:
        docker("exec", container, *server.client, statement)
        found: str = manifest(sidecar, sidecar.backup(service))["structure"]
        return found

    first = structure("create table piece (a int)")
    assert structure("insert into piece values (3)") == first
    seen = [first, *(structure(change.format(modify=server.modify)) for change in CHANGES)]
    assert len(set(seen)) == len(seen), seen


def manifest(sidecar: Sidecar, report: Json) -> Json:
    (path,) = (path for path in sidecar.stored(report["target"]["service"]) if f"{report['id']}/manifest.json" in path)
    found: Json = json.loads(within(sidecar.container, f"cat {path}"))
    return found
