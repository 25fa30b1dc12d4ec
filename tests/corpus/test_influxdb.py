"""InfluxDB 1: every kind of point, name and setting; what queries tell of it has to be the same."""

from pathlib import Path

import pytest

from tests.corpus.ways import WAYS, Corpus, backed_up, rows_in
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Sidecar

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROWS = rows_in("influxdb.sh")
NAMES, BASES = " ".join(ROWS), " ".join(f"row_{name}" for name in ROWS)
TOOLS = """
ask() { query=$1; shift; influx -format csv -precision ns "$@" -execute "$query"; }
points() {
    case $1 in noted | busy) ;; *) set -- row_$1 ;; esac
    { printf '# DML\\n# CONTEXT-DATABASE: %s\\n' $1; cat; } >/tmp/points.$1
    influx -import -path /tmp/points.$1
}
digest() {
    {
        ask "SHOW RETENTION POLICIES ON row_$1"
        ask 'SHOW CONTINUOUS QUERIES' | grep "^row_$1,"
        ask "SHOW SERIES ON row_$1"
        ask "SHOW FIELD KEYS ON row_$1"
        for policy in autogen short '"for ever"'; do ask "SELECT * FROM row_$1.$policy./.*/" 2>&1; done
    } | sort | sha256sum | cut -c 1-64
}
"""
CORPUS = Corpus(
    "influx",
    "INFLUXDB",
    {"strategy": "influxdb", "expect.ignore": "*"},
    fill=f'set -e\n{TOOLS}for base in {BASES} noted busy; do ask "CREATE DATABASE $base"; done\n'
    + "".join(ROWS.values()),
    note=f"""{TOOLS}for row in {NAMES}; do echo "n,row=$row v=\\"$(digest $row)\\" 1"; done | points noted""",
    differing=f"""{TOOLS}
noted=$(ask 'SELECT v, "row" FROM noted..n')
for row in {NAMES}; do echo "$noted" | grep -q ",$(digest $row),$row$" || echo $row; done""",
    destroy=f"""{TOOLS}
for base in {BASES}; do ask "DROP DATABASE $base"; ask "CREATE DATABASE $base"; done; echo 'm v=9 1' | points types""",
    write=f'{TOOLS}n=0; while n=$((n + 1)); do echo "w v=$n $n" | points busy; sleep 0.5; done',
    command=("influxd",),
    ready="influx -execute 'SHOW DATABASES'",
)


@pytest.mark.slow
def test_every_row_comes_back_by_each_way(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    make_images("influxdb:1")
    there = backed_up(CORPUS, *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == {name: [] for name in WAYS}
