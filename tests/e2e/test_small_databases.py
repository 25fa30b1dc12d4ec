"""Many small databases on one server: what is asked about them and what checks them is asked of all at once, and proves
as much as if each was by itself.
"""

from collections.abc import Iterator

import pytest

from tests.kit.stage import App, Json, Sidecar, acts, docker, eventually, execute, within

pytestmark = pytest.mark.e2e

NAMES = [f"small-{number}" for number in range(10)]
FILL = "; ".join(
    f"createdb -U postgres {name} && psql -qU postgres {name} -c "
    f"'create table one as select g, md5(g::text) from generate_series(1, {100 + number}) g'"
    for number, name in enumerate(NAMES)
)
FEW = 8
"""Execs of a run beside those of its dumps."""
CHECKER = """#!/bin/sh
cat >/tmp/checked
! grep -q poison /tmp/checked || { echo 'ERROR: poison' >&2; exit 3; }
exec "$0.real" "$@" </tmp/checked
"""
PLANT = 'checker=$(command -v pg_restore); mv "$checker" "$checker.real"; cat >"$checker"; chmod 755 "$checker"'
BACK = 'checker=$(command -v pg_restore); mv "$checker.real" "$checker"'


@pytest.fixture(scope="module")
def server(sidecar: Sidecar) -> Iterator[str]:
    with App(sidecar.project) as app:
        options = ("--tmpfs", "/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=x")
        labels = {"strategy": "postgres"}
        made = app.target("many", labels, *options, of="POSTGRES", command=("postgres", "-c", "fsync=off"))
        ready = ("docker", "exec", made, "pg_isready", "--host=127.0.0.1")
        eventually(lambda: execute(*ready).returncode == 0, seconds=60, what="PostgreSQL is ready")
        within(made, FILL)
        sidecar.wait("many")
        yield made
    sidecar.forgets([made])


def sessions(server: str) -> int:
    """How many connections to the small databases have been made and are over."""
    asked = "select sum(sessions) from pg_stat_database where datname like 'small-%'"
    return int(within(server, f'psql -qAtU postgres -c "{asked}"'))


def small(report: Json) -> dict[str, Json]:
    """The artifacts of the small databases, by their names."""
    return {one["subject"]: one for one in report["artifacts"] if one["subject"] in NAMES}


def test_they_share_their_questions_and_their_checks(sidecar: Sidecar, server: str) -> None:
    before = sessions(server)
    with acts(server) as done:
        report = sidecar.backup("many")

    dumps = len(report["artifacts"])
    assert dumps == len(NAMES) + 2
    eventually(lambda: sessions(server) >= before + 2 * len(NAMES), what="the server has counted its sessions")
    assert sessions(server) == before + 2 * len(NAMES), "each has one connection of the dump, and one of all questions"
    assert sum(one.startswith("exec_create:") for one in done) <= dumps + FEW
    assert (report["proof"], report["warnings"]) == ("full", [])
    for number, name in enumerate(NAMES):
        one = small(report)[name]
        assert (one["proof"], one["approximate"]) == ("full", [])
        assert one["counts"]["rows of public.one"] == 100 + number
        assert one["disk"] > 1 << 20


def test_one_of_them_that_its_checker_refuses_fails_the_run_and_is_named(sidecar: Sidecar, server: str) -> None:
    within(server, "psql -qU postgres small-7 -c 'create table poison (x int)'")
    docker("exec", "--interactive", server, "sh", "-c", PLANT, input=CHECKER.encode())
    try:
        report = sidecar.run("many")
        within(server, "psql -qU postgres small-7 -c 'drop table poison'")
        sidecar.backup("many")
    finally:
        within(server, BACK)

    assert (report["state"], report["failure"]["code"]) == ("failed", "incomplete-dump")
    assert "small-7.pgdump is not a whole dump: pg_restore refuses it with exit code 3" in report["failure"]["message"]


@pytest.mark.slow
def test_without_dd_each_is_checked_by_itself(sidecar: Sidecar, server: str) -> None:
    within(server, "mv /usr/bin/dd /usr/bin/no-dd")
    try:
        with acts(server) as done:
            report = sidecar.backup("many")
    finally:
        within(server, "mv /usr/bin/no-dd /usr/bin/dd")

    assert sum(one.startswith("exec_create:") for one in done) >= 2 * len(report["artifacts"]) - 1
    assert report["proof"] == "full"
