"""What Debian's extensions of PostgreSQL make comes back: replaced, on a fresh server, in a drill, and by hand."""

from collections.abc import Iterator

import pytest

from tests.corpus.postgres_corpus import CORPUS, SERVER, WRITE, PostgresCorpus, sql
from tests.corpus.postgres_extension_rows import ROWS
from tests.corpus.rows import BY_HAND, DRILLED, FRESH, REPLACED, State, different, untold
from tests.corpus.stand import Outcome, by_hand, ended, standing, writing
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Json, Sidecar

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

LOADED = "shared_preload_libraries=pg_cron,timescaledb,pglogical,pgaudit,set_user,credcheck,pg_stat_statements"
SETTINGS = (LOADED, "cron.database_name=cron", "max_worker_processes=20", "timescaledb.telemetry_level=off")
ALL = PostgresCorpus(
    ROWS, "POSTGRES_EXTENSIONS", (*SERVER, *(word for setting in SETTINGS for word in ("-c", setting)))
)
Source = tuple[str, Json, State]


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    make_images("postgres-extensions:17")
    with standing("pgx", token, tmp_path_factory.mktemp("config")) as made:
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
    sql(server, "drop schema vector cascade; truncate postgis.places; drop table partman.t cascade", CORPUS)
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
    by_hand(stand[0], source[1], server, tmp_path_factory.mktemp("run"), ALL.left_by_hand)
    return Outcome((), ALL.state(server))


WAYS = {REPLACED: "replaced", FRESH: "fresh", BY_HAND: "handmade", DRILLED: "drilled"}


@pytest.mark.parametrize("way", WAYS)
def test_every_row_comes_back(way: str, source: Source, request: pytest.FixtureRequest) -> None:
    outcome: Outcome = request.getfixturevalue(WAYS[way])
    assert untold(ROWS, source[1]["warnings"], outcome.told, way) == []
    if way != DRILLED:
        assert different(ROWS, source[2], outcome.state, way) == {}
