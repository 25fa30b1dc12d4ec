"""Every kind of object of PostgreSQL comes back: replaced, on a fresh server, in a drill, and by hand."""

import re
from collections.abc import Iterator

import pytest

from tests.corpus.postgres_corpus import CORPUS, WRITE, PostgresCorpus, sql
from tests.corpus.postgres_rows import ROWS
from tests.corpus.rows import BY_HAND, DRILLED, FRESH, REPLACED, State, different, untold
from tests.corpus.stand import Outcome, by_hand, ended, standing, writing
from tests.kit.few import few
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Json, Sidecar, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ALL = PostgresCorpus(ROWS)
FOLDER = "install -d -o postgres /var/lib/postgresql/space"


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    with standing("pg", token, tmp_path_factory.mktemp("config")) as made:
        yield made


Source = tuple[str, Json, State]


@pytest.fixture(scope="module")
def source(stand: tuple[Sidecar, App]) -> Source:
    """A server with all rows: its container, its run, and its state then."""
    sidecar, app = stand
    server = ALL.start(app, "source")
    within(server, FOLDER)
    ALL.fill(server)
    before = ALL.state(server)
    return server, sidecar.backup("source"), before


@pytest.fixture(scope="module")
def replaced(stand: tuple[Sidecar, App], source: Source) -> Outcome:
    server, report, _ = source
    sql(server, "drop schema tables cascade; truncate partitions.t; drop view views.aa cascade", CORPUS)
    sql(server, "drop database encodings_icu; drop database settings; create table more (i int)")
    with writing(server, WRITE):
        done = ended(stand[0], "restore", stand[0].key("source"), "--run", report["id"], "--replace")
    return Outcome(tuple(done["warnings"]), ALL.state(server))


@pytest.fixture(scope="module")
def fresh(stand: tuple[Sidecar, App], source: Source) -> Outcome:
    server = ALL.start(stand[1], "fresh")
    stand[0].wait("fresh")
    done = ended(stand[0], "restore", stand[0].key("source"), "--run", source[1]["id"], "--to", "fresh", "--replace")
    return Outcome(tuple(done["warnings"]), ALL.state(server))


@pytest.fixture(scope="module")
def handmade(stand: tuple[Sidecar, App], source: Source, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    server = ALL.start(stand[1], "handmade")
    within(server, FOLDER)
    by_hand(stand[0], source[1], server, tmp_path_factory.mktemp("run"), ALL.left_by_hand)
    return Outcome((), ALL.state(server))


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
    server = ALL.start(app, "pathless")
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
    server = ALL.start(app, "older", "POSTGRES15")
    within(server, FOLDER)
    ALL.fill(server)
    before = ALL.state(server)
    return server, sidecar.backup("older"), before


@pytest.mark.slow
def test_every_row_of_an_older_server_comes_back_in_a_newer_one(stand: tuple[Sidecar, App], older: Source) -> None:
    sidecar, app = stand
    server = ALL.start(app, "newer")
    within(server, FOLDER)
    sidecar.wait("newer")
    ended(sidecar, "restore", sidecar.key("older"), "--run", older[1]["id"], "--to", "newer", "--replace")
    assert rows_only(ALL.state(server)) == rows_only(older[2])


@pytest.mark.slow
def test_the_way_back_to_an_older_server_says_why_it_is_none(stand: tuple[Sidecar, App], older: Source) -> None:
    sidecar, app = stand
    server = ALL.start(app, "present")
    sql(server, "create database shop")
    sidecar.backup("present")
    before = ALL.state(older[0])
    failed = sidecar.cli("restore", sidecar.key("present"), "--to", "older", "--replace", "--without-safety-backup")
    assert failed.returncode == 1
    assert "unsupported version (1.16) in file header" in failed.stdout + failed.stderr
    assert ALL.state(older[0]) == before


def rows_only(found: State) -> State:
    """The rest is written otherwise by another version of `pg_dump`, and what a view is filled with is made anew."""
    return {row: {name: text for name, text in there.items() if is_row(name)} for row, there in found.items()}


def is_row(name: str) -> bool:
    return name.endswith(" rows") and not name.endswith(" filled rows")
