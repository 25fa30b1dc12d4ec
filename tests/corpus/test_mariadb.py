"""Every kind of object of MariaDB comes back: replaced, on a fresh server, in a drill, and by hand."""

from collections.abc import Iterator

import pytest

from tests.corpus.mariadb_corpus import CORPUS, PASSWORD, MariadbCorpus, sql
from tests.corpus.mariadb_rows import ROWS
from tests.corpus.rows import BY_HAND, DRILLED, FRESH, REPLACED, State, different, untold
from tests.corpus.stand import Outcome, by_hand, ended, standing, writing
from tests.kit.few import few
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Json, Sidecar, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ALL = MariadbCorpus(ROWS)


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    with standing("my", token, tmp_path_factory.mktemp("config")) as made:
        yield made


Source = tuple[str, Json, State]


@pytest.fixture(scope="module")
def source(stand: tuple[Sidecar, App]) -> Source:
    """A server with all rows: its container, its run, and its state then."""
    sidecar, app = stand
    server = ALL.start(app, "source")
    ALL.fill(server)
    before = ALL.state(server)
    return server, sidecar.backup("source"), before


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


@pytest.mark.parametrize("way", few(WAYS))
def test_every_row_comes_back(way: str, source: Source, request: pytest.FixtureRequest) -> None:
    outcome: Outcome = request.getfixturevalue(WAYS[way])
    assert untold(ROWS, source[1]["warnings"], outcome.told, way) == []
    if way != DRILLED:
        assert different(ROWS, source[2], outcome.state, way) == {}


DEFINED = (
    "definition of table generated_t",
    "definition of view views_ab",
    "definition of procedure routines_ansi",
    "definition of package body routines_pack",
    "definition of trigger triggers_a1",
    "definition of event events_e",
    "role accounts_r",
    "grant SELECT (i) on corpus.accounts_t to accounts_a@%",
    "grant EXECUTE on procedure corpus.accounts_p to accounts_r@",
)


@pytest.mark.slow
def test_what_is_defined_and_granted_is_compared_and_the_server_has_made_none_of_it_anew(drilled: Outcome) -> None:
    assert [what for what in DEFINED if not drilled.counted.get(what)] == []
    assert [line for line in drilled.told if line.startswith("made-anew")] == []


OLDER = MariadbCorpus([row for row in ROWS if row.name != "vectors"], "MARIADB10")
"""Debian 12 has 10.11, Debian 13 has 11.8."""


@pytest.fixture(scope="module")
def older(stand: tuple[Sidecar, App]) -> Source:
    """The rows in a server of the version before."""
    make_images("mariadb10:1")
    server = OLDER.start(stand[1], "older")
    OLDER.fill(server)
    before = OLDER.state(server)
    return server, stand[0].backup("older"), before


@pytest.mark.slow
def test_every_row_of_an_older_server_comes_back_in_a_newer_one(stand: tuple[Sidecar, App], older: Source) -> None:
    sidecar, app = stand
    server = ALL.start(app, "newer")
    done = ended(sidecar, "restore", sidecar.key("older"), "--run", older[1]["id"], "--to", "newer")
    assert rows_only(OLDER.state(server)) == rows_only(older[2])
    assert untold(OLDER.rows, older[1]["warnings"], done["warnings"], FRESH) == []


ANOTHER_MOMENT = ("corpus.history_own rows", "transaction_history.t rows")
"""They show how long a row is in force, which in another version of the server is until another last moment."""


def rows_only(found: State) -> State:
    """The rest is written otherwise by another version of the client, and by a server that says more of it."""
    return {
        row: {name: text for name, text in there.items() if name.endswith(" rows") and name not in ANOTHER_MOMENT}
        for row, there in found.items()
    }


@pytest.mark.slow
def test_a_table_that_holds_data_and_cannot_be_read_fails_the_run_by_its_name(stand: tuple[Sidecar, App]) -> None:
    sidecar, app = stand
    server = ALL.start(app, "crashed")
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
