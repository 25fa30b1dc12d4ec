"""What is said of a command that failed."""

import pytest

from controller.targets.session import reason, tool
from strategies.base import Answer, Container, Facts
from strategies.plan import RestoreRequest, StoredDump
from strategies.redis import Redis, RedisOptions
from strategies.sqlite import Sqlite, SqliteOptions

PG_RESTORE = """pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3433; 1259 16385 TABLE item auditor
pg_restore: error: could not execute query: ERROR:  role "auditor" does not exist
Command was: ALTER TABLE public.item OWNER TO auditor;


"""


def test_the_line_with_the_error_and_its_object_are_shown_however_much_comes_after() -> None:
    told = reason(PG_RESTORE + "more\n" * 20)
    assert told.startswith("pg_restore: while PROCESSING TOC:; pg_restore: from TOC entry 3433; 1259 16385 TABLE item")
    assert 'ERROR:  role "auditor" does not exist; Command was: ALTER TABLE public.item OWNER TO auditor' in told


def test_without_such_a_line_the_last_ones_are_shown() -> None:
    assert reason("one\ntwo\nthree\nfour") == "two; three; four"
    assert reason("") == "it printed nothing on standard error"


@pytest.mark.parametrize(
    ("strategy", "options", "called"),
    [(Redis(), RedisOptions(user="keeper"), "redis"), (Sqlite(), SqliteOptions(), "sqlite3")],
    ids=["redis", "sqlite"],
)
def test_the_scripts_of_a_restore_are_called_by_the_name_of_what_they_serve(strategy, options, called) -> None:
    found = dict.fromkeys(("client", "checker", "program"), Answer(0, "/usr/bin/redis-server"))
    facts = Facts("sh", found | {"server": Answer(0, "redis_version:8.0.2")})
    request = RestoreRequest("r", (StoredDump("dump", "", "/data/shop.db"),), replace=True, restore="r1")
    plan = strategy.restore(Container("1f", "box", "box:1"), facts, options, request)
    steps = [argv for step in (*plan.steps, *plan.swap) for argv in (step.argv, step.undo)]
    assert {tool(argv) for argv in (*steps, *plan.finish)} == {called}
