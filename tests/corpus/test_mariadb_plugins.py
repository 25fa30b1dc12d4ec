"""What Debian's engines and plugins of MariaDB make comes back: in place, on a fresh server, in a drill, by hand."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.mariadb_corpus import PASSWORD, SERVER, MariadbCorpus, sql
from tests.corpus.mariadb_plugin_rows import ROWS
from tests.corpus.rows import BY_HAND, DRILLED, FRESH, REPLACED, State, different, untold
from tests.corpus.stand import Outcome, by_hand, ended, standing, writing
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Json, Sidecar

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

ENGINES = ("archive", "blackhole", "connect", "rocksdb")
ALL = MariadbCorpus(ROWS, "MARIADB_PLUGINS", (*SERVER, *(f"--plugin-load-add=ha_{name}" for name in ENGINES)))
Source = tuple[str, Json, State]


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    make_images("mariadb-plugins:11")
    with standing("myx", token, tmp_path_factory.mktemp("config")) as made:
        yield made


@pytest.fixture(scope="module")
def source(stand: tuple[Sidecar, App]) -> Source:
    """A server with all rows: its container, its run, and its state then."""
    sidecar, app = stand
    server = ALL.start(app, "source")
    ALL.fill(server)
    before = ALL.state(server)
    return server, sidecar.backup("source"), before


@pytest.fixture(scope="module")
def replaced(stand: tuple[Sidecar, App], source: Source) -> Outcome:
    server, report, _ = source
    sql(server, "use corpus; drop table rocks_t; drop user checked_passwords_u@'%'")
    with writing(server, f"MYSQL_PWD={PASSWORD} mariadb -uroot busy -e 'insert into t values (1)'"):
        done = ended(stand[0], "restore", stand[0].key("source"), "--run", report["id"], "--replace")
    return Outcome(tuple(done["warnings"]), ALL.state(server))


@pytest.fixture(scope="module")
def fresh(stand: tuple[Sidecar, App], source: Source) -> Outcome:
    server = ALL.start(stand[1], "fresh")
    done = ended(stand[0], "restore", stand[0].key("source"), "--run", source[1]["id"], "--to", "fresh")
    return Outcome(tuple(done["warnings"]), ALL.state(server))


@pytest.fixture(scope="module")
def handmade(stand: tuple[Sidecar, App], source: Source, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    server = ALL.start(stand[1], "handmade")
    by_hand(stand[0], source[1], server, tmp_path_factory.mktemp("run"), ALL.left_by_hand)
    return Outcome((), ALL.state(server))


WAYS = {REPLACED: "replaced", FRESH: "fresh", BY_HAND: "handmade", DRILLED: "drilled"}


@pytest.mark.parametrize("way", WAYS)
def test_every_row_comes_back(way: str, source: Source, request: pytest.FixtureRequest) -> None:
    outcome: Outcome = request.getfixturevalue(WAYS[way])
    assert untold(ROWS, source[1]["warnings"], outcome.told, way) == []
    if way != DRILLED:
        assert different(ROWS, source[2], outcome.state, way) == {}


UNMOVED = """create database words; use words; create table plain (i int); insert into plain values (1);
    create table t (id int primary key, t text, fulltext key (t)) engine=Mroonga default charset utf8mb4;
    insert into t values (1, 'one word')"""
FOUND = "select id from words.t where match (t) against ('word'); select * from words.plain"


def test_a_table_that_its_engine_cannot_move_is_told_and_comes_back_by_hand(
    stand: tuple[Sidecar, App], tmp_path: Path
) -> None:
    sidecar, app = stand
    words = replace(ALL, server=(*ALL.server, "--plugin-load-add=ha_mroonga"))
    server = words.start(app, "words")
    sql(server, UNMOVED)
    report = sidecar.backup("words")
    assert [line for line in report["warnings"] if line.startswith("by-hand-only: words.t cannot be moved")]
    failed = sidecar.cli("restore", sidecar.key("words"), "--replace", "--without-safety-backup")
    assert failed.returncode == 1
    assert "doesn't yet support 'ALTER TABLE'" in failed.stdout + failed.stderr
    assert sql(server, FOUND).split() == ["1", "1"], "what was there is there"
    other = words.start(app, "words-by-hand")
    by_hand(sidecar, report, other, tmp_path)
    assert sql(other, FOUND).split() == ["1", "1"]


OUTWARD = ("fed", "spider")
ELSEWHERE = """create user far@'%' identified by 'p'; grant all on far.* to far@'%'; create database far;
    create table far.t (i int primary key, v varchar(9)); insert into far.t values (1, 'a');
    create server far_s foreign data wrapper mysql
        options (host '127.0.0.1', port 3306, database 'far', user 'far', password 'p');
    create database shop; use shop; create table plain (i int); insert into plain values (1), (2);
    create view two as select count(*) from plain;
    create table spider (i int primary key, v varchar(9)) engine=SPIDER
        comment='wrapper "mysql", srv "far_s", table "t"';
    create table fed (i int primary key, v varchar(9)) engine=FEDERATED connection='far_s/t';
    create view there as select * from fed"""


def test_a_table_whose_other_server_cannot_be_reached_keeps_nothing_else_from_being_backed_up(
    stand: tuple[Sidecar, App],
) -> None:
    sidecar, app = stand
    far = replace(ALL, server=(*ALL.server, *(f"--plugin-load-add=ha_{name}" for name in ("federatedx", "spider"))))
    server = far.start(app, "far")
    sql(server, ELSEWHERE)
    sidecar.wait("far")
    sql(server, "alter user far@'%' account lock; flush tables")

    report = sidecar.backup("far")

    told = "left-out: the rows of shop.{} are kept elsewhere"
    for name in OUTWARD:
        assert any(line.startswith(told.format(name)) for line in report["warnings"]), report["warnings"]
    (shop,) = (stored["counts"] for stored in report["artifacts"] if stored["subject"] == "shop")
    assert shop["rows of plain"] == 2
    assert {"definition of table fed", "definition of view two", "definition of view there"} <= shop.keys()
