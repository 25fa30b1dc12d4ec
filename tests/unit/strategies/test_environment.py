"""What becomes of a target's variables."""

import os
import subprocess

import pytest

from strategies.environment import NEUTRAL, neutral

STAYS = [
    *("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LANG", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGPASSFILE"),
    *("PGSERVICE", "PGSERVICEFILE", "PGSSLMODE", "PGSSLROOTCERT", "MYSQL_PWD", "MYSQL_UNIX_PORT", "REDISCLI_AUTH"),
]


def test_who_connects_where_with_which_library_stays() -> None:
    assert neutral(dict.fromkeys(STAYS, "x")) == {}


@pytest.mark.parametrize("name", [name for tool in NEUTRAL.values() for name in tool])
def test_what_changes_a_dump_goes_where_it_is(name: str) -> None:
    assert neutral({name: "x", "PATH": "/bin"}).keys() == {name}
    assert neutral({}) == {}


def test_functions_of_bash_go() -> None:
    hostile = {"BASH_FUNC_tar%%": "() { echo fooled; }"}
    script = ["bash", "-c", "type -t tar"]
    run = {"env": os.environ | hostile, "text": True}
    assert subprocess.check_output(script, **run) == "function\n"
    run["env"] = os.environ | hostile | neutral(hostile)
    assert subprocess.check_output(script, **run) == "file\n"
