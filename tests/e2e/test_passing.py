"""A target that dies, or a server that closes its connection, is a passing failure: again when it is ready."""

import pytest

from tests.kit.stage import App, Sidecar, docker, eventually, said, within

pytestmark = pytest.mark.e2e

ENDLESS = "head -c 2000000 /dev/zero; sleep 300"
AT_SECOND = f"[ -e /tmp/again ] || {{ touch /tmp/again; {ENDLESS}; }}; echo data"
PSQL = "psql --username=postgres --no-align --tuples-only --command"


def test_a_target_that_dies_in_the_middle_is_backed_up_once_it_is_back(sidecar: Sidecar, app: App) -> None:
    container = app.target("dies", {"commands.backup": AT_SECOND, "retries": "1"})
    sidecar.wait("dies")
    run = sidecar.start("dies")
    sidecar.reaches(run, 1 << 20)

    docker("kill", container)
    eventually(lambda: sidecar.report(run)["reason"] == "away", what="the run waits for its target")
    docker("start", container)
    report = sidecar.ended(run)

    assert (report["state"], report["attempts"]) == ("succeeded", 2), report
    assert [failure["code"] for failure in report["retried"]] == ["target-died"]


@pytest.mark.slow
def test_a_target_that_does_not_come_back_is_waited_for_until_the_deadline(sidecar: Sidecar, app: App) -> None:
    container = app.target("stays", {"commands.backup": ENDLESS, "retries": "1", "timeout": "15s"})
    sidecar.wait("stays")
    run = sidecar.start("stays")
    sidecar.reaches(run, 1 << 20)

    docker("rm", "--force", container)
    report = sidecar.ended(run)

    assert report["state"] == "failed"
    assert report["retried"][0]["code"] in ("target-gone", "target-died")
    assert report["failure"]["code"] in ("target-gone", "unknown-target")
    assert report["seconds"] > 10


def test_a_server_that_closes_the_connection_is_asked_again(sidecar: Sidecar, app: App) -> None:
    labels = {"strategy": "postgres", "retries": "1", "counts": "false"}
    options = ("--env", "POSTGRES_PASSWORD=x", "--tmpfs", "/var/lib/postgresql/data")
    container = app.target("closes", labels, *options, of="POSTGRES", command=("postgres",))
    sidecar.wait("closes")
    within(container, f"{PSQL} 'create table held (n int)'")
    docker("exec", "--detach", container, *PSQL.split(), "begin; lock table held; select pg_sleep(300)")
    held = "from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'pg_dump'"
    run = sidecar.start("closes")
    eventually(lambda: within(container, f'{PSQL} "select 1 {held}"'), what="the dump waits for a lock")

    within(container, f'{PSQL} "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"')
    report = sidecar.ended(run)

    assert (report["state"], report["attempts"]) == ("succeeded", 2), report
    assert [failure["code"] for failure in report["retried"]] == ["server-gone"]
    logs = said("docker", "logs", container)
    assert "was terminated by signal" not in logs.stdout + logs.stderr, "no probe or dump makes the server start anew"
